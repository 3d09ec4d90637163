//! What both sides hold of each parent: how many rows, and the sum of their checksums.
//!
//! ```text
//! source    ledger    target
//! some      any       the same rows     equal
//! some      any       others, or none   replaced: the target's go, the source's come
//! none      yes       any               gone: the target's go
//! none      no        any               none of the job's
//! ```
//!
//! A set of which the source has a row that is refused is left as the target has it, unless the target has none of it: some of it, or nothing,
//! would come in the place of the whole.

use crate::job::Mode;
use crate::value::canonical::Checksum;
use std::collections::HashMap;

/// The rows of one parent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Set {
    /// The source's rows, and the sum of their checksums.
    pub(super) now: u32,
    pub(super) now_sum: u128,
    /// The target's rows; their sum, or that of what was written last where the target's triggers have a say.
    pub(super) was: u32,
    pub(super) was_sum: u128,
    /// Whether the ledger knows the parent.
    pub(super) known: bool,
    /// Whether this execution has written the target's rows.
    pub(super) own: bool,
    /// Whether the source has rows of it beyond the entity's filter.
    pub(super) left: bool,
    /// Whether the source has rows of it that are refused.
    pub(super) refused: bool,
}

/// What becomes of a parent's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Both sides hold the same.
    Equal,
    /// The target's go, and the source's come.
    Replaced,
    /// The target's go.
    Gone,
    /// They are left to the target.
    Left,
    /// There are none any more, on either side.
    Forgotten,
}

/// What decides it beside the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) mode: Mode,
    /// Whether rows that have only left the filter stay.
    pub(super) keeps_left: bool,
    /// Whether the target's triggers may alter what is written, so that only what was written can be compared.
    pub(super) altered: bool,
}

impl Set {
    pub(super) fn fate(&self, rules: Rules) -> Fate {
        let same = self.now_sum == self.was_sum && if rules.altered { self.known } else { self.now == self.was };
        // What this very execution has brought is its own to change, whatever the mode.
        let append = rules.mode == Mode::Append && !self.own;
        match (self.now, self.was) {
            (0, 0) => Fate::Forgotten,
            (_, 1..) if self.refused && !same => Fate::Left,
            (0, _) if append || (rules.keeps_left && self.left && !self.own) => Fate::Left,
            (0, _) => Fate::Gone,
            _ if same => Fate::Equal,
            (_, 1..) if append => Fate::Left,
            _ => Fate::Replaced,
        }
    }
}

/// Counts the rows of each parent of one part, by the checksum of the parent's columns.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sets: HashMap<Checksum, Set>,
    /// The part: parents whose number, of so many, is this one.
    part: (u64, u64),
}

impl Tally {
    pub(super) fn new(part: (u64, u64)) -> Self {
        Tally { sets: HashMap::new(), part }
    }

    pub(super) fn get(&self, parent: &Checksum) -> Option<&Set> {
        self.sets.get(parent)
    }

    /// Returns a parent that the part knows.
    pub(super) fn get_mut(&mut self, parent: &Checksum) -> Option<&mut Set> {
        self.sets.get_mut(parent)
    }

    /// Returns a parent of the part, which is new to it perhaps; `None` if it belongs to another part.
    pub(super) fn entry(&mut self, parent: Checksum) -> Option<&mut Set> {
        is_in(&parent, self.part).then(|| self.sets.entry(parent).or_default())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Checksum, &Set)> {
        self.sets.iter()
    }

    /// Sums up what is to be done.
    pub(super) fn difference(&self, rules: Rules) -> Difference {
        let mut all = Difference::default();
        for set in self.sets.values() {
            let (now, was) = (u64::from(set.now), u64::from(set.was));
            all.held += was;
            match set.fate(rules) {
                Fate::Equal if set.own => all.inserted += now,
                Fate::Equal => all.rest += now,
                Fate::Left => {
                    let own = if set.own { now.min(was) } else { 0 };
                    all.inserted += own;
                    all.rest += now - own;
                }
                Fate::Replaced => {
                    all.inserted += now;
                    all.coming += now;
                    all.deletes |= was > 0;
                    all.lost += if set.own { 0 } else { was.saturating_sub(now) };
                }
                Fate::Gone => {
                    all.deletes = true;
                    all.lost += if set.own { 0 } else { was };
                }
                Fate::Forgotten => {}
            }
            all.remembers |= match set.fate(rules) {
                Fate::Equal => !set.known && rules.mode != Mode::Append,
                Fate::Replaced | Fate::Gone => true,
                Fate::Forgotten => set.known,
                Fate::Left => false,
            };
        }
        all
    }
}

/// Returns whether a parent is one of a part.
pub(super) fn is_in(parent: &Checksum, (number, parts): (u64, u64)) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = *parent;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) % parts.max(1) == number
}

/// What the difference comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// The source's rows that are this execution's: brought before, or to be brought.
    pub(super) inserted: u64,
    /// The source's other rows.
    pub(super) rest: u64,
    /// Rows to insert.
    pub(super) coming: u64,
    /// Whether there are rows to delete.
    pub(super) deletes: bool,
    /// By how many rows the sets that change or go are smaller than before.
    pub(super) lost: u64,
    /// The target's rows.
    pub(super) held: u64,
    /// Whether the ledger is to know more, or less, than it does.
    pub(super) remembers: bool,
}
