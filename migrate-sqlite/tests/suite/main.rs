//! The adapter on real files.

mod affinity_oracle;
mod conformance;
mod created_tables;
mod ddl;
mod deletions;
mod introspect;
mod refine;
mod sink;
mod sink_faults;
mod snapshots;
mod source;
mod state;
mod support;
