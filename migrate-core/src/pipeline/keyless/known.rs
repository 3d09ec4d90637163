//! What the target remembers of rows without a key beside their ledger.

use super::counts::Counts;
use crate::pipeline::shape::Shaped;
use crate::state::{Checkpoint, Counters, to_hex};

/// What is known of the target's rows of a keyless entity.
#[derive(Clone)]
pub(in crate::pipeline) struct Known {
    /// The digest of the source's rows as they were brought last, with what became of them.
    pub(super) digest: Option<(String, Counters)>,
    /// Whether an interrupted load has left rows behind.
    pub(super) unfinished: bool,
    /// The execution that brought them.
    pub(super) execution: String,
    /// All that is remembered.
    pub(super) checkpoint: Option<Checkpoint>,
    /// How many rows of the target are this entity's.
    pub(super) rows: u64,
}

impl Known {
    /// What a checkpoint says; a distrusted one says how many rows there are, but nothing of what they hold.
    pub(in crate::pipeline) fn new(checkpoint: Option<Checkpoint>, distrusted: bool) -> Self {
        let remembered = checkpoint.as_ref().and_then(|c| Some((c.digest.as_deref().map(Digest::parse)?, c.counters)));
        let held = remembered.as_ref().and_then(|(digest, _)| digest.held);
        Known {
            rows: held.unwrap_or_else(|| checkpoint.as_ref().map_or(0, |c| c.counters.held())),
            digest: remembered.filter(|_| !distrusted).map(|(digest, counters)| (digest.source, counters)),
            unfinished: checkpoint.as_ref().is_some_and(|c| !c.done || distrusted),
            execution: checkpoint.as_ref().map(|c| c.execution.clone()).unwrap_or_default(),
            checkpoint,
        }
    }

    /// Rows that the execution has deleted already.
    pub(super) fn deleted(&self, execution: &str) -> u64 {
        self.checkpoint.as_ref().filter(|c| c.execution == execution).map_or(0, |c| c.counters.deleted)
    }
}

/// What a checkpoint keeps: `rows:sum:held`, of which earlier versions have not written the last.
struct Digest {
    /// The number of the source's rows, and the sum of their checksums.
    source: String,
    /// How many rows the target holds of the entity, those among them that the source has lost and the job keeps.
    held: Option<u64>,
}

impl Digest {
    fn parse(text: &str) -> Self {
        match text.match_indices(':').nth(1) {
            Some((at, _)) => Digest { source: text[..at].to_owned(), held: text[at + 1..].parse().ok() },
            None => Digest { source: text.to_owned(), held: None },
        }
    }
}

/// The source's rows, summed up.
#[derive(Default)]
pub(super) struct Sum {
    pub(super) rows: u64,
    sum: u128,
}

impl Sum {
    pub(super) fn add(&mut self, shaped: &Shaped, counts: &mut Counts) {
        for row in shaped.rows.iter().filter(|r| r.place.is_ok()) {
            self.rows += 1;
            self.sum = self.sum.wrapping_add(u128::from_be_bytes(row.checksum));
            counts.see(row.checksum);
        }
    }

    pub(super) fn text(&self) -> String {
        format!("{}:{}", self.rows, to_hex(&self.sum.to_be_bytes()))
    }

    /// What a checkpoint keeps, where the target holds so many rows.
    pub(super) fn digest(&self, held: u64) -> String {
        format!("{}:{held}", self.text())
    }
}
