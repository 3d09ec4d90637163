//! What the source holds, and what is to be in the target for it, in plain Rust.

use super::case::{Case, Null, Target};
use migrate_core::job::OrphanPolicy;
use migrate_tests::Random;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which row it is, whatever its id.
    pub(crate) code: String,
    pub(crate) value: i64,
    /// For each of its table's references, in order, the id that it refers to.
    pub(crate) parents: Vec<Option<i64>>,
}

/// The first of the ids that nothing has had: who is gone may still be in the target.
const NOWHERE: i64 = 1_000;

/// The id of the row that stands in for parents which are nowhere.
pub(crate) const STAND_IN: i64 = 70_001;

/// Each table's rows by id.
pub(crate) type Content = Vec<BTreeMap<i64, Row>>;

/// What a finished run leaves.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) rows: Content,
    pub(crate) quarantined: u64,
    pub(crate) pending: u64,
    pub(crate) orphans: u64,
    /// The tables that have a row which stands in for parents.
    pub(crate) stand_ins: BTreeSet<usize>,
}

/// The source, and what is done to it.
#[derive(Debug)]
pub(crate) struct Model<'c> {
    pub(crate) case: &'c Case,
    pub(crate) content: Content,
    /// The references that wait, as the plan says.
    pub(crate) late: BTreeSet<usize>,
    /// Whether new rows may refer to nothing.
    pub(crate) orphans: bool,
    random: Random,
    born: usize,
}

impl<'c> Model<'c> {
    pub(crate) fn new(case: &'c Case) -> Self {
        let content = vec![BTreeMap::new(); case.tables.len()];
        let mut model =
            Model { case, content, late: BTreeSet::new(), orphans: !case.checked, random: Random::new(case.seed), born: 0 };
        for table in 0..case.tables.len() {
            for id in 1..=case.tables[table].rows {
                let parents = case.of(table).map(|(number, reference)| model.parent(number, case.tables[reference.parent].rows));
                let parents = parents.collect::<Vec<_>>();
                model.put(table, id, parents);
            }
        }
        model
    }

    fn draw(&mut self) -> usize {
        // The lowest bits are the least random.
        (self.random.below(1 << 32) >> 8) as usize
    }

    /// Of a hundred rows one refers to what is not there, and some to nothing.
    fn parent(&mut self, number: usize, ids: i64) -> Option<i64> {
        let (draw, far) = (self.draw() % 100, self.draw() as i64);
        match draw {
            0 if self.orphans => Some(NOWHERE + far % 2),
            1..=15 if self.case.references[number].null != Null::None => None,
            _ => Some(1 + far % ids),
        }
    }

    fn put(&mut self, table: usize, id: i64, parents: Vec<Option<i64>>) {
        self.born += 1;
        let row = Row { code: format!("t{table} {} {id}", self.born), value: self.born as i64 % 7, parents };
        self.content[table].insert(id, row);
    }

    /// Returns what arrives: a row whose parent does not is refused, or does without it where its reference may wait.
    pub(crate) fn expected(&self) -> Expected {
        let (mut rows, mut bereft) = (self.content.clone(), BTreeSet::new());
        for (table, rows) in rows.iter_mut().enumerate() {
            let nowhere = |parent: usize, id: &Option<i64>| id.is_some_and(|id| !self.content[parent].contains_key(&id));
            let lost = |row: &Row, policy: OrphanPolicy| {
                let mut references = self.case.of(table).zip(&row.parents);
                references.any(|((_, r), id)| r.policy == Some(policy) && nowhere(r.parent, id))
            };
            rows.retain(|_, row| !lost(row, OrphanPolicy::Quarantine));
            for (policy, instead) in [(OrphanPolicy::Null, None), (OrphanPolicy::Placeholder, Some(STAND_IN))] {
                for (id, row) in rows.iter_mut().filter(|(_, row)| lost(row, policy)) {
                    bereft.insert((table, *id));
                    for ((_, reference), id) in self.case.of(table).zip(row.parents.iter_mut()) {
                        if reference.policy == Some(policy) && nowhere(reference.parent, id) {
                            *id = instead;
                        }
                    }
                }
            }
        }
        // Created tables have the source's constraints: none, where there are orphans.
        let live = self.case.target != Target::Created;
        let holds = |content: &Content, parent: usize, id: i64| id == STAND_IN || content[parent].contains_key(&id);
        loop {
            let before = rows.clone();
            for (table, rows) in rows.iter_mut().enumerate() {
                let there = |number: usize, parent: usize, id: &Option<i64>| {
                    !live || self.late.contains(&number) || id.is_none_or(|id| holds(&before, parent, id))
                };
                rows.retain(|_, row| self.case.of(table).zip(&row.parents).all(|((n, r), id)| there(n, r.parent, id)));
            }
            if !live || rows == before {
                break;
            }
        }
        let (there, mut pending) = (rows.clone(), 0);
        for (table, rows) in rows.iter_mut().enumerate().filter(|_| live) {
            for row in rows.values_mut() {
                let mut waits = false;
                for ((_, reference), id) in self.case.of(table).zip(row.parents.iter_mut()) {
                    if id.is_some_and(|id| !holds(&there, reference.parent, id)) {
                        (*id, waits) = (None, true);
                    }
                }
                pending += u64::from(waits);
            }
        }
        let orphans = bereft.iter().filter(|(table, id)| rows[*table].contains_key(id)).count() as u64;
        let count = |content: &Content| content.iter().map(|rows| rows.len() as u64).sum::<u64>();
        let all = (0..rows.len()).flat_map(|table| rows[table].values().map(move |row| (table, row)));
        let referred = all.flat_map(|(table, row)| self.case.of(table).map(|(_, r)| r.parent).zip(row.parents.iter().copied()));
        let stand_ins = referred.filter(|(_, id)| *id == Some(STAND_IN)).map(|(parent, _)| parent).collect();
        Expected { quarantined: count(&self.content) - count(&rows), rows, pending, orphans, stand_ins }
    }

    /// Whether a row refers to what is not there.
    pub(crate) fn has_orphans(&self) -> bool {
        self.content.iter().enumerate().any(|(table, rows)| {
            let lost = |row: &Row| {
                self.case
                    .of(table)
                    .zip(&row.parents)
                    .any(|((_, r), id)| id.is_some_and(|id| !self.content[r.parent].contains_key(&id)))
            };
            rows.values().any(lost)
        })
    }

    /// Brings every parent that is missing.
    pub(crate) fn heal(&mut self) {
        self.orphans = false;
        loop {
            let mut missing = BTreeSet::new();
            for (table, rows) in self.content.iter().enumerate() {
                for row in rows.values() {
                    for ((_, reference), id) in self.case.of(table).zip(&row.parents) {
                        missing.extend(
                            id.filter(|id| !self.content[reference.parent].contains_key(id)).map(|id| (reference.parent, id)),
                        );
                    }
                }
            }
            if missing.is_empty() {
                return;
            }
            for (table, id) in missing {
                self.insert(table, id);
            }
        }
    }

    fn insert(&mut self, table: usize, id: i64) {
        let mut parents = Vec::new();
        let case = self.case;
        for (number, reference) in case.of(table) {
            let ids = self.content[reference.parent].keys().next_back().copied().unwrap_or(0);
            let parent = self.parent(number, ids.max(1));
            let any = self.any(reference.parent).or_else(|| self.content[reference.parent].keys().next().copied());
            let there = |id: &i64| self.orphans && *id >= NOWHERE || self.content[reference.parent].contains_key(id);
            parents.push(parent.filter(there).or(any.filter(|_| reference.null == Null::None)));
        }
        self.put(table, id, parents);
    }

    /// Any row of a table that arrives.
    fn any(&mut self, table: usize) -> Option<i64> {
        let draw = self.draw();
        let arrived: Vec<i64> = self.expected().rows[table].keys().copied().collect();
        if arrived.is_empty() { None } else { Some(arrived[draw % arrived.len()]) }
    }

    /// Inserts, changes and deletes rows. What has arrived before still does.
    pub(crate) fn edit(&mut self) {
        let [inserts, changes, deletes] = self.case.edits;
        for _ in 0..inserts {
            let table = self.draw() % self.case.tables.len();
            let next = self.case.tables[table].rows + 1 + self.born as i64;
            let free = (1..next).find(|id| !self.content[table].contains_key(id)).unwrap_or(next);
            self.insert(table, free);
            // To a job that keeps ids a new row of an old id is the old row: where it is refused, what was there would stay.
            if !self.expected().rows[table].contains_key(&free)
                && let Some(row) = self.content[table].remove(&free)
            {
                self.content[table].insert(next, row);
            }
        }
        for _ in 0..changes {
            let table = self.draw() % self.case.tables.len();
            let Some(id) = self.any(table) else { continue };
            for (place, (number, reference)) in self.case.of(table).enumerate().collect::<Vec<_>>() {
                if !self.draw().is_multiple_of(3) {
                    continue;
                }
                let nullable = self.case.references[number].null != Null::None;
                let none = nullable && self.draw().is_multiple_of(4);
                let parent = self.any(reference.parent).filter(|_| !none);
                if let Some(row) = self.content[table].get_mut(&id).filter(|_| nullable || parent.is_some()) {
                    row.parents[place] = parent;
                }
            }
            if let Some(row) = self.content[table].get_mut(&id) {
                row.value += 1;
            }
        }
        for _ in 0..if self.case.deletes { deletes } else { 0 } {
            let table = self.draw() % self.case.tables.len();
            self.delete(table);
        }
    }

    /// Deletes a row; those that refer to it refer to another one from now on.
    fn delete(&mut self, table: usize) {
        let Some(gone) = self.any(table) else { return };
        let instead = self.expected().rows[table].keys().copied().find(|id| *id != gone);
        for (child, rows) in self.content.clone().iter().enumerate() {
            for (id, row) in rows {
                for (place, (_, reference)) in self.case.of(child).enumerate() {
                    if reference.parent != table || row.parents[place] != Some(gone) {
                        continue;
                    }
                    if reference.null == Null::None && instead.is_none() {
                        return;
                    }
                    let parent = instead.filter(|_| reference.null == Null::None);
                    if let Some(row) = self.content[child].get_mut(id) {
                        row.parents[place] = parent;
                    }
                }
            }
        }
        self.content[table].remove(&gone);
    }
}
