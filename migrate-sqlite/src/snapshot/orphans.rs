//! Finding rows whose parent is not there, by a join inside SQLite.

use super::query::{bind_filter, filter_sql, page_columns, printed};
use crate::codec;
use crate::error::SqliteContext;
use crate::sql;
use migrate_core::error::Result;
use migrate_core::filter::Filter;
use migrate_core::source::{OrphanRequest, Orphans, PageRequest};
use migrate_core::value::{Key, PageBuilder, PageColumn};
use rusqlite::{Connection, Statement};
use std::fmt::Write;
use std::sync::Arc;

const LOOKING: &str = "looking for rows without a parent";

/// A request, taken apart for the thread that runs it.
pub(super) struct Comparison {
    child: String,
    parent: String,
    columns: Arc<[PageColumn]>,
    key: Arc<[PageColumn]>,
    parent_columns: Arc<[PageColumn]>,
    filters: Vec<Filter>,
    parent_filter: Option<Filter>,
    limit: usize,
}

impl Comparison {
    /// Takes a request apart.
    pub(super) fn new(request: &OrphanRequest<'_>) -> Result<Self> {
        Ok(Comparison {
            child: request.child.name.name.clone(),
            parent: request.parent.name.name.clone(),
            columns: page_columns(&PageRequest::new(request.child, request.columns, &[]))?,
            key: page_columns(&PageRequest::new(request.child, request.key, &[]))?,
            parent_columns: page_columns(&PageRequest::new(request.parent, request.parent_columns, &[]))?,
            filters: request.filters.iter().copied().cloned().collect(),
            parent_filter: request.parent_filter.cloned(),
            limit: request.limit,
        })
    }

    /// Compares both tables.
    pub(super) fn run(&self, connection: &Connection) -> Result<Orphans> {
        let mut found = Orphans::default();
        let mut statement = self.prepare(connection, "count(*)", None)?;
        let count: i64 = statement.raw_query().next().during(LOOKING)?.map_or(Ok(0), |row| row.get(0)).during(LOOKING)?;
        found.rows = count.unsigned_abs();
        if found.rows == 0 {
            return Ok(found);
        }
        if !self.key.is_empty() {
            let mut statement = self.prepare(connection, &list(&self.key), Some(self.limit))?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().during(LOOKING)? {
                let mut text = String::new();
                for i in 0..self.key.len() {
                    let _ = write!(text, "{}{}", if i == 0 { "" } else { ", " }, printed(row.get_ref(i).during(LOOKING)?));
                }
                found.keys.push(text);
            }
        }
        let mut missed = PageBuilder::new(self.columns.clone(), codec::ENCODING);
        let mut statement = self.prepare(connection, &format!("DISTINCT {}", exact(&self.columns)), Some(self.limit))?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().during(LOOKING)? {
            missed.begin_row();
            for i in 0..self.columns.len() {
                codec::push(&mut missed, row.get_ref(i).during(LOOKING)?)?;
            }
            missed.end_row();
        }
        found.parents = missed.finish(None).rows().map(|row| Ok(Key::from_values(&row.values()?))).collect::<Result<_>>()?;
        Ok(found)
    }

    /// Selects from the rows without a parent.
    fn prepare<'c>(&self, connection: &'c Connection, what: &str, limit: Option<usize>) -> Result<Statement<'c>> {
        let column = |alias: &str, column: &PageColumn| format!("{alias}.{}", sql::ident(&column.name));
        let present = self.columns.iter().map(|c| format!("{} IS NOT NULL", column("c", c)));
        // The parent's column comes first: its affinity and collation decide, as they do when SQLite checks the reference.
        let equal = self.parent_columns.iter().zip(self.columns.iter());
        let equal = equal.map(|(parent, child)| format!("{} = {}", column("p", parent), column("c", child)));
        let mut text = format!(
            "SELECT {what} FROM {} AS c WHERE {} AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {})",
            rows_of(&self.child, self.filters.iter()),
            present.collect::<Vec<_>>().join(" AND "),
            rows_of(&self.parent, self.parent_filter.iter()),
            equal.collect::<Vec<_>>().join(" AND ")
        );
        if let Some(limit) = limit {
            let _ = write!(text, " LIMIT {}", i64::try_from(limit).unwrap_or(i64::MAX));
        }
        let mut statement = sql::prepare(connection, &text, &self.child, LOOKING)?;
        for filter in self.filters.iter().chain(&self.parent_filter) {
            bind_filter(&mut statement, Some(filter))?;
        }
        Ok(statement)
    }
}

/// Spellings that a column's collation takes for one are told apart.
fn exact(columns: &[PageColumn]) -> String {
    columns.iter().map(|c| format!("c.{} COLLATE BINARY", sql::ident(&c.name))).collect::<Vec<_>>().join(", ")
}

fn list(columns: &[PageColumn]) -> String {
    columns.iter().map(|c| format!("c.{}", sql::ident(&c.name))).collect::<Vec<_>>().join(", ")
}

/// A table under its filters, each of which may name the table; the table itself where it has none.
fn rows_of<'f>(table: &str, filters: impl Iterator<Item = &'f Filter>) -> String {
    let conditions: Vec<String> = filters.map(filter_sql).collect();
    match conditions.is_empty() {
        true => sql::table(table),
        false => format!("(SELECT * FROM {} WHERE {})", sql::table(table), conditions.join(" AND ")),
    }
}
