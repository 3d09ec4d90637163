//! The adapter on real files.

mod affinity_oracle;
mod conformance;
mod ddl;
mod introspect;
mod refine;
mod sink;
mod sink_faults;
mod source;
mod state;
mod support;
