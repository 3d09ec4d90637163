//! End to end: the built command line between real databases.

mod adopt;
mod bad_input;
mod command_line;
mod comparison;
mod cycles;
mod deletes;
mod documents;
mod existing_tables;
mod faults;
mod kills;
mod memory;
mod mirubato;
mod mirubato_seed;
mod odd_names;
mod plans;
mod quarantine;
mod real_data;
mod references;
mod rights;
mod secrets;
mod shared_targets;
mod tls;
mod transforms;
mod type_matrix;
mod updates;
mod verify;
