//! Merging rows into what is there.

use super::WriteJob;
use super::cells::{Cells, same};
use super::statement::Insert;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::sink::{Outcome, WriteMode};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, Statement};
use std::collections::HashMap;

/// Prepared updates that are kept, one for each set of changed columns.
const MAX_UPDATES: usize = 64;

/// Merges the rows of a job, and says what became of each.
pub(super) fn upsert(connection: &Connection, job: &WriteJob) -> Result<Vec<Outcome>> {
    let mut merge = Merge::new(connection, job)?;
    let mut cells = Cells::of(connection)?;
    let mut outcomes = Vec::new();
    for (place, row) in job.row_indexes().enumerate() {
        let result = job.read(&mut cells, row).and_then(|()| merge.row(&cells));
        let outcome = result.map_err(|error| job.refuse(connection, &cells, place, error))?;
        let written = matches!(outcome, Outcome::Inserted | Outcome::Updated);
        if written && !job.target.triggers.is_empty() && (connection.changes() == 0 || !job.is_there(connection, &cells)?) {
            return Err(job.ignored_by_trigger(place));
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

struct Merge<'c> {
    connection: &'c Connection,
    job: &'c WriteJob,
    find: Statement<'c>,
    insert: Insert<'c>,
    updates: HashMap<Vec<usize>, Statement<'c>>,
    condition: String,
    changed: Vec<usize>,
}

impl<'c> Merge<'c> {
    fn new(connection: &'c Connection, job: &'c WriteJob) -> Result<Self> {
        let name = &job.target.name;
        let columns = job.columns.iter().map(|c| sql::column(name, c)).collect::<Vec<_>>().join(", ");
        let condition = job.target.key_condition(1..);
        let find = format!("SELECT {columns} FROM {} WHERE {condition}", sql::table(name));
        Ok(Merge {
            connection,
            job,
            find: connection.prepare(&find).during("preparing a look-up").map_err(|e| e.with("table", name))?,
            insert: Insert::prepare(connection, &job.insert_row_sql()).map_err(|e| e.with("table", name))?,
            updates: HashMap::new(),
            // In an update the key's parameters are those of the columns themselves.
            condition: job.target.key_condition(job.key_places.iter().map(|place| place + 1)),
            changed: Vec::new(),
        })
    }

    fn row(&mut self, cells: &Cells<'_>) -> Result<Outcome> {
        match self.compare(cells)? {
            None => {
                self.insert.execute(cells)?;
                Ok(Outcome::Inserted)
            }
            Some(_) if self.job.mode == WriteMode::InsertMissing => Ok(Outcome::Skipped),
            Some(true) => Ok(Outcome::Unchanged),
            Some(false) => {
                self.update(cells)?;
                Ok(Outcome::Updated)
            }
        }
    }

    /// Whether the row is there and, if so, the same to the letter; `changed` is then the places of the cells that are not.
    fn compare(&mut self, cells: &Cells<'_>) -> Result<Option<bool>> {
        let doing = "looking a row up by its key";
        let key = self.job.key_places.iter().map(|place| cells.parameter(*place));
        let mut rows = self.find.query(rusqlite::params_from_iter(key)).during(doing)?;
        self.changed.clear();
        let Some(row) = rows.next().during(doing)? else { return Ok(None) };
        for place in 0..self.job.columns.len() {
            if !same(row.get_ref(place).during(doing)?, cells.get(place)) {
                self.changed.push(place);
            }
        }
        match rows.next().during(doing)? {
            None => Ok(Some(self.changed.is_empty())),
            Some(_) => Err(Error::new(ErrorKind::Mismatch, "the key is not unique in the target: more than one row has it")),
        }
    }

    fn update(&mut self, cells: &Cells<'_>) -> Result<()> {
        let doing = "updating a row";
        if self.updates.len() >= MAX_UPDATES {
            self.updates.clear();
        }
        if !self.updates.contains_key(&self.changed) {
            let set = self.changed.iter().map(|place| format!("{} = ?{}", sql::ident(&self.job.columns[*place]), place + 1));
            let set = set.collect::<Vec<_>>().join(", ");
            let update = format!("UPDATE OR ABORT {} SET {set} WHERE {}", sql::table(&self.job.target.name), self.condition);
            self.updates.insert(self.changed.clone(), self.connection.prepare(&update).during(doing)?);
        }
        let Some(statement) = self.updates.get_mut(&self.changed) else { return Ok(()) };
        for place in self.changed.iter().chain(&self.job.key_places) {
            statement.raw_bind_parameter(place + 1, cells.parameter(*place)).during(doing)?;
        }
        let count = statement.raw_execute().during(doing)?;
        if count == 1 || !self.job.target.triggers.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Mismatch, format!("an update of one row touched {count}")))
    }
}
