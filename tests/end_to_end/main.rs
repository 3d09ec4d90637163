//! End to end: the built command line between real databases.

mod comparison;
mod real_data;
mod type_matrix;
