//! What both sides hold, in plain Rust, what is done to them, and what a sync makes of it.

mod edits;
mod others;
mod sync;

use crate::case::{Content, Extra, NUMBERS, Shape, TEXTS};
use crate::keys::{Keys, quote};
use migrate_core::job::DeleteMode;
use std::collections::{BTreeMap, BTreeSet};

/// The columns of a row beside its key, by name.
pub(crate) type Cells = BTreeMap<String, Option<String>>;

/// A row of the source.
#[derive(Debug, Clone, PartialEq)]
struct SourceRow {
    spelling: usize,
    cells: Cells,
}

/// A row of the target.
#[derive(Debug, Clone, PartialEq)]
struct TargetRow {
    class: usize,
    /// The key as it stands there.
    key: String,
    cells: Cells,
    note: Option<String>,
    marked: bool,
}

/// Both sides, and what the job remembers of its last sync.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    shape: Shape,
    keys: Keys,
    source: BTreeMap<usize, SourceRow>,
    target: Vec<TargetRow>,
    /// Rows that were synced, by key and spelling, as what; `None` where the row belongs to others.
    synced: BTreeMap<(usize, usize), Option<Cells>>,
    /// Columns added at the source, as they are now, and as they were at the last sync.
    columns: Vec<String>,
    synced_columns: Vec<String>,
    /// Columns that were added to the target.
    target_columns: Vec<String>,
    /// Whether a sync has happened.
    begun: bool,
    /// Whether the last one has left the target without rows.
    left_empty: bool,
    names: u32,
    /// Rows that have passed their unique values on since the last sync: where the target keeps what is gone, they have to stay.
    lenders: BTreeSet<usize>,
}

impl Model {
    pub(crate) fn new(shape: Shape, keys: Keys) -> Self {
        Model {
            shape,
            keys,
            source: BTreeMap::new(),
            target: Vec::new(),
            synced: BTreeMap::new(),
            columns: Vec::new(),
            synced_columns: Vec::new(),
            target_columns: Vec::new(),
            begun: false,
            left_empty: false,
            names: 0,
            lenders: BTreeSet::new(),
        }
    }

    /// Returns the statement that creates the source's table.
    pub(crate) fn create_source(&self, table: &str) -> String {
        self.create(table, &self.keys.source_type(), "bigint", "")
    }

    /// Returns the statement that creates the target's table.
    pub(crate) fn create_target(&self, table: &str, postgres: bool) -> String {
        let number = if self.shape.extra == Extra::Narrow { "smallint" } else { "bigint" };
        let mut more = ", note text DEFAULT 'own'".to_owned();
        if self.shape.deletes == DeleteMode::Soft {
            more.push_str(if postgres { ", gone timestamptz" } else { ", gone TEXT" });
        }
        if self.shape.extra == Extra::Check {
            more.push_str(", CHECK (n < 1000000)");
        }
        self.create(table, &self.keys.target_type(), number, &more)
    }

    fn create(&self, table: &str, key: &str, number: &str, more: &str) -> String {
        let unique = if self.shape.extra == Extra::Unique { " UNIQUE" } else { "" };
        let part = if self.shape.composite.is_some() { "part int NOT NULL, " } else { "" };
        let named = self.key_columns().join(", ");
        format!("CREATE TABLE {table} ({part}k {key} NOT NULL, u text{unique}, a text, n {number}{more}, PRIMARY KEY ({named}))")
    }

    fn key_columns(&self) -> Vec<&'static str> {
        match self.shape.composite {
            None => vec!["k"],
            Some(true) => vec!["part", "k"],
            Some(false) => vec!["k", "part"],
        }
    }

    /// Returns the condition that a row has this key, spelled in SQL.
    fn is(&self, class: usize, key: &str) -> String {
        let part = self.shape.composite.map(|_| format!(" AND part = {}", class % 5)).unwrap_or_default();
        format!("k = {key}{part}")
    }

    fn insert_sql(&self, table: &str, class: usize, key: &str, cells: &Cells) -> String {
        let (mut names, mut values) = (vec!["k".to_owned()], vec![key.to_owned()]);
        if self.shape.composite.is_some() {
            names.push("part".to_owned());
            values.push((class % 5).to_string());
        }
        for (name, value) in cells {
            names.push(name.clone());
            values.push(sql(name, value));
        }
        format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("u{}", self.names)
    }

    fn cells(&mut self, content: Content, columns: &[String]) -> Cells {
        let name = if content.nameless { None } else { Some(self.name()) };
        let number = NUMBERS[content.number].map(|number| number.to_string());
        let mut cells: Cells = columns.iter().map(|column| (column.clone(), None)).collect();
        cells.insert("u".to_owned(), name);
        cells.insert("a".to_owned(), TEXTS[content.text].map(str::to_owned));
        cells.insert("n".to_owned(), number);
        cells
    }

    /// Returns the query that prints the target's rows as [`Model::printed`] does.
    pub(crate) fn query(&self, table: &str) -> String {
        let names = ["u", "a", "n"].into_iter().map(str::to_owned).chain(self.target_columns.iter().cloned());
        let mut names: Vec<String> = ["k".to_owned()].into_iter().chain(names).collect();
        if self.shape.composite.is_some() {
            names.push("part".to_owned());
        }
        if !self.shape.created {
            names.push("note".to_owned());
        }
        if self.shape.deletes == DeleteMode::Soft {
            names.push("CASE WHEN gone IS NULL THEN 'here' ELSE 'gone' END".to_owned());
        }
        format!("SELECT {} FROM {table}", names.join(", "))
    }

    /// Returns the target's rows, in order.
    pub(crate) fn printed(&self) -> Vec<Vec<Option<String>>> {
        let print = |row: &TargetRow| {
            let mut cells = vec![Some(row.key.clone())];
            cells.extend(["u", "a", "n"].iter().map(|name| row.cells[*name].clone()));
            cells.extend(self.target_columns.iter().map(|name| row.cells[name].clone()));
            if self.shape.composite.is_some() {
                cells.push(Some((row.class % 5).to_string()));
            }
            if !self.shape.created {
                cells.push(row.note.clone());
            }
            if self.shape.deletes == DeleteMode::Soft {
                cells.push(Some(if row.marked { "gone" } else { "here" }.to_owned()));
            }
            cells
        };
        let mut rows: Vec<_> = self.target.iter().map(print).collect();
        rows.sort();
        rows
    }
}

fn sql(name: &str, value: &Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if matches!(name, "u" | "a") => quote(text),
        Some(number) => number.clone(),
    }
}
