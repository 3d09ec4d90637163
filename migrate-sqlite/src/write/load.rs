//! Inserting rows whose keys are known to be new.

use super::cells::Cells;
use super::statement::Insert;
use super::{WriteJob, page_table};
use crate::error::SqliteContext;
use migrate_core::Result;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// Inserts the rows of a job.
pub(super) fn load(connection: &Connection, job: &WriteJob) -> Result<()> {
    let checked = job.target.refers()
        && connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY).during("asking whether references are checked")?;
    // A statement that inserts many rows tells neither what a trigger did to each nor which of them lacks its parent.
    if job.target.triggers.is_empty() && !checked && !job.columns.is_empty() {
        page_table::insert(connection, job)
    } else {
        one_by_one(connection, job)
    }
}

fn one_by_one(connection: &Connection, job: &WriteJob) -> Result<()> {
    let mut insert = Insert::prepare(connection, &job.insert_row_sql()).map_err(|e| e.with("table", &job.target.name))?;
    let mut cells = Cells::of(connection)?;
    let watched = !job.target.triggers.is_empty();
    for (place, row) in job.row_indexes().enumerate() {
        let result = job.read(&mut cells, row).and_then(|()| insert.execute(&cells));
        if let Err(error) = result {
            return Err(job.refuse(connection, &cells, place, error));
        }
        if watched && (connection.changes() == 0 || !(job.key_places.is_empty() || job.is_there(connection, &cells)?)) {
            return Err(job.ignored_by_trigger(place));
        }
    }
    Ok(())
}
