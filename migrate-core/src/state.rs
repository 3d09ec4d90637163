//! What the target remembers: the fence, checkpoints, ledger blocks and quarantined rows.
//!
//! All of it lives in the target and commits in the same transaction as the rows it speaks of.

use crate::error::{Error, ErrorKind, Result};
use crate::job::Timestamp;
use crate::schema::TableName;
use crate::sink::{Outcome, TablePlan};
use crate::source::Position;
use crate::value::{DataType, Key, KeyRange};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// What a checkpoint or ledger belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The job's name.
    pub job: String,
    /// The entity's name.
    pub entity: String,
    /// The part of the entity, from 0; an entity that is not split has part 0 only.
    pub partition: u32,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.entity, self.partition)
    }
}

/// The right to write for a job, until somebody takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The job's name.
    pub job: String,
    /// The number of the holder; it only grows.
    pub epoch: u64,
}

/// How an entity, or a part of it, has got on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The execution that wrote it.
    pub execution: String,
    /// The attempt within that execution, from 1.
    pub attempt: u32,
    /// The number of the commit within the scope; it only grows. Settles an unknown commit.
    pub sequence: u64,
    /// The keys that this part is made of.
    #[serde(with = "range_serde")]
    pub range: KeyRange,
    /// Up to which key rows were committed by the walk that is under way, hexadecimal; `None` before the first commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<String>,
    /// Whether the job may have deleted the target's last row itself. Else a target without rows, where some were committed, is one that
    /// others have emptied, and is loaded anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_empty: bool,
    /// The snapshot that the walk reads.
    pub position: Position,
    /// Whether the walk has reached the end.
    pub done: bool,
    /// Whether the target held none of this part's keys beyond the ledger when the execution began, so that rows can be loaded.
    pub loadable: bool,
    /// What became of the rows so far.
    pub counters: Counters,
    /// What the ledger was made with: source, columns, types, mapping, filter. Another one makes the ledger void.
    pub fingerprint: String,
    /// Whether the ledger was begun with another one, so that behind [`Checkpoint::reached`] only its keys are true.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub distrusted: bool,
    /// The source's landmark that the ledger is true for, row by row; `None` where the next run must look at all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<SyncedAt>,
    /// The target's columns that its triggers were seen to alter: what they hold is no difference.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub trigger_columns: BTreeSet<String>,
    /// Facts that the pipeline keeps beside the ledger, such as the digest of a table without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The source's columns as the last finished run of the entity found them; `None` before it, or by a version that did not remember them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_columns: Option<Vec<SourceColumn>>,
    /// The target's columns in the order of the ledger's checksums of columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written_columns: Vec<String>,
    /// Where the rows go; `None` by a version that did not remember it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feeds: Option<Feeds>,
}

/// Which rows of the target an entity writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feeds {
    /// The table.
    pub table: TableName,
    /// The constants among what identifies a row there, by their columns, in canonical bytes as hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constants: BTreeMap<String, String>,
}

impl Feeds {
    /// Returns whether both may write to the same row: no constant in the key of both tells them apart.
    pub fn meets(&self, other: &Feeds) -> bool {
        let apart = |(name, value): (&String, &String)| other.constants.get(name).is_some_and(|theirs| theirs != value);
        self.table == other.table && !self.constants.iter().any(apart)
    }
}

/// A column of the source as a run has found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceColumn {
    /// The name, to the letter.
    pub name: String,
    /// The type as the engine spells it.
    pub native_type: String,
    /// What its cells are read as.
    pub data_type: DataType,
    /// The type that an engine with stricter columns should give it.
    pub portable_type: DataType,
    /// What the run did with it.
    pub fate: ColumnFate,
    /// Its place among the columns that identify a row, if it is one of them; none of all columns, where an earlier version has found them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<usize>,
}

/// What a run did with a column of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnFate {
    /// It was moved.
    Moved,
    /// The job leaves it out.
    Excluded,
    /// It was added at the source after the first run, and left out as the target has no such column.
    LeftOut,
}

/// Up to where a scope's rows were brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncedAt {
    /// What [`crate::source::Snapshot::survey`] gave, where it gave any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landmark: Option<String>,
    /// When all rows were read and compared last.
    pub scrubbed: Timestamp,
    /// Whether changed rows were skipped, so that only mode `append` may pass over rows that have not changed since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipping: bool,
    /// The version of this library that did it: another one may make other rows of the same values.
    pub version: String,
}

mod range_serde {
    use crate::value::{Key, KeyRange};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(range: &KeyRange, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = |key: &Option<Key>| key.as_ref().map(|k| super::to_hex(k.as_bytes()));
        (hex(&range.after), hex(&range.up_to)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyRange, D::Error> {
        let (after, up_to) = <(Option<String>, Option<String>)>::deserialize(deserializer)?;
        let key = |text: Option<String>| {
            text.map(|t| super::from_hex(&t).map(Key::from_bytes).ok_or_else(|| D::Error::custom("a key is not hexadecimal")))
                .transpose()
        };
        Ok(KeyRange { after: key(after)?, up_to: key(up_to)? })
    }
}

/// Prints bytes in hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads bytes in hexadecimal; `None` if the text is not.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

/// What became of the rows of an entity. The first eight obey
/// `read = inserted + updated + unchanged + skipped + filtered + quarantined`; the rest are counted apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Rows that the snapshot holds under the filter, counted by the source.
    pub read: u64,
    /// New rows.
    pub inserted: u64,
    /// Overwritten rows.
    pub updated: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Rows whose key was there, in `append`.
    pub skipped: u64,
    /// Rows that a transform dropped.
    pub filtered: u64,
    /// Rows refused with a reason.
    pub quarantined: u64,
    /// Rows deleted from the target.
    pub deleted: u64,
    /// Rows or columns changed on both sides.
    pub conflicts: u64,
    /// References still waiting for their parent.
    pub pending: u64,
    /// References whose parent does not exist.
    pub orphans: u64,
    /// Bytes read from the source.
    pub bytes: u64,
}

impl Counters {
    /// Returns the rows that have a final outcome.
    pub fn settled(&self) -> u64 {
        self.inserted + self.updated + self.unchanged + self.skipped + self.filtered + self.quarantined
    }

    /// Returns how many rows the target holds of those that were read.
    pub fn held(&self) -> u64 {
        self.inserted + self.updated + self.unchanged
    }

    /// Counts what became of one row.
    pub fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Inserted => self.inserted += 1,
            Outcome::Updated => self.updated += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }

    /// Adds the counts of another part.
    pub fn add(&mut self, other: &Counters) {
        self.read += other.read;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.skipped += other.skipped;
        self.filtered += other.filtered;
        self.quarantined += other.quarantined;
        self.deleted += other.deleted;
        self.conflicts += other.conflicts;
        self.pending += other.pending;
        self.orphans += other.orphans;
        self.bytes += other.bytes;
    }
}

/// A ledger block as it is stored; the ledger module is its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block's place among the blocks of its scope; gaps are allowed.
    pub ordinal: i64,
    /// The version of the packing.
    pub format: u16,
    /// The number of rows.
    pub row_count: u32,
    /// The last key that belongs to the block's range, in canonical bytes.
    pub last_key: Vec<u8>,
    /// The packed keys; of rows without a key, their checksums.
    pub keys: Vec<u8>,
    /// The checksums, 16 bytes each, in the order of the keys; of rows without a key, how many copies there are.
    pub checksums: Vec<u8>,
    /// A digest of the keys alone, 16 bytes.
    pub keys_digest: Vec<u8>,
    /// A digest of keys and checksums, 16 bytes.
    pub rows_digest: Vec<u8>,
    /// The snapshot that the block is true for.
    pub position: String,
    /// The execution that last changed the block.
    pub execution: String,
    /// What that execution did to each row, packed; see the ledger module.
    pub outcomes: Vec<u8>,
}

/// What is told of a ledger block without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHead {
    /// The block's place among the blocks of its scope.
    pub ordinal: i64,
    /// The number of rows.
    pub row_count: u32,
    /// The last key that belongs to the block's range, in canonical bytes.
    pub last_key: Vec<u8>,
    /// The execution that last changed the block.
    pub execution: String,
    /// What the source's own digest of the block's rows was when they said what the block says; `None` where that is not known, as of
    /// every block that was written since. Opaque; where a column tells what has changed, a seal is in its place.
    pub source_digest: Option<Vec<u8>>,
}

/// A refused row, kept whole for repair and replay.
#[derive(Debug, Clone, PartialEq)]
pub struct QuarantinedRow {
    /// The execution that refused it.
    pub execution: String,
    /// The job, entity and part it belongs to.
    pub scope: Scope,
    /// The row's key in canonical bytes; empty for a table without a key.
    pub key: Vec<u8>,
    /// The column at fault, where one is.
    pub column: Option<String>,
    /// Why it was refused; never a cell's value.
    pub reason: String,
    /// The source's row in canonical bytes, back to back in the order of `columns`.
    pub row: Vec<u8>,
    /// The names of the source's columns.
    pub columns: Vec<String>,
}

/// A row that the target holds and the source no longer does, waiting for the end of the run: children are deleted before their
/// parents, and only when it is known how many rows would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneRow {
    /// The row's key, as the ledger had it.
    pub key: Vec<u8>,
    /// Whether the execution that lost it had inserted it itself, so that no earlier one has ever shown it.
    pub own: bool,
}

/// Everything that one transaction writes besides rows.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StateChanges {
    /// Whose checkpoint, ledger and quarantine it is; `None` writes nothing but rows.
    pub scope: Option<Scope>,
    /// Whether the scope's checkpoint, ledger, quarantine and list of gone rows are forgotten first.
    pub reset_ledger: bool,
    /// Ordinals of blocks to remove.
    pub removed_blocks: Vec<i64>,
    /// Blocks to insert or overwrite by ordinal. The source's digest of an overwritten one is forgotten.
    pub blocks: Vec<StoredBlock>,
    /// The source's digests of blocks that are there, by ordinal.
    pub source_digests: Vec<(i64, Vec<u8>)>,
    /// Refused rows; an earlier one of the same scope and key is replaced.
    pub quarantine: Vec<QuarantinedRow>,
    /// Keys that are refused no longer.
    pub released: Vec<Vec<u8>>,
    /// Rows that are gone from the source, to be dealt with at the end of the run.
    pub gone: Vec<GoneRow>,
    /// Numbers of gone rows that have been dealt with.
    pub gone_settled: Vec<i64>,
    /// What becomes of the key map of the scope's entity.
    pub key_map: KeyMapChanges,
    /// The checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The sequence that the scope's checkpoint has at least, before this one replaces it if there is one, as an earlier commit was
    /// acknowledged. Where it has not, or there is none, the writing fails with [`commit_lost`]: a server that has lost a commit must not be
    /// given the next one.
    pub follows: Option<u64>,
}

/// The error of a target that does not have a commit any more which it has acknowledged, such as a server that answers before its disk
/// does, or one that has taken another's place.
pub fn commit_lost(scope: &Scope) -> Error {
    let message = "the target has lost a commit that it had acknowledged; nothing of what follows was committed, and the next run goes on \
                   from what is there";
    Error::new(ErrorKind::Mismatch, message).with("entity", &scope.entity)
}

/// What becomes of an entity's key map, which says of each id of the source what the target has given instead. All parts of an entity
/// share it, and no two ids of the source have the same id of the target.
///
/// Applied in this order: reset, gone, entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyMapChanges {
    /// Whether it is emptied first.
    pub reset: bool,
    /// Ids of the source that go.
    pub gone: Vec<Key>,
    /// Ids of the target that go, whatever id of the source has them.
    pub gone_targets: Vec<Key>,
    /// Ids of the source with those of the target; no other id of the source has these any more. Of two entries of one id the last counts.
    pub entries: Vec<(Key, Key)>,
}

impl KeyMapChanges {
    /// Returns whether nothing changes.
    pub fn is_empty(&self) -> bool {
        !self.reset && self.gone.is_empty() && self.gone_targets.is_empty() && self.entries.is_empty()
    }
}

/// Who holds, or wants, the fence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceOwner {
    /// The execution.
    pub execution: String,
    /// The host's name.
    pub host: String,
    /// The process on that host.
    pub process: u32,
}

/// A table that a job is creating and has not finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnfinishedTable {
    /// The table.
    pub name: TableName,
    /// How it is to become.
    pub plan: TablePlan,
}

/// Reads and guards what the target remembers.
#[async_trait]
pub trait TargetState: fmt::Debug + Send + Sync {
    /// Returns whether the state tables exist.
    async fn exists(&self) -> Result<bool>;

    /// Creates or upgrades the state tables; a plain writer may call it when they are up to date.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Permission`] saying who must run `migrate target init`; [`crate::ErrorKind::Corrupt`] if a newer version made them.
    async fn initialize(&self) -> Result<()>;

    /// Returns the SQL that [`TargetState::initialize`] runs, with the grants that `writer` needs.
    fn initialize_sql(&self, writer: Option<&str>) -> String;

    /// Takes the fence of a job: ends the sessions of the holder before, then counts the epoch up.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Busy`] naming the process that holds the write lock, where it can only be waited for or killed.
    async fn acquire(&self, job: &str, owner: &FenceOwner) -> Result<Fence>;

    /// Returns who holds the fence of a job, if anybody does.
    async fn holder(&self, job: &str) -> Result<Option<FenceOwner>>;

    /// Gives the fence back; nothing happens if somebody has taken over.
    async fn release(&self, fence: &Fence) -> Result<()>;

    /// Waits until no transaction of an earlier connection of this fence is in progress, so that what is read next is final.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Fenced`] if somebody has taken over.
    async fn settle(&self, fence: &Fence) -> Result<()>;

    /// Returns the checkpoints of all parts of an entity, by part; none if it was never written.
    async fn checkpoints(&self, job: &str, entity: &str) -> Result<Vec<(u32, Checkpoint)>>;

    /// Returns up to `limit` ledger blocks with an ordinal above `after`, in order.
    async fn ledger_blocks(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<StoredBlock>>;

    /// Returns what is known of up to `limit` ledger blocks with an ordinal above `after`, in order, without their rows.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] where the state tables are of a version that knows no digests.
    async fn ledger_heads(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<BlockHead>>;

    /// Returns the quarantined rows of a job, newest first; of one entity if named.
    async fn quarantine(&self, job: &str, entity: Option<&str>, limit: usize) -> Result<Vec<QuarantinedRow>>;

    /// Returns the keys of up to `limit` quarantined rows of a scope, in any order.
    async fn quarantined_keys(&self, scope: &Scope, limit: usize) -> Result<Vec<Vec<u8>>>;

    /// Returns where other jobs write to, as the checkpoints of their entities say, in any order.
    async fn neighbours(&self, job: &str) -> Result<Vec<(Scope, Feeds)>>;

    /// Returns up to `limit` gone rows that were recorded before the one numbered `before`, the latest first, with their numbers.
    async fn gone_rows(&self, scope: &Scope, before: Option<i64>, limit: usize) -> Result<Vec<(i64, GoneRow)>>;

    /// Returns, of these ids of the source, those that an entity's key map knows, with what the target has given instead.
    async fn mapped(&self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>>;

    /// Returns, of these ids of the target, those that an entity's key map knows, with what the source has instead.
    async fn mapped_back(&self, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>>;

    /// Returns the tables that a job has begun to create.
    async fn unfinished_tables(&self, job: &str) -> Result<Vec<UnfinishedTable>>;
}
