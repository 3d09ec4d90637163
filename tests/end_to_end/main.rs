//! End to end: the built command line between real databases.

mod real_data;
