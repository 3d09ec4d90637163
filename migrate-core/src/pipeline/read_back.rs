//! Reads back what a batch has written, in the batch's own transaction and before its commit.
//!
//! ```text
//! written:   checksum of each row that was inserted or updated ─▶ sum
//! read back: each row of the target, by its key or as it was loaded, through the target's own columns ─▶ checksum ─▶ sum
//! ```
//!
//! The sums are equal if the rows are, whatever order they come in. Only where they are not, the rows are read once more, to name those
//! that differ. Nothing of such a batch is committed.

use super::batch::KeyList;
use super::shape::{Shaped, ShapedRow, Shaper, mirrored, target_key};
use super::update::shown;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::EntityPlan;
use crate::sink::SinkTransaction;
use crate::source::PageRequest;
use crate::value::canonical::{self, Checksum};
use crate::value::{Key, Page};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a page that is read back.
const PAGE_BYTES: usize = 256 << 10;
/// Rows that are asked for by key together at most, and their bytes, after which no further row is added.
const KEYS_AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 1 << 20;
/// Checksums of a chunk: one list that grew would weigh twice while it is moved.
const CHUNK: usize = 4_096;
/// Keys of rows that differ which are named.
const NAMED: usize = 3;

/// What should stand in the target of the rows that a batch has written, by their places among them.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The beginnings of the rows' checksums, [`NONE`] for rows that were left as they were.
    heads: Vec<Vec<u64>>,
    rows: u64,
    sum: u128,
    /// Whether rows were written otherwise than by a bulk load.
    by_key: bool,
    /// Where the rows end that are asked for together, and the bytes behind the last of these.
    ends: Vec<usize>,
    bytes: usize,
}

/// No checksum begins so, see [`head`].
const NONE: u64 = 0;

impl Expected {
    /// Says what should stand there of the next row; `None` if it was left as it was.
    pub(super) fn push(&mut self, checksum: Option<Checksum>, bytes: usize, loaded: bool) {
        self.by_key |= !loaded;
        if let Some(checksum) = checksum {
            (self.rows, self.sum, self.bytes) = (self.rows + 1, self.sum.wrapping_add(sum(&checksum)), self.bytes + bytes);
        }
        if self.heads.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.heads.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.heads.last_mut() {
            chunk.push(checksum.map_or(NONE, |checksum| head(&checksum)));
        }
        let begins = self.ends.last().copied().unwrap_or(0);
        if self.bytes >= BYTES_AT_ONCE || self.len() - begins >= KEYS_AT_ONCE {
            self.bytes = 0;
            self.ends.push(self.len());
        }
    }

    /// Leaves rows out, up to this place.
    pub(super) fn pad(&mut self, place: usize) {
        while self.len() < place {
            self.push(None, 0, true);
        }
    }

    fn len(&self) -> usize {
        self.heads.last().map_or(0, |last| (self.heads.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows' keys and the beginnings of their checksums, with their places.
    fn rows<'e>(&'e self, written: &'e KeyList) -> impl Iterator<Item = (usize, Key, u64)> + Send + 'e {
        let heads = self.heads.iter().flatten().copied();
        let rows = written.iter().zip(heads).enumerate();
        rows.filter(|(_, (_, head))| *head != NONE).map(|(place, (key, head))| (place, key, head))
    }
}

fn head(checksum: &Checksum) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&checksum[..8]);
    u64::from_be_bytes(head).max(NONE + 1)
}

fn sum(checksum: &Checksum) -> u128 {
    u128::from_be_bytes(*checksum)
}

/// Reads rows of an entity back from its target.
pub(super) struct Mirror {
    entity: Arc<EntityPlan>,
    mirror: Arc<EntityPlan>,
    shaper: Shaper,
}

impl Mirror {
    pub(super) fn new(entity: Arc<EntityPlan>) -> Self {
        let mirror = Arc::new(mirrored((*entity).clone()));
        Mirror { shaper: Shaper::new(mirror.clone()), mirror, entity }
    }

    /// Compares what stands in the target with what should.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] naming the keys of some rows that differ or are not there.
    pub(super) async fn compare(
        &mut self,
        transaction: &mut dyn SinkTransaction,
        written: &KeyList,
        expected: &Expected,
    ) -> Result<()> {
        let mut found = 0u128;
        let mut rows = 0;
        let mut add = |row: &ShapedRow| (found, rows) = (found.wrapping_add(sum(&row.checksum)), rows + 1);
        self.read(transaction, written, expected, &mut add).await?;
        if (found, rows) == (expected.sum, expected.rows) {
            return Ok(());
        }
        // Rows that others have put there, or that are one row of the target, are no difference here.
        let digest = |key: &Key| canonical::checksum(key.as_bytes());
        let mut left: HashMap<Checksum, (usize, u64)> = HashMap::new();
        for (place, key, head) in expected.rows(written) {
            left.insert(digest(&target_key(&self.entity, &key)?), (place, head));
        }
        let mut meet = |row: &ShapedRow| {
            let key = digest(&row.key);
            if row.place.is_ok() && left.get(&key).is_some_and(|(_, wanted)| *wanted == head(&row.checksum)) {
                left.remove(&key);
            }
        };
        self.read(transaction, written, expected, &mut meet).await?;
        if left.is_empty() {
            return Ok(());
        }
        let mut places: Vec<usize> = left.values().map(|(place, _)| *place).collect();
        places.sort_unstable();
        let keys: Vec<String> = places.iter().take(NAMED).filter_map(|place| Some(shown(&written.get(*place)?))).collect();
        let message = format!(
            "read back before the commit, {} of {} rows are not in the target as they were written, among them those with the keys ({}); \
             nothing of the batch was committed",
            left.len(),
            expected.rows,
            keys.join("), (")
        );
        let error = Error::new(ErrorKind::Mismatch, message);
        Err(error.with("entity", &self.entity.name).with("table", &self.entity.target.name))
    }

    async fn read(
        &mut self,
        transaction: &mut dyn SinkTransaction,
        written: &KeyList,
        expected: &Expected,
        take: &mut (dyn FnMut(&ShapedRow) + Send),
    ) -> Result<()> {
        let columns = self.mirror.read_columns();
        let request =
            PageRequest::new(&self.mirror.source, &columns, &self.mirror.key).with_limits(PAGE_BYTES, usize::MAX).of_written();
        let shaper = &mut self.shaper;
        let mut hand = |page: Page| -> Result<()> {
            let Shaped { rows, .. } = shaper.shape(page)?;
            rows.iter().for_each(&mut *take);
            Ok(())
        };
        if !expected.by_key && transaction.read_loaded(&request, &mut hand).await? {
            return Ok(());
        }
        let (mut keys, mut ends) = (Vec::new(), expected.ends.iter().copied().peekable());
        for (place, key, _) in expected.rows(written) {
            if ends.next_if(|end| place >= *end).is_some() {
                while ends.next_if(|end| place >= *end).is_some() {}
                if !keys.is_empty() {
                    hand(transaction.read_rows(&request, &keys).await?)?;
                    keys.clear();
                }
            }
            keys.push(target_key(&self.entity, &key)?);
        }
        if !keys.is_empty() {
            hand(transaction.read_rows(&request, &keys).await?)?;
        }
        Ok(())
    }
}

/// Fails if a row of these keys, to the letter, is still there: it was deleted in this transaction.
///
/// # Errors
/// [`ErrorKind::Mismatch`] naming some of the keys.
pub(super) async fn ensure_gone(entity: &EntityPlan, transaction: &mut dyn SinkTransaction, keys: &[Key]) -> Result<()> {
    if keys.is_empty() || !transaction.can_read_back(&entity.target).await? {
        return Ok(());
    }
    let request = PageRequest::new(&entity.target, &entity.target_key, &entity.target_key).to_the_letter().of_written();
    let left = transaction.read_rows(&request, keys).await?;
    if left.is_empty() {
        return Ok(());
    }
    let examples = left.rows().take(NAMED).map(|row| Ok(shown(&Key::from_values(&row.values()?))));
    let message = format!(
        "{} deleted rows are still in the target, among them those with the keys ({}); nothing of the batch was committed",
        left.row_count(),
        examples.collect::<Result<Vec<String>>>()?.join("), (")
    );
    Err(Error::new(ErrorKind::Mismatch, message).with("entity", &entity.name).with("table", &entity.target.name))
}
