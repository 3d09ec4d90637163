//! The target transaction that a walk is filling, and the rows that wait for it.

use super::context::Context;
use super::keymap::RowIds;
use super::read_back::{Expected, Mirror};
use super::update::Base;
use crate::error::Result;
use crate::plan::EntityPlan;
use crate::sink::{Outcome, SinkTransaction, WriteMode, WriteRequest};
use crate::state::{GoneRow, KeyMapChanges, QuarantinedRow};
use crate::value::canonical::Checksum;
use crate::value::{Key, Page, PageBuilder};
use std::collections::HashSet;
use std::sync::Arc;

/// Rows of one page that are to be written.
pub(super) struct Waiting {
    pub(super) page: Page,
    pub(super) rows: Vec<u32>,
    pub(super) keys: Vec<Key>,
    /// Each row's checksum.
    pub(super) sums: Vec<Checksum>,
    /// Each row's place among the rows that the merge keeps.
    pub(super) kept: Vec<usize>,
    /// What this execution did to each row before.
    pub(super) before: Vec<Outcome>,
    /// In mode `update`: each row as it was synced last, where it was.
    pub(super) bases: Vec<Option<Base>>,
    /// The ids of the page's rows, where the target gives them.
    pub(super) ids: Option<Arc<RowIds>>,
}

impl Waiting {
    /// Parts the rows by what this execution did to them before.
    pub(super) fn split(self, first: impl Fn(Outcome) -> bool) -> (Waiting, Waiting) {
        let empty = || Waiting {
            page: self.page.clone(),
            rows: Vec::new(),
            keys: Vec::new(),
            sums: Vec::new(),
            kept: Vec::new(),
            before: Vec::new(),
            bases: Vec::new(),
            ids: self.ids.clone(),
        };
        let (mut yes, mut no) = (empty(), empty());
        let rows = self.rows.into_iter().zip(self.keys).zip(self.sums).zip(self.kept).zip(self.before).zip(self.bases);
        for (((((row, key), sum), kept), before), base) in rows {
            let part = if first(before) { &mut yes } else { &mut no };
            part.rows.push(row);
            part.keys.push(key);
            part.sums.push(sum);
            part.kept.push(kept);
            part.before.push(before);
            part.bases.push(base);
        }
        (yes, no)
    }

    /// Takes rows that are few of their page out of it: the page would wait in memory with them.
    pub(super) fn without_others(mut self) -> Self {
        if self.ids.is_none() && self.rows.len() < self.page.row_count() / 2 {
            let mut page = self.builder();
            self.rows.iter().for_each(|row| page.push_row(self.page.row(*row as usize).data()));
            self.page = page.finish(None);
            self.rows = (0..self.page.row_count() as u32).collect();
        }
        self
    }

    /// Adds the rows that come next, where a page of at most so many bytes holds them all. Returns them where it does not.
    fn append(&mut self, next: Waiting, most: usize) -> Option<Waiting> {
        let whole = |waiting: &Waiting| waiting.ids.is_none() && waiting.rows.len() == waiting.page.row_count();
        let alike = self.page.encoding().name() == next.page.encoding().name() && self.page.columns() == next.page.columns();
        if !alike || !whole(self) || !whole(&next) || self.page.data().len() + next.page.data().len() > most {
            return Some(next);
        }
        let mut page = self.builder();
        self.page.rows().chain(next.page.rows()).for_each(|row| page.push_row(row.data()));
        self.page = page.finish(None);
        self.rows = (0..self.page.row_count() as u32).collect();
        self.keys.extend(next.keys);
        self.sums.extend(next.sums);
        self.kept.extend(next.kept);
        self.before.extend(next.before);
        self.bases.extend(next.bases);
        None
    }

    fn builder(&self) -> PageBuilder {
        PageBuilder::new(self.page.columns().clone(), self.page.encoding())
    }
}

/// Puts rows of several pages together, up to so many bytes: each page takes its own request to the target.
pub(super) fn put_together(waiting: Vec<Waiting>, most: usize) -> Vec<Waiting> {
    let mut together: Vec<Waiting> = Vec::with_capacity(waiting.len());
    for next in waiting {
        let left = match together.last_mut() {
            Some(last) => last.append(next, most),
            None => Some(next),
        };
        together.extend(left);
    }
    together
}

/// Keys of a chunk of a [`KeyList`].
const CHUNK: usize = 4096;

/// Keys in order, back to back: a batch has many, and one of them at most is asked for. In chunks, as one that grew would weigh twice
/// while it is moved.
#[derive(Debug, Default)]
pub(super) struct KeyList {
    chunks: Vec<KeyChunk>,
}

#[derive(Debug, Default)]
struct KeyChunk {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
}

impl KeyList {
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.lengths.len())
    }

    /// Returns one key; it takes as long as there are keys before it in its chunk.
    pub(super) fn get(&self, place: usize) -> Option<Key> {
        let chunk = self.chunks.get(place / CHUNK)?;
        let place = place % CHUNK;
        let length = *chunk.lengths.get(place)? as usize;
        let start: usize = chunk.lengths[..place].iter().map(|length| *length as usize).sum();
        chunk.bytes.get(start..start + length).map(Key::from_bytes)
    }

    /// Iterates over the keys in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Key> + Send + '_ {
        self.chunks.iter().flat_map(|chunk| {
            let mut start = 0;
            chunk.lengths.iter().map(move |length| {
                let from = start;
                start += *length as usize;
                Key::from_bytes(&chunk.bytes[from..start])
            })
        })
    }

    fn push(&mut self, key: &Key) {
        if self.chunks.last().is_none_or(|last| last.lengths.len() == CHUNK) {
            self.chunks.push(KeyChunk::default());
        }
        let Some(chunk) = self.chunks.last_mut() else { return };
        chunk.bytes.extend_from_slice(key.as_bytes());
        // No engine has keys of 4 GiB.
        chunk.lengths.push(u32::try_from(key.as_bytes().len()).unwrap_or(u32::MAX));
    }
}

/// A batch: what will commit together.
#[derive(Default)]
pub(super) struct Batch {
    transaction: Option<Box<dyn SinkTransaction>>,
    /// The keys of all rows written, in order, to name a refused one.
    pub(super) written: KeyList,
    /// What should stand in the target of them, as far as it is read back.
    pub(super) expected: Expected,
    /// Rows that are written at the end of the range, after its deletes.
    pub(super) waiting: Vec<Waiting>,
    pub(super) quarantine: Vec<QuarantinedRow>,
    /// Bytes of the refused rows, which are kept whole.
    pub(super) refused_bytes: usize,
    pub(super) released: Vec<Vec<u8>>,
    /// Rows that are gone from the source, for the end of the run.
    pub(super) gone: Vec<GoneRow>,
    /// Rows that wait for a parent to have an id; they may wait for other parents too.
    pub(super) without_id: HashSet<Key>,
    /// Entries of the key map that its rows bring.
    pub(super) key_map: KeyMapChanges,
    /// Whether a part of the state is with the transaction already.
    pub(super) put: bool,
    /// Ranges of the ledger that have ended since the last commit.
    pub(super) ranges: usize,
    pub(super) bytes: usize,
    pub(super) rows: usize,
}

impl Batch {
    /// Returns the open transaction, which is begun if there is none.
    pub(super) async fn transaction(&mut self, context: &Context) -> Result<&mut Box<dyn SinkTransaction>> {
        if self.transaction.is_none() {
            self.transaction = Some(context.sink.begin(&context.fence).await?);
        }
        self.transaction.as_mut().ok_or_else(|| crate::Error::new(crate::ErrorKind::Internal, "a transaction has vanished"))
    }

    /// Returns whether a transaction is open.
    pub(super) fn has_begun(&self) -> bool {
        self.transaction.is_some()
    }

    /// Rolls back a transaction by which nothing was written.
    pub(super) async fn give_up(&mut self) -> Result<()> {
        match self.transaction.take() {
            Some(transaction) => transaction.rollback().await,
            None => Ok(()),
        }
    }

    /// Takes the transaction out, to commit it.
    pub(super) async fn take(&mut self, context: &Context) -> Result<Box<dyn SinkTransaction>> {
        self.transaction(context).await?;
        self.transaction.take().ok_or_else(|| crate::Error::new(crate::ErrorKind::Internal, "a transaction has vanished"))
    }

    /// Writes rows and returns what became of each; `None` says that all were inserted.
    pub(super) async fn write(
        &mut self,
        context: &Context,
        entity: &EntityPlan,
        page: &Page,
        rows: &[u32],
        keys: impl IntoIterator<Item = Key>,
        mode: WriteMode,
    ) -> Result<Option<Vec<Outcome>>> {
        let before = self.written.len() as u64;
        keys.into_iter().for_each(|key| self.written.push(&key));
        let all = rows.len() == page.row_count();
        let request = WriteRequest {
            table: &entity.target,
            key: &entity.target_key,
            page,
            rows: if all { None } else { Some(rows) },
            mode,
        };
        let written = self.transaction(context).await?.write(request).await;
        // A load counts all rows of the transaction, since it may fail later; the others count those of the call.
        written.map_err(|error| match error.row() {
            Some(row) if mode != WriteMode::Load => error.with_row(before + row),
            _ => error,
        })
    }

    /// Compares what stands in the target with what was written.
    pub(super) async fn read_back(&mut self, mirror: &mut Mirror) -> Result<()> {
        match &mut self.transaction {
            Some(transaction) if !self.expected.is_empty() => {
                mirror.compare(transaction.as_mut(), &self.written, &self.expected).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Returns whether there is anything to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.transaction.is_none()
            && self.waiting.is_empty()
            && self.quarantine.is_empty()
            && self.released.is_empty()
            && self.gone.is_empty()
    }

    /// Forgets everything; an open transaction is rolled back.
    pub(super) async fn discard(&mut self) {
        if let Some(transaction) = std::mem::take(self).transaction {
            // The connection may be gone: then the server rolls back by itself.
            let _ = transaction.rollback().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn keys_are_found_again_by_their_place_across_chunks() {
        let key = |i: usize| Key::from_values(&[Value::Text("x".repeat(i % 7).into()), Value::Int(i as i64)]);
        let mut list = KeyList::default();
        assert_eq!((list.len(), list.get(0)), (0, None));
        for i in 0..CHUNK * 2 + 1 {
            list.push(&key(i));
        }
        assert_eq!(list.len(), CHUNK * 2 + 1);
        for place in [0, 1, CHUNK - 1, CHUNK, CHUNK * 2 - 1, CHUNK * 2] {
            assert_eq!(list.get(place), Some(key(place)));
        }
        assert_eq!(list.get(CHUNK * 2 + 1), None);
        assert!(list.iter().eq((0..CHUNK * 2 + 1).map(key)));
    }
}
