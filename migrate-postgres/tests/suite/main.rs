//! The adapter on a real server, which `tests/postgres.sh` starts.

mod conformance;
mod copies;
mod ddl;
mod introspect;
mod jsonb_oracle;
mod ranges;
mod sink;
mod sink_support;
mod source;
mod source_support;
mod state;
mod text_oracle;
