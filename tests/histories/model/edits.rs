//! What the source's own users do to it.

use super::{Cells, Model, SourceRow, sql};
use crate::case::{Allowed, Content, Edit, Extra, NUMBERS, TEXTS};
use migrate_core::job::DeleteMode;
use std::collections::BTreeSet;

impl Model {
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
}
