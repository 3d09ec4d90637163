//! Rows of several tables that refer to one another, inserted by one transaction whose references are checked at its end.
//!
//! ```text
//! rows ──▶ temporary tables ──▶ those without a parent are refused ──▶ inserted one by one ──▶ refused? ──▶ undone, and again
//!                               s = 0 waits   1 inserted   2 refused   3 there already          without these
//! ```
//!
//! A row that breaks anything but a reference is known as it is inserted. References of rows that wait are looked at before, since the
//! end of a transaction names no row.

use super::WriteJob;
use super::cells::Cells;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::sink::{Arrival, Tie};
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

/// What a row set aside is called in statements, and one that is its parent: as no table of a user is.
const ROW: &str = "\"migrate: the row\"";
const PARENT: &str = "\"migrate: the parent\"";

/// The rows of one table that were set aside.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The caller's number for the rows.
    pub(crate) place: usize,
    /// The last request, for its table and columns.
    job: WriteJob,
    rows: u64,
}

impl Aside {
    /// Creates the temporary table; its columns convert what they hold as the table's own do.
    pub(crate) fn create(connection: &Connection, place: usize, job: &WriteJob) -> Result<Aside> {
        let name = &job.target.name;
        let columns = (0..).zip(&job.columns).map(|(i, c): (usize, &String)| format!(", {} AS c{i}", sql::column(name, c)));
        let columns: String = columns.collect();
        let statement = format!(
            "CREATE TEMP TABLE {} AS SELECT 0 AS o, 0 AS s, 0 AS n{columns} FROM {} LIMIT 0",
            named(place),
            sql::table(name)
        );
        connection.execute_batch(&statement).during("setting rows aside").map_err(|e| e.with("table", name))?;
        Ok(Aside { place, job: job.empty(), rows: 0 })
    }

    /// Sets rows aside.
    pub(crate) fn add(&mut self, connection: &Connection, job: &WriteJob) -> Result<()> {
        if job.columns != self.job.columns || job.target.name != self.job.target.name {
            return Err(Error::new(ErrorKind::Internal, "rows with other columns were set aside at this place"));
        }
        let doing = "setting rows aside";
        let places = (4..job.columns.len() + 4).map(|i| format!(", ?{i}")).collect::<String>();
        let sql = format!("INSERT INTO {} VALUES (?1, ?2, ?3{places})", self.table());
        let mut insert = connection.prepare(&sql).during(doing)?;
        let mut cells = Cells::of(connection)?;
        for row in job.row_indexes() {
            job.read(&mut cells, row)?;
            for (place, value) in [(1, i64::try_from(self.rows).unwrap_or(i64::MAX)), (2, 0), (3, 0)] {
                insert.raw_bind_parameter(place, value).during(doing)?;
            }
            for place in 0..job.columns.len() {
                insert.raw_bind_parameter(place + 4, cells.parameter(place)).during(doing)?;
            }
            insert.raw_execute().during(doing)?;
            self.rows += 1;
        }
        Ok(())
    }

    /// Returns what became of rows.
    pub(crate) fn arrivals(&self, connection: &Connection, first: u64, count: usize) -> Result<Vec<Arrival>> {
        let doing = "looking at rows set aside";
        let sql = format!("SELECT s = 1, n FROM {} WHERE o >= ?1 AND o < ?2 ORDER BY o", self.table());
        let mut statement = connection.prepare_cached(&sql).during(doing)?;
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        let end = first.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
        let arrival =
            |row: &rusqlite::Row<'_>| Ok(Arrival { inserted: row.get(0)?, open: row.get::<_, i64>(1)?.cast_unsigned() });
        let rows = statement.query_map([first, end], arrival).during(doing)?;
        rows.collect::<rusqlite::Result<_>>().during(doing)
    }

    fn table(&self) -> String {
        named(self.place)
    }

    /// The row's key.
    fn key(&self) -> impl Iterator<Item = String> + '_ {
        self.job.key_places.iter().map(|place| format!("{ROW}.c{place}"))
    }

    fn column(&self, name: &str) -> Option<String> {
        self.job.columns.iter().position(|c| c == name).map(|i| format!("c{i}"))
    }

    /// Returns columns with the collations that the table compares them by.
    fn compared(&self, names: &[String]) -> Option<Vec<String>> {
        let find = |name: &String| {
            let place = self.job.columns.iter().position(|c| c.eq_ignore_ascii_case(name))?;
            Some(format!("c{place} COLLATE {}", sql::ident(self.job.target.collation(name))))
        };
        names.iter().map(find).collect()
    }

    /// Marks the rows that are there already.
    fn mark_known(&self, connection: &Connection) -> Result<()> {
        let doing = "looking for rows by their keys";
        let target = &self.job.target;
        let condition = target.key_condition_of(self.key());
        let sql = format!(
            "CREATE INDEX temp.{} ON {} (o); \
             UPDATE {} AS {ROW} SET s = 3 WHERE EXISTS (SELECT 1 FROM {} WHERE {condition})",
            sql::ident(&format!("migrate aside {} by number", self.place)),
            sql::ident(&format!("migrate aside {}", self.place)),
            self.table(),
            sql::table(&target.name)
        );
        connection.execute_batch(&sql).during(doing).map_err(|e| e.with("table", &target.name))
    }

    /// Inserts the rows that wait, and returns the numbers of those that the table refuses.
    fn insert(&self, connection: &Connection) -> Result<(u64, Vec<i64>)> {
        let doing = "inserting rows set aside";
        let context = |error: Error| error.with("table", &self.job.target.name);
        let places = (0..self.job.columns.len()).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
        let insert = self.job.insert_sql("ABORT", &format!("SELECT {places} FROM {} WHERE o = ?1", self.table()));
        let mut insert = connection.prepare(&insert).during(doing).map_err(context)?;
        let watched = !self.job.target.triggers.is_empty();
        let there = format!(
            "SELECT EXISTS (SELECT 1 FROM {} AS {ROW} JOIN {} WHERE {ROW}.o = ?1 AND {})",
            self.table(),
            sql::table(&self.job.target.name),
            self.job.target.key_condition_of(self.key())
        );
        let mut there = connection.prepare(&there).during(doing)?;
        // In their own order: what is inserted changes none of it.
        let waiting = format!("SELECT o FROM {} WHERE s = 0 ORDER BY o", self.table());
        let mut waiting = connection.prepare(&waiting).during(doing)?;
        let mut numbers = waiting.query([]).during(doing)?;
        let (mut inserted, mut refused) = (0, Vec::new());
        while let Some(row) = numbers.next().during(doing)? {
            let number: i64 = row.get(0).during(doing)?;
            let done = insert.execute([number]).during(doing).map_err(context);
            match done {
                Ok(_) if watched && !there.query_row([number], |row| row.get(0)).during(doing)? => refused.push(number),
                Ok(_) => inserted += 1,
                Err(error) if matches!(error.kind(), ErrorKind::RowRejected | ErrorKind::Constraint) => refused.push(number),
                Err(error) => return Err(error),
            }
        }
        Ok((inserted, refused))
    }
}

fn named(place: usize) -> String {
    format!("temp.{}", sql::ident(&format!("migrate aside {place}")))
}

/// Inserts what can be inserted of all rows set aside, and returns how many rows.
pub(crate) fn insert_aside(connection: &Connection, asides: &[Aside], ties: &[Tie]) -> Result<u64> {
    let doing = "inserting rows that refer to one another";
    connection.execute_batch("PRAGMA defer_foreign_keys = ON").during(doing)?;
    for aside in asides {
        aside.mark_known(connection)?;
    }
    index_parents(connection, asides, ties)?;
    loop {
        refuse_orphans(connection, asides, ties)?;
        connection.execute_batch("SAVEPOINT migrate_aside").during(doing)?;
        let (mut inserted, mut refused) = (0, Vec::new());
        for aside in asides {
            let (some, not) = aside.insert(connection)?;
            inserted += some;
            refused.push(not);
        }
        let all = refused.iter().all(Vec::is_empty);
        let end = if all { "RELEASE migrate_aside" } else { "ROLLBACK TO migrate_aside; RELEASE migrate_aside" };
        connection.execute_batch(end).during(doing)?;
        for (aside, numbers) in asides.iter().zip(refused) {
            if all {
                connection.execute_batch(&format!("UPDATE {} SET s = 1 WHERE s = 0", aside.table())).during(doing)?;
            }
            let mut refuse = connection.prepare(&format!("UPDATE {} SET s = 2 WHERE o = ?1", aside.table())).during(doing)?;
            for number in numbers {
                refuse.execute([number]).during(doing)?;
            }
        }
        if all {
            return Ok(inserted);
        }
    }
}

/// Makes the rows that wait be found by what others refer to them by: a look at all of them for each would take for ever.
fn index_parents(connection: &Connection, asides: &[Aside], ties: &[Tie]) -> Result<()> {
    for tie in ties {
        for other in asides.iter().filter(|other| other.job.target.name.eq_ignore_ascii_case(&tie.parent.name)) {
            let Some(columns) = other.compared(&tie.parent_columns) else { continue };
            let statement = format!(
                "CREATE INDEX IF NOT EXISTS temp.{} ON {} ({})",
                sql::ident(&format!("migrate aside {} by {}", other.place, tie.parent_columns.join(", "))),
                sql::ident(&format!("migrate aside {}", other.place)),
                columns.join(", ")
            );
            connection.execute_batch(&statement).during("setting rows aside")?;
        }
    }
    Ok(())
}

/// Takes the temporary tables away: they outlive the transaction.
pub(crate) fn clear_aside(connection: &Connection, asides: &[Aside]) -> Result<()> {
    let drop = asides.iter().map(|aside| format!("DROP TABLE IF EXISTS {};", aside.table())).collect::<String>();
    connection.execute_batch(&drop).during("taking away rows set aside")
}

/// Takes out, one after the other, rows whose parent is neither there nor waits; or only their references, where they may.
fn refuse_orphans(connection: &Connection, asides: &[Aside], ties: &[Tie]) -> Result<()> {
    let mut statements = Vec::new();
    for (number, tie) in (0..).zip(ties) {
        let Some(aside) = asides.iter().find(|aside| aside.place == tie.child) else { continue };
        let Some(missing) = missing(asides, aside, tie) else { continue };
        let set = if tie.open.is_empty() {
            "s = 2".to_owned()
        } else {
            let open = tie.open.iter().filter_map(|c| aside.column(c)).map(|c| format!(", {c} = NULL"));
            format!("n = n | {}{}", 1i64 << number, open.collect::<String>())
        };
        statements.push(format!("UPDATE {} AS {ROW} SET {set} WHERE {ROW}.s = 0 AND {missing}", aside.table()));
    }
    loop {
        let mut found = 0;
        for statement in &statements {
            found += connection.execute(statement, []).during("looking for rows without a parent")?;
        }
        if found == 0 {
            return Ok(());
        }
    }
}

/// The condition that a row set aside refers to a parent which the table lacks, and which does not wait either; `None` where the
/// reference has a column that is not written.
fn missing(asides: &[Aside], aside: &Aside, tie: &Tie) -> Option<String> {
    let columns: Vec<String> = tie.columns.iter().map(|c| Some(format!("{ROW}.{}", aside.column(c)?))).collect::<Option<_>>()?;
    let mut conditions: Vec<String> = columns.iter().map(|c| format!("{c} IS NOT NULL")).collect();
    let parent = &tie.parent.name;
    // The parent's column comes first: it is its collation and affinity that count.
    let same = tie.parent_columns.iter().zip(&columns).map(|(p, c)| format!("{} = {c}", sql::column(parent, p)));
    let same = same.collect::<Vec<_>>().join(" AND ");
    conditions.push(format!("NOT EXISTS (SELECT 1 FROM {} WHERE {same})", sql::table(parent)));
    for other in asides.iter().filter(|other| other.job.target.name.eq_ignore_ascii_case(parent)) {
        let Some(found) = other.compared(&tie.parent_columns) else { continue };
        let same = found.iter().zip(&columns).map(|(p, c)| format!("{PARENT}.{p} = {c}")).collect::<Vec<_>>().join(" AND ");
        conditions
            .push(format!("NOT EXISTS (SELECT 1 FROM {} AS {PARENT} WHERE {PARENT}.s IN (0, 1) AND {same})", other.table()));
    }
    Some(conditions.join(" AND "))
}
