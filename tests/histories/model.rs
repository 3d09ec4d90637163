//! What both sides hold, in plain Rust, and what a sync makes of it by the book.

use crate::case::{Allowed, Content, Edit, Extra, NUMBERS, Shape, TEXTS, TargetEdit};
use crate::keys::{Keys, quote};
use migrate_core::job::{DeleteMode, Mode, OnConflict};
use migrate_core::state::Counters;
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

    /// Changes the source, and returns the statements that do it there.
    pub(crate) fn edit(&mut self, table: &str, edit: Edit, allowed: Allowed<'_>) -> Vec<String> {
        let live: Vec<usize> = self.source.keys().copied().filter(|class| allowed(*class)).collect();
        let pick = |number: usize| if live.is_empty() { None } else { Some(live[number % live.len()]) };
        let leaves = match edit {
            Edit::Delete(row) | Edit::Reinsert(row) | Edit::Move(row, _) | Edit::Respell(row, _) | Edit::Bequeath(row, _) => {
                pick(row)
            }
            _ => None,
        };
        if leaves.is_some_and(|class| self.shape.deletes != DeleteMode::Hard && self.lenders.contains(&class)) {
            return Vec::new();
        }
        match edit {
            Edit::Insert(class, content) => self.insert(table, class, content, allowed),
            Edit::Set(row, content) => {
                let Some(class) = pick(row) else { return Vec::new() };
                let mut cells = self.source[&class].cells.clone();
                cells.insert("a".to_owned(), TEXTS[content.text].map(str::to_owned));
                cells.insert("n".to_owned(), NUMBERS[content.number].map(|number| number.to_string()));
                if !self.shape.refuses() {
                    cells.insert("u".to_owned(), Some(self.name()));
                }
                self.update(table, class, cells)
            }
            Edit::SetText(row, text) => self.set(table, pick(row), "a", TEXTS[text].map(str::to_owned)),
            Edit::SetNumber(row, number) => self.set(table, pick(row), "n", NUMBERS[number].map(|n| n.to_string())),
            Edit::Touch(row) => match pick(row) {
                Some(class) => self.update(table, class, self.source[&class].cells.clone()),
                None => Vec::new(),
            },
            Edit::Delete(row) => match pick(row) {
                Some(class) => self.delete(table, class),
                None => Vec::new(),
            },
            Edit::Reinsert(row) => {
                let Some(class) = pick(row) else { return Vec::new() };
                let row = self.source[&class].clone();
                let mut statements = self.delete(table, class);
                statements.push(self.insert_sql(table, class, &self.keys.literal(class, row.spelling), &row.cells));
                self.source.insert(class, row);
                statements
            }
            Edit::Move(row, to) => {
                let Some(class) = pick(row).filter(|_| allowed(to) && !self.source.contains_key(&to)) else { return Vec::new() };
                let spelling = self.keys.spelling(self.source[&class].spelling);
                self.rekey(table, class, to, spelling)
            }
            Edit::Respell(row, spelling) => match pick(row) {
                Some(class) => self.rekey(table, class, class, self.keys.spelling(spelling)),
                None => Vec::new(),
            },
            Edit::Swap(a, b) => self.pass_names(table, &[pick(a), pick(b)]),
            Edit::Rotate(a, b, c) => self.pass_names(table, &[pick(a), pick(b), pick(c)]),
            Edit::Bequeath(row, to) => {
                let Some(class) = pick(row).filter(|_| self.shape.passes_names_on()) else { return Vec::new() };
                if self.source.contains_key(&to) || !allowed(to) {
                    return Vec::new();
                }
                let row = self.source[&class].clone();
                let mut statements = self.delete(table, class);
                let row = SourceRow { spelling: self.keys.spelling(row.spelling), ..row };
                statements.push(self.insert_sql(table, to, &self.keys.literal(to, row.spelling), &row.cells));
                self.source.insert(to, row);
                statements
            }
            Edit::AddColumn(default) => self.add_column(table, default),
            Edit::FillColumn(column, row) => {
                let (Some(class), false) = (pick(row), self.columns.is_empty()) else { return Vec::new() };
                let name = self.columns[column % self.columns.len()].clone();
                self.set(table, Some(class), &name, Some((row % 3).to_string()))
            }
            Edit::DropColumn(column) => {
                if self.columns.is_empty() {
                    return Vec::new();
                }
                let name = self.columns.remove(column % self.columns.len());
                self.source.values_mut().for_each(|row| drop(row.cells.remove(&name)));
                vec![format!("ALTER TABLE {table} DROP COLUMN {name}")]
            }
            Edit::RenameColumn(column) => {
                if self.columns.is_empty() {
                    return Vec::new();
                }
                let (at, to) = (column % self.columns.len(), format!("x{}", self.name()));
                let from = std::mem::replace(&mut self.columns[at], to.clone());
                for row in self.source.values_mut() {
                    let value = row.cells.remove(&from).flatten();
                    row.cells.insert(to.clone(), value);
                }
                vec![format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}")]
            }
            Edit::Rewrite => Vec::new(),
        }
    }

    /// Inserts a row at the source.
    pub(crate) fn insert(&mut self, table: &str, class: usize, content: Content, allowed: Allowed<'_>) -> Vec<String> {
        if self.source.contains_key(&class) || !allowed(class) {
            return Vec::new();
        }
        let cells = self.cells(content, &self.columns.clone());
        let spelling = self.keys.spelling(content.spelling);
        let statement = self.insert_sql(table, class, &self.keys.literal(class, spelling), &cells);
        self.source.insert(class, SourceRow { spelling, cells });
        vec![statement]
    }

    fn set(&mut self, table: &str, class: Option<usize>, column: &str, value: Option<String>) -> Vec<String> {
        let Some(class) = class else { return Vec::new() };
        let mut cells = self.source[&class].cells.clone();
        cells.insert(column.to_owned(), value);
        self.update(table, class, cells)
    }

    fn update(&mut self, table: &str, class: usize, cells: Cells) -> Vec<String> {
        let Some(row) = self.source.get_mut(&class) else { return Vec::new() };
        row.cells = cells;
        let spelling = row.spelling;
        let sets: Vec<String> = row.cells.iter().map(|(name, value)| format!("{name} = {}", sql(name, value))).collect();
        let key = self.is(class, &self.keys.literal(class, spelling));
        vec![format!("UPDATE {table} SET {} WHERE {key}", sets.join(", "))]
    }

    fn delete(&mut self, table: &str, class: usize) -> Vec<String> {
        let Some(row) = self.source.remove(&class) else { return Vec::new() };
        vec![format!("DELETE FROM {table} WHERE {}", self.is(class, &self.keys.literal(class, row.spelling)))]
    }

    fn rekey(&mut self, table: &str, from: usize, to: usize, spelling: usize) -> Vec<String> {
        let Some(mut row) = self.source.remove(&from) else { return Vec::new() };
        let before = self.is(from, &self.keys.literal(from, row.spelling));
        row.spelling = spelling;
        let same_row = from == to && self.keys.target_folds();
        if self.shape.extra == Extra::Unique && !same_row && !self.shape.passes_names_on() {
            // The old row stays at the target, and keeps its name.
            row.cells.insert("u".to_owned(), Some(self.name()));
        }
        let part = self.shape.composite.map(|_| format!(", part = {}", to % 5)).unwrap_or_default();
        let statement = format!(
            "UPDATE {table} SET k = {}{part}, u = {} WHERE {before}",
            self.keys.literal(to, spelling),
            sql("u", &row.cells["u"])
        );
        self.source.insert(to, row);
        vec![statement]
    }

    /// Each of these rows gets the unique value of the one behind it.
    fn pass_names(&mut self, table: &str, rows: &[Option<usize>]) -> Vec<String> {
        let rows: Vec<usize> = rows.iter().copied().flatten().collect::<BTreeSet<_>>().into_iter().collect();
        if rows.len() < 2 || !self.shape.exchanges_names() {
            return Vec::new();
        }
        self.lenders.extend(&rows);
        let names: Vec<Option<String>> = rows.iter().map(|class| self.source[class].cells["u"].clone()).collect();
        let mut statements = Vec::new();
        for class in &rows {
            let key = self.is(*class, &self.keys.literal(*class, self.source[class].spelling));
            statements.push(format!("UPDATE {table} SET u = NULL WHERE {key}"));
        }
        for (at, class) in rows.iter().enumerate() {
            statements.extend(self.set(table, Some(*class), "u", names[(at + 1) % names.len()].clone()));
        }
        statements
    }

    fn add_column(&mut self, table: &str, default: Option<u8>) -> Vec<String> {
        // The target's own table has no more columns before the first sync, and not many at all.
        if !self.begun || self.columns.len() > 2 {
            return Vec::new();
        }
        let name = format!("x{}", self.name());
        self.columns.push(name.clone());
        for row in self.source.values_mut() {
            row.cells.insert(name.clone(), default.map(|number| number.to_string()));
        }
        let default = default.map(|number| format!(" DEFAULT {number}")).unwrap_or_default();
        vec![format!("ALTER TABLE {table} ADD COLUMN {name} bigint{default}")]
    }

    /// Changes the target as others do, and returns the statements that do it there.
    pub(crate) fn edit_target(&mut self, table: &str, edit: TargetEdit) -> Vec<String> {
        let place = |number: usize, rows: usize| if rows == 0 { None } else { Some(number % rows) };
        let rows = self.target.len();
        match edit {
            TargetEdit::Insert(class, content) => {
                if self.shape.refuses() || self.target.iter().any(|row| row.class == class) {
                    return Vec::new();
                }
                let cells = self.cells(content, &self.target_columns.clone());
                let key = self.keys.at_target(class, content.spelling);
                let statement = self.insert_sql(table, class, &self.keys.quoted(&key), &cells);
                let note = if self.shape.created { None } else { Some("own".to_owned()) };
                self.target.push(TargetRow { class, key, cells, note, marked: false });
                vec![statement]
            }
            TargetEdit::SetText(row, text) => self.set_target(table, place(row, rows), "a", TEXTS[text].map(str::to_owned)),
            TargetEdit::SetNumber(row, number) => {
                // Whether a row is refused must not depend on what others have made of it.
                let row = place(row, rows).filter(|_| !self.shape.refuses());
                self.set_target(table, row, "n", NUMBERS[number].map(|n| n.to_string()))
            }
            TargetEdit::SetNote(row, note) => {
                let Some(place) = place(row, rows).filter(|_| !self.shape.created) else { return Vec::new() };
                self.target[place].note = Some(note.to_string());
                vec![format!("UPDATE {table} SET note = '{note}' WHERE {}", self.is_target(place))]
            }
            TargetEdit::Delete(row) => {
                let Some(place) = place(row, rows).filter(|_| !self.shape.refuses()) else { return Vec::new() };
                let statement = format!("DELETE FROM {table} WHERE {}", self.is_target(place));
                self.target.remove(place);
                vec![statement]
            }
        }
    }

    fn is_target(&self, place: usize) -> String {
        let row = &self.target[place];
        self.is(row.class, &self.keys.quoted(&row.key))
    }

    fn set_target(&mut self, table: &str, place: Option<usize>, column: &str, value: Option<String>) -> Vec<String> {
        let Some(place) = place else { return Vec::new() };
        let statement = format!("UPDATE {table} SET {column} = {} WHERE {}", sql(column, &value), self.is_target(place));
        self.target[place].cells.insert(column.to_owned(), value);
        vec![statement]
    }

    /// Returns the keys of which both sides and the job's memory agree: what a sync makes of them does not depend on how often it was begun.
    pub(crate) fn settled_classes(&self) -> BTreeSet<usize> {
        let is_settled = |class: &usize| {
            let rows: Vec<&TargetRow> = self.target.iter().filter(|row| row.class == *class).collect();
            let known: Vec<_> = self.synced.iter().filter(|((of, _), _)| of == class).collect();
            match (&rows[..], &known[..]) {
                ([], []) => true,
                ([row], [((_, spelling), Some(cells))]) => {
                    let alike = cells.iter().all(|(name, value)| row.cells.get(name) == Some(value));
                    // What is kept once it is gone holds what the run that did not end has written.
                    let written = self.source.get(class).is_some_and(|now| now.cells != *cells);
                    alike
                        && (self.shape.deletes == DeleteMode::Hard || !written)
                        && !row.marked
                        && row.key == self.keys.at_target(*class, *spelling)
                        && self.shape.mode != Mode::Append
                }
                _ => false,
            }
        };
        (0..crate::keys::CLASSES).filter(is_settled).collect()
    }

    /// Does by the book what one finished run does, and returns what it counts.
    pub(crate) fn sync(&mut self) -> Counters {
        if self.target.is_empty() && !self.left_empty {
            // A table that others have emptied is loaded anew.
            self.synced.clear();
        }
        let again = self.begun && self.columns != self.synced_columns;
        for column in &self.columns {
            if self.begun && !self.target_columns.contains(column) {
                self.target_columns.push(column.clone());
                self.target.iter_mut().for_each(|row| drop(row.cells.insert(column.clone(), None)));
            }
        }
        if again {
            for cells in self.synced.values_mut().flatten() {
                cells.retain(|name, _| !name.starts_with('x') || self.columns.contains(name));
                for name in &self.columns {
                    cells.entry(name.clone()).or_insert(None);
                }
            }
        }
        let mut counters = Counters { read: self.source.len() as u64, ..Counters::default() };
        for (class, row) in self.source.clone() {
            self.sync_row(class, &row, again, &mut counters);
        }
        let gone: Vec<_> = self
            .synced
            .keys()
            .filter(|(class, at)| self.source.get(class).is_none_or(|row| row.spelling != *at))
            .copied()
            .collect();
        for key in gone {
            let known = self.synced.remove(&key).flatten().is_some();
            let respelled = self.keys.target_folds() && self.synced.keys().any(|(class, _)| *class == key.0);
            let place = self.target.iter().position(|row| row.class == key.0 && row.key == self.keys.at_target(key.0, key.1));
            let Some(place) = place.filter(|_| known && !respelled) else { continue };
            match self.shape.deletes {
                DeleteMode::Hard => {
                    self.target.remove(place);
                    counters.deleted += 1;
                }
                DeleteMode::Soft if !self.target[place].marked => {
                    self.target[place].marked = true;
                    counters.deleted += 1;
                }
                _ => {}
            }
        }
        self.synced_columns.clone_from(&self.columns);
        self.left_empty = self.target.is_empty();
        self.begun = true;
        self.lenders.clear();
        counters
    }

    fn sync_row(&mut self, class: usize, row: &SourceRow, again: bool, counters: &mut Counters) {
        let key = (class, row.spelling);
        let fits = row.cells["n"] != NUMBERS[NUMBERS.len() - 1].map(|number| number.to_string());
        if self.shape.extra == Extra::Narrow && !fits {
            counters.quarantined += 1;
            return;
        }
        let place = self.place(class, row.spelling);
        let before = self.synced.keys().find(|(of, at)| self.keys.job_folds() && *of == class && *at != row.spelling).copied();
        if let Some(known) = before.and_then(|before| self.synced.remove(&before)) {
            self.synced.insert(key, known);
        }
        let again = again || before.is_some();
        let known = self.synced.get(&key).cloned();
        match (known, self.shape.mode) {
            (Some(_), Mode::Append) => counters.skipped += 1,
            (Some(Some(cells)), _) if !again && cells == row.cells => counters.unchanged += 1,
            // The target may have lost it: the source has not changed it since.
            (Some(Some(base)), Mode::Update) if before.is_none() && place.is_none() && base == row.cells => {
                counters.unchanged += 1;
            }
            (Some(Some(base)), Mode::Update) => self.merge(key, row, &base, fits, counters),
            (None, Mode::Append) if place.is_some() => {
                counters.skipped += 1;
                self.synced.insert(key, None);
            }
            _ => drop(self.write(key, row, row.cells.clone(), fits, counters)),
        }
    }

    fn place(&self, class: usize, spelling: usize) -> Option<usize> {
        let key = self.keys.at_target(class, spelling);
        self.target.iter().position(|row| row.class == class && (self.keys.target_folds() || row.key == key))
    }

    /// Writes a row whole, unless the target refuses it.
    fn write(&mut self, key: (usize, usize), row: &SourceRow, cells: Cells, fits: bool, counters: &mut Counters) -> bool {
        if self.shape.extra == Extra::Check && !fits {
            counters.quarantined += 1;
            return false;
        }
        let spelled = self.keys.at_target(key.0, key.1);
        match self.place(key.0, key.1) {
            Some(place) => {
                let there = &mut self.target[place];
                let mut after = there.clone();
                after.cells.extend(cells);
                (after.key, after.marked) = (spelled, false);
                if *there == after {
                    counters.unchanged += 1
                } else {
                    counters.updated += 1
                }
                *there = after;
            }
            None => {
                counters.inserted += 1;
                let mut whole: Cells = self.target_columns.iter().map(|column| (column.clone(), None)).collect();
                whole.extend(cells);
                let note = if self.shape.created { None } else { Some("own".to_owned()) };
                self.target.push(TargetRow { class: key.0, key: spelled, cells: whole, note, marked: false });
            }
        }
        self.synced.insert(key, Some(row.cells.clone()));
        true
    }

    /// Decides column by column.
    fn merge(&mut self, key: (usize, usize), row: &SourceRow, base: &Cells, fits: bool, counters: &mut Counters) {
        let policy = self.shape.policy;
        let Some(place) = self.place(key.0, key.1) else {
            match policy {
                OnConflict::Source => drop(self.write(key, row, row.cells.clone(), fits, counters)),
                OnConflict::Target => {
                    counters.skipped += 1;
                    self.synced.insert(key, Some(row.cells.clone()));
                }
                _ => {
                    counters.skipped += 1;
                    counters.conflicts += 1;
                }
            }
            return;
        };
        let there = self.target[place].cells.clone();
        let (mut cells, mut after, mut left) = (Cells::new(), row.cells.clone(), false);
        for (name, new) in &row.cells {
            let (old, held) = (&base[name], &there[name]);
            let takes = new != old && held != new && (held == old || policy == OnConflict::Source);
            if new != old && held != old && held != new && policy != OnConflict::Source {
                left = true;
                if policy == OnConflict::Report {
                    after.insert(name.clone(), old.clone());
                }
            }
            cells.insert(name.clone(), if takes { new.clone() } else { held.clone() });
        }
        let unchanged = counters.unchanged;
        if self.write(key, row, cells, fits, counters) {
            if left && counters.unchanged > unchanged {
                counters.unchanged -= 1;
                counters.skipped += 1;
            }
            if left && policy == OnConflict::Report {
                counters.conflicts += 1;
            }
            self.synced.insert(key, Some(after));
        }
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
