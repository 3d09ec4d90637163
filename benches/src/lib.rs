//! How fast the released binary is, each case beside its physical limit, measured in turn in the same run.
//!
//! Timed is the program from start to exit with a user's defaults, against two PostgreSQL servers of the bench's own and SQLite files.
//! Every result is then compared row by row with what was generated: a fast wrong copy does not count.

mod case;
mod change;
mod compare;
mod database;
mod keyed;
mod limit;
mod measure;
mod migrate;
mod random;
mod remap;
mod report;
mod sample;
mod settings;
mod timestamp;
mod tree;
mod workload;

pub use report::{Line, Table};
pub use settings::Settings;

/// What can go wrong here is told and ends the run.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Prepares the sources, runs the cases that the settings name, and returns the table.
///
/// # Errors
/// If a server or program does not start, a copy fails, or its result differs from the source.
pub fn run(settings: &Settings) -> Result<Table> {
    let sources = sample::Sources::prepare(settings)?;
    let mut lines = Vec::new();
    for case in settings.cases() {
        lines.push(measure::measure(case, &sources, settings)?);
    }
    Table::new(settings, &sources, lines)
}
