//! Rows that both sides have changed since they were synced last: what a run would do with them.

use super::sink::{DrySink, Known};
use super::tally::{Cell, shown_key};
use crate::value::Key;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Foreseen that are shown of each entity.
const SAMPLES: usize = 20;

/// What becomes of the target's own changes of a row where the source has changed the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The source's values would take their place.
    Overwritten,
    /// They would stay, and nothing more is said of it.
    Kept,
    /// They would stay, and be reported until somebody settles it.
    Open,
}

/// One row that both sides have changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conflict {
    /// What would become of it.
    pub resolution: Resolution,
    /// Its key at the target, as text, one for each key column.
    pub key: Vec<String>,
    /// Whether the target's change is that the row is not there any more.
    pub deleted: bool,
    /// The columns that both have changed, with what the target holds and what the source does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Cell>,
}

/// The rows of an entity that both sides have changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Contested {
    /// How many of them the source's values would take the place of the target's in.
    pub overwritten: u64,
    /// How many would keep the target's.
    pub kept: u64,
    /// How many would keep the target's and be reported.
    pub open: u64,
    /// Some of them.
    pub samples: Vec<Conflict>,
    /// The sum of their digests.
    #[serde(skip)]
    digest: u128,
}

impl Contested {
    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.overwritten + self.kept + self.open == 0
    }

    /// Returns all that decides what would become of them.
    pub(super) fn digest(&self) -> String {
        format!("{} {} {} {:032x}", self.overwritten, self.kept, self.open, self.digest)
    }

    fn note(&mut self, key: &Key, conflict: Conflict) {
        match conflict.resolution {
            Resolution::Overwritten => self.overwritten += 1,
            Resolution::Kept => self.kept += 1,
            Resolution::Open => self.open += 1,
        }
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        part(key.as_bytes());
        conflict.columns.iter().for_each(|cell| part(cell.column.as_bytes()));
        let full: [u8; 32] = hasher.finalize().into();
        let mut head = [0; 16];
        head.copy_from_slice(&full[..16]);
        self.digest = self.digest.wrapping_add(u128::from_be_bytes(head));
        if self.samples.len() < SAMPLES {
            self.samples.push(conflict);
        }
    }
}

type Missing = HashMap<(String, Vec<String>), HashSet<Key>>;

/// What a plan knows of the rows, and what of those that a run would not write as they are.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Foreseen {
    /// What knows all else; `None` where there is no run to be foreseen.
    sink: Option<DrySink>,
    /// Rows that both sides have changed, by entity.
    contested: Mutex<BTreeMap<String, Contested>>,
    /// Parents that are nowhere, as the target would refer to them, by the entity that refers and its columns: its rows wait.
    missing: Mutex<Missing>,
}

/// What a plan knows of an entity before it is walked.
pub(in crate::pipeline) struct Beginning {
    job: String,
    entity: String,
    known: Option<Known>,
}

impl Foreseen {
    /// Knows nothing yet but what the sink does.
    pub(super) fn over(sink: DrySink) -> Self {
        Foreseen { sink: Some(sink), ..Foreseen::default() }
    }

    /// Returns what is known of an entity, which a walk may have to go back to.
    pub(in crate::pipeline) fn begin(&self, job: &str, entity: &str) -> Beginning {
        Beginning { job: job.to_owned(), entity: entity.to_owned(), known: self.sink.as_ref().map(|sink| sink.of(job, entity)) }
    }

    /// Forgets what was found by a walk that is made once more from its beginning: nothing of it has come to the target's ledger, so
    /// that all is found again.
    pub(in crate::pipeline) fn back_to(&self, beginning: Beginning) {
        self.restart(&beginning.entity);
        if let (Some(sink), Some(known)) = (&self.sink, beginning.known) {
            sink.back_to(&beginning.job, &beginning.entity, known);
        }
    }

    /// Forgets those of an entity, which is walked from its start.
    pub(in crate::pipeline) fn restart(&self, entity: &str) {
        self.contested.lock().unwrap_or_else(PoisonError::into_inner).remove(entity);
    }

    /// Takes note of a row.
    pub(in crate::pipeline) fn note(&self, entity: &str, key: &Key, resolution: Resolution, deleted: bool, columns: Vec<Cell>) {
        let conflict = Conflict { resolution, key: shown_key(key), deleted, columns };
        self.contested.lock().unwrap_or_else(PoisonError::into_inner).entry(entity.to_owned()).or_default().note(key, conflict);
    }

    /// Takes note of parents that are nowhere, and for which rows wait.
    pub(in crate::pipeline) fn note_missing(&self, entity: &str, columns: &[String], parents: HashSet<Key>) {
        let reference = (entity.to_owned(), columns.to_vec());
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).entry(reference).or_default().extend(parents);
    }

    /// Returns which of these parents are nowhere.
    pub(in crate::pipeline) fn missing(&self, entity: &str, columns: &[String], parents: &[Key]) -> HashSet<Key> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(missing) = missing.get(&(entity.to_owned(), columns.to_vec())) else { return HashSet::new() };
        parents.iter().filter(|parent| missing.contains(parent)).cloned().collect()
    }

    /// Returns the rows of an entity that both sides have changed.
    pub(super) fn of(&self, entity: &str) -> Contested {
        self.contested.lock().unwrap_or_else(PoisonError::into_inner).get(entity).cloned().unwrap_or_default()
    }
}
