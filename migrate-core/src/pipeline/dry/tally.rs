//! What a dry run would have written.

use crate::state::{QuarantinedRow, to_hex};
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
    /// Its key at the target, as text, one for each key column; `new id of …`, with the source's, for an id that the target would give.
    pub key: Vec<String>,
    /// The columns that would change; none for a row that comes or goes, but for the one in which it would be marked as deleted.
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
    /// What would be there, as text; `None` is NULL. A reference to a row whose id the target would give is `new id of …`, with the
    /// source's; NULL, which is what would be there first, where that row comes later in the same run.
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

/// What would be written to each table, by its name, and what is shown of each entity.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) tables: BTreeMap<String, TableTally>,
    /// By the entity's name: several may feed one table.
    pub(super) entities: BTreeMap<String, EntityTally>,
}

impl Tally {
    pub(super) fn table(&mut self, name: &str) -> &mut TableTally {
        self.tables.entry(name.to_owned()).or_default()
    }

    pub(super) fn entity(&mut self, name: &str) -> &mut EntityTally {
        self.entities.entry(name.to_owned()).or_default()
    }

    /// Adds what another transaction would have written.
    pub(super) fn add(&mut self, other: Tally) {
        for (name, table) in other.tables {
            self.table(&name).add(table);
        }
        for (name, entity) in other.entities {
            self.entity(&name).add(entity);
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
    /// The sum of the changes' digests: the order in which they are met says nothing.
    digest: u128,
}

impl TableTally {
    /// Takes note of a change; `content` is all that decides what the row would become.
    pub(super) fn note(&mut self, change: Change, key: &[u8], content: &[u8]) {
        self.rows += 1;
        self.bytes += content.len() as u64;
        self.digest = self.digest.wrapping_add(digest_of(change as u8, &[key], content));
    }

    /// Takes note of a row that is left to the target.
    pub(super) fn skip(&mut self, key: &[u8]) {
        self.digest = self.digest.wrapping_add(digest_of(SKIPPED, &[key], &[]));
    }

    pub(super) fn digest(&self) -> String {
        format!("{}:{}", self.rows, to_hex(&self.digest.to_be_bytes()))
    }

    fn add(&mut self, other: TableTally) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

/// Stands, in a digest, for a row that is left to the target, beside what [`Change`] has.
const SKIPPED: u8 = 0xfe;
/// Stands, in a digest, for a row that is refused.
const REFUSED: u8 = 0xff;

fn digest_of(kind: u8, parts: &[&[u8]], content: &[u8]) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update([kind]);
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(content);
    let full: [u8; 32] = hasher.finalize().into();
    let mut head = [0; 16];
    head.copy_from_slice(&full[..16]);
    u128::from_be_bytes(head)
}

/// What is shown of one entity, and what would be refused of it.
#[derive(Debug, Clone, Default)]
pub(super) struct EntityTally {
    pub(super) samples: Samples,
    refused: u64,
    digest: u128,
}

impl EntityTally {
    /// Takes note of a row that would be refused.
    pub(super) fn refuse(&mut self, row: &QuarantinedRow) {
        self.refused += 1;
        let column = row.column.as_deref().unwrap_or_default();
        self.digest = self.digest.wrapping_add(digest_of(REFUSED, &[&row.key, column.as_bytes()], row.reason.as_bytes()));
    }

    pub(super) fn digest(&self) -> String {
        format!("{}:{}", self.refused, to_hex(&self.digest.to_be_bytes()))
    }

    fn add(&mut self, other: EntityTally) {
        self.refused += other.refused;
        self.digest = self.digest.wrapping_add(other.digest);
        self.samples.add(other.samples);
    }
}

/// Changed rows that are kept to be shown; of each kind of change there are some.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(pub(super) Vec<Sample>);

impl Samples {
    /// Keeps a changed row, unless there are enough.
    pub(super) fn keep(&mut self, change: Change, sample: impl FnOnce() -> Sample) {
        if self.0.iter().filter(|s| s.change == change).count() < SAMPLES {
            self.0.push(sample());
        }
    }

    /// Keeps those of another, as far as there is room.
    pub(super) fn add(&mut self, other: Samples) {
        for sample in other.0 {
            self.keep(sample.change, || sample);
        }
    }
}
