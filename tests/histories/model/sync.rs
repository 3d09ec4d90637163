//! What a sync makes of both sides, by the book.

use super::{Cells, Model, SourceRow, TargetRow};
use crate::case::{Extra, NUMBERS};
use migrate_core::job::{DeleteMode, Mode, OnConflict};
use migrate_core::state::Counters;
use std::collections::BTreeSet;

impl Model {
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
                    let written = self.source.get(class).is_some_and(|now| now.cells != *cells || now.spelling != *spelling);
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
}
