//! End to end: the built command line between real databases.

mod command_line;
mod comparison;
mod odd_names;
mod real_data;
mod type_matrix;
