//! What a dry run would have written.

use crate::state::to_hex;
use crate::value::{Key, Value, text};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Changed rows that are kept for each entity, to be shown.
const SAMPLES: usize = 5;

/// What would happen to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It would be inserted.
    Insert,
    /// It would be overwritten.
    Update,
    /// It would be deleted, or marked as deleted.
    Delete,
}

/// One row that would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// What would happen to it.
    pub change: Change,
    /// Its key at the target, as text, one for each key column.
    pub key: Vec<String>,
    /// The columns that would change; none for a row that comes or goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Cell>,
}

/// One column that would change. Its values are in [`Sample`]s for whoever asks to see them, and in nothing that is logged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The target's column.
    pub column: String,
    /// What is there, as text; `None` is NULL.
    pub before: Option<String>,
    /// What would be there, as text; `None` is NULL.
    pub after: Option<String>,
}

impl Cell {
    pub(crate) fn new(column: &str, before: &Value<'_>, after: &Value<'_>) -> Self {
        Cell { column: column.to_owned(), before: shown(before), after: shown(after) }
    }
}

fn shown(value: &Value<'_>) -> Option<String> {
    (!value.is_null()).then(|| text::to_text(value).into_owned())
}

/// The key as text.
pub(super) fn shown_key(key: &Key) -> Vec<String> {
    key.values().map(|values| values.iter().map(|v| text::to_text(v).into_owned()).collect()).unwrap_or_default()
}

/// What would be written to each table, by its name.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) tables: BTreeMap<String, TableTally>,
}

impl Tally {
    pub(super) fn table(&mut self, name: &str) -> &mut TableTally {
        self.tables.entry(name.to_owned()).or_default()
    }

    /// Adds what another transaction would have written.
    pub(super) fn add(&mut self, other: Tally) {
        for (name, table) in other.tables {
            self.table(&name).add(table);
        }
    }
}

/// What would be written to one table.
#[derive(Debug, Clone, Default)]
pub(super) struct TableTally {
    /// Rows that would be written or deleted.
    pub(super) rows: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    pub(super) samples: Vec<Sample>,
    /// The sum of the changes' digests: the order in which they are met says nothing.
    digest: u128,
}

impl TableTally {
    /// Takes note of a change; `content` is all that decides what the row would become.
    pub(super) fn note(&mut self, change: Change, key: &[u8], content: &[u8]) {
        self.rows += 1;
        self.bytes += content.len() as u64;
        let mut hasher = Sha256::new();
        hasher.update([change as u8]);
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(content);
        let full: [u8; 32] = hasher.finalize().into();
        let mut head = [0; 16];
        head.copy_from_slice(&full[..16]);
        self.digest = self.digest.wrapping_add(u128::from_be_bytes(head));
    }

    /// Keeps a changed row to be shown; of each kind of change there are some.
    pub(super) fn sample(&mut self, change: Change, sample: impl FnOnce() -> Sample) {
        if self.samples.iter().filter(|s| s.change == change).count() < SAMPLES {
            self.samples.push(sample());
        }
    }

    pub(super) fn digest(&self) -> String {
        format!("{}:{}", self.rows, to_hex(&self.digest.to_be_bytes()))
    }

    fn add(&mut self, other: TableTally) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.digest = self.digest.wrapping_add(other.digest);
        for sample in other.samples {
            self.sample(sample.change, || sample.clone());
        }
    }
}
