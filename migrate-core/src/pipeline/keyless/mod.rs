//! Entities without a key: multisets, of which later runs bring what has changed.
//!
//! ```text
//! first run    source ──▶ load ──▶ how many copies of each row: the ledger
//! later runs   source ──▶ digest as before? ──▶ nothing to do
//!                     └─▶ copies beside the ledger's ──▶ delete what is gone, insert what is new, in one commit
//! ```
//!
//! The digest of a multiset is the sum of its rows' checksums: order plays no part, multiplicity does. Where there are too many different
//! rows to be counted, nothing of them is known but the digest, and they are loaded anew when it differs; so are those of a load that was
//! interrupted.

mod bring;
mod counts;
mod known;

pub(super) use known::Known;

use super::context::Context;
use super::reader::ReadPlan;
use super::retry::Backoff;
use super::shape::{Shaped, Shaper, whole_row};
use super::walk::{REFUSED_BYTES, Start};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::filter::Filter;
use crate::job::{Event, Mode};
use crate::sink::{SinkTransaction, WriteMode, WriteRequest};
use crate::source::{PageRequest, Snapshot};
use crate::state::{Checkpoint, Counters, QuarantinedRow, Scope, SourceColumn, StateChanges};
use crate::value::{Key, Page, Value};
use counts::Counts;
use known::Sum;
use std::collections::HashSet;

/// Refused rows of earlier runs that are released.
const QUARANTINED: usize = 100_000;

/// Returns a page's refused rows, and counts them. They have no key: each goes by its number among the refused.
pub(super) fn refused_rows<'s>(
    context: &'s Context,
    scope: &'s Scope,
    shaped: &'s Shaped,
    count: &'s mut u64,
) -> impl Iterator<Item = QuarantinedRow> + 's {
    let refused = shaped.rows.iter().enumerate().filter_map(|(at, row)| Some((at, row.place.as_ref().err()?)));
    refused.map(|(at, refusal)| {
        *count += 1;
        let number = Value::Int(i64::try_from(*count).unwrap_or(i64::MAX));
        QuarantinedRow {
            execution: context.execution.clone(),
            scope: scope.clone(),
            key: Key::from_values([&number]).as_bytes().to_vec(),
            column: refusal.column.clone(),
            reason: refusal.reason.clone(),
            row: whole_row(&shaped.source, at),
            columns: shaped.source.columns().iter().map(|c| c.name.clone()).collect(),
        }
    })
}

/// Returns the keys of rows that were refused before, and of which this run refuses none again: it refuses so many, which go by their
/// numbers.
pub(super) async fn released(context: &Context, scope: &Scope, refused: u64) -> Result<Vec<Vec<u8>>> {
    let number = |number| Key::from_values([&Value::Int(number)]).as_bytes().to_vec();
    let now: HashSet<Vec<u8>> = (1..=i64::try_from(refused).unwrap_or(i64::MAX)).map(number).collect();
    let known = context.state.quarantined_keys(scope, QUARANTINED).await?;
    Ok(known.into_iter().filter(|key| !now.contains(key)).collect())
}

/// The load of one entity without a key.
pub(super) struct Keyless {
    pub(super) context: Context,
    pub(super) plan: ReadPlan,
    pub(super) position: String,
    pub(super) start: Start,
    pub(super) known: Known,
    /// How many rows the source holds.
    pub(super) rows: u64,
    /// Whether a commit may have happened of which nothing was heard.
    pub(super) in_doubt: bool,
}

/// Returns whether refused rows weigh so much that they are written ahead of the commit.
pub(super) fn is_much(quarantine: &[QuarantinedRow]) -> bool {
    quarantine.iter().map(|refused| refused.row.len()).sum::<usize>() >= REFUSED_BYTES
}

impl Keyless {
    /// Compares, and loads if anything differs. Returns what became of the rows.
    pub(super) async fn run(&mut self, snapshot: &mut dyn Snapshot) -> Result<Counters> {
        let mut backoff = Backoff::default();
        let before = (self.known.clone(), self.start.sequence);
        loop {
            let tried = async {
                if self.in_doubt {
                    self.settle(&before).await?;
                }
                self.try_run(snapshot).await
            };
            let error = match tried.await {
                Ok(counters) => return Ok(counters),
                Err(error) if error.kind().retry() == Retry::Never => return Err(error),
                Err(error) => error,
            };
            self.in_doubt = true;
            backoff.wait(&self.context, Some(&self.plan.entity.name), &error).await?;
        }
    }

    /// Finds out what this attempt has left in the target; where nothing, all is as it was before.
    async fn settle(&mut self, before: &(Known, u64)) -> Result<()> {
        let state = &self.context.state;
        state.settle(&self.context.fence).await?;
        let found = state.checkpoints(&self.context.job.name, &self.plan.entity.name).await?.into_iter().next().map(|(_, c)| c);
        let own = found.filter(|c| c.execution == self.context.execution && c.attempt == self.context.attempt);
        (self.known, self.start.sequence) = match own {
            // Ours is of the columns and settings of now, whatever was to be thought of the one before.
            Some(checkpoint) => (Known::new(Some(checkpoint.clone()), false), checkpoint.sequence),
            None => before.clone(),
        };
        self.in_doubt = false;
        Ok(())
    }

    async fn try_run(&mut self, snapshot: &mut dyn Snapshot) -> Result<Counters> {
        let digest = self.known.digest.clone().filter(|_| !self.known.unfinished);
        let Some((digest, before)) = digest else { return self.load(snapshot).await };
        let mut counts = Counts::new(&self.context, self.rows.saturating_add(self.known.rows)).await?;
        let (sum, counters) = self.compare(snapshot, &mut counts).await?;
        let whole = self.context.limits.rows.is_none();
        if whole && sum.text() == digest {
            // No row to write: they are what this execution, or an earlier one, has brought.
            let counters = match (self.known.execution == self.context.execution, self.context.job.mode) {
                (true, _) => Counters { quarantined: counters.quarantined, ..before },
                (false, Mode::Append) => Counters { skipped: sum.rows, ..counters },
                (false, Mode::Init | Mode::Replace | Mode::Update) => Counters { unchanged: sum.rows, ..counters },
            };
            self.remember(snapshot, &mut counts, &sum, &counters).await?;
            return Ok(counters);
        }
        if counts.add_ledger(&self.context, &self.plan.scope, self.known.rows).await?
            && let Some(counters) = self.bring(snapshot, &mut counts, &sum, counters).await?
        {
            return Ok(counters);
        }
        drop(counts);
        if !whole {
            let message = "rows without a key that were loaded before cannot be compared in part; run without a limit";
            return Err(Error::new(ErrorKind::Refused, message).with("entity", &self.plan.entity.name));
        }
        if self.context.job.mode == Mode::Append {
            let message = "the source has changed, and without a key its new rows cannot be told from the old: too many are \
                           different, or what was loaded is not remembered row by row";
            return Err(Error::new(ErrorKind::Refused, message).with("entity", &self.plan.entity.name));
        }
        self.known.unfinished = true;
        self.load(snapshot).await
    }

    /// Reads everything, sums it up and counts it.
    async fn compare(&self, snapshot: &mut dyn Snapshot, counts: &mut Counts) -> Result<(Sum, Counters)> {
        let (mut sum, mut counters) = (Sum::default(), Counters::default());
        let mut shaper = Shaper::new(self.plan.entity.clone());
        let mut after = None;
        loop {
            let page = self.read(snapshot, after).await?;
            after = page.next.clone();
            counters.bytes += page.data().len() as u64;
            let mut shaped = shaper.shape(page)?;
            self.cut(&mut shaped, sum.rows + counters.quarantined);
            counters.quarantined += shaped.rows.iter().filter(|r| r.place.is_err()).count() as u64;
            counters.orphans += shaped.rows.iter().filter(|r| r.is_orphan).count() as u64;
            sum.add(&shaped, counts);
            self.context.check_cancelled()?;
            if after.is_none() || self.is_limited(sum.rows + counters.quarantined) {
                return Ok((sum, counters));
            }
        }
    }

    async fn read(&self, snapshot: &mut dyn Snapshot, after: Option<Key>) -> Result<Page> {
        self.read_under(snapshot, after, self.plan.entity.parsed_filter.as_ref()).await
    }

    async fn read_under(&self, snapshot: &mut dyn Snapshot, after: Option<Key>, filter: Option<&Filter>) -> Result<Page> {
        let columns = self.plan.entity.read_columns();
        let mut request = PageRequest::new(&self.plan.entity.source, &columns, &[])
            .with_filter(filter)
            .with_limits(self.plan.page_bytes, self.plan.page_rows);
        request.range.after = after;
        snapshot.read_page(&request).await.map_err(|e| e.with("entity", &self.plan.entity.name))
    }

    async fn load(&mut self, snapshot: &mut dyn Snapshot) -> Result<Counters> {
        let entity = self.plan.entity.clone();
        let (mut sum, mut counters) = (Sum::default(), Counters::default());
        counters.deleted = self.known.deleted(&self.context.execution);
        let mut counts = Counts::new(&self.context, self.rows).await?;
        let mut shaper = Shaper::new(entity.clone());
        let alone = self.is_alone().await?;
        let mut transaction = self.context.sink.begin(&self.context.fence).await?;
        if self.known.unfinished {
            transaction.clear(&entity.target).await?;
        }
        // Beside the rows of others none can be taken back: all are loaded by one commit, or none.
        let (most, most_rows) = match alone {
            true => (self.context.limits.batch_bytes, self.context.limits.batch_rows),
            false => (usize::MAX, usize::MAX),
        };
        let (mut after, mut bytes, mut batch, mut quarantine, mut first) = (None, 0, 0, Vec::new(), true);
        let mut acknowledged = None;
        loop {
            let page = self.read(snapshot, after).await?;
            after = page.next.clone();
            counters.bytes += page.data().len() as u64;
            let mut shaped = shaper.shape(page)?;
            self.cut(&mut shaped, counters.settled());
            self.refuse(&shaped, &mut counters, &mut quarantine);
            let rows: Vec<u32> = shaped.rows.iter().filter_map(|r| r.place.as_ref().ok().copied()).collect();
            if !rows.is_empty() {
                self.insert(transaction.as_mut(), &shaped, &rows).await?;
            }
            sum.add(&shaped, &mut counts);
            counters.inserted += rows.len() as u64;
            counters.orphans += shaped.rows.iter().filter(|row| row.is_orphan).count() as u64;
            bytes += shaped.page.data().len();
            batch += rows.len();
            if is_much(&quarantine) {
                self.put_refused(transaction.as_mut(), &mut quarantine, &mut first).await?;
            }
            let limited = self.is_limited(counters.settled());
            let done = after.is_none() || limited;
            if done || bytes >= most || batch >= most_rows {
                let digest = (done && !limited).then(|| sum.digest(sum.rows));
                if digest.is_some() && !counts.is_full() {
                    counts.were_loaded();
                    self.put_counts(transaction.as_mut(), &counts, &mut first).await?;
                }
                let mut changes = self.changes(&counters, digest, std::mem::take(&mut quarantine), first);
                changes.follows = acknowledged.replace(self.start.sequence);
                transaction.commit(&changes).await?;
                // From here on a failure leaves rows behind.
                self.known.unfinished = true;
                first = false;
                self.context.emit(&Event::PageCommitted { entity: entity.name.clone(), partition: 0, counters });
                self.context.check_quarantine(&counters, counters.settled(), done)?;
                if done {
                    return Ok(counters);
                }
                self.context.check_cancelled()?;
                transaction = self.context.sink.begin(&self.context.fence).await?;
                (bytes, batch) = (0, 0);
            }
        }
    }

    /// Loads rows of a page, by their places in it.
    async fn insert(&self, transaction: &mut dyn SinkTransaction, shaped: &Shaped, rows: &[u32]) -> Result<()> {
        let all = rows.len() == shaped.page.row_count();
        let rows = if all { None } else { Some(rows) };
        let table = &self.plan.entity.target;
        transaction.write(WriteRequest { table, key: &[], page: &shaped.page, rows, mode: WriteMode::Load }).await.map(drop)
    }

    /// Takes note of a page's refused rows.
    fn refuse(&self, shaped: &Shaped, counters: &mut Counters, quarantine: &mut Vec<QuarantinedRow>) {
        quarantine.extend(refused_rows(&self.context, &self.plan.scope, shaped, &mut counters.quarantined));
    }

    /// Writes refused rows ahead of the commit; `first` says that nothing was written of the scope's state yet.
    async fn put_refused(
        &self,
        transaction: &mut dyn SinkTransaction,
        quarantine: &mut Vec<QuarantinedRow>,
        first: &mut bool,
    ) -> Result<()> {
        let (scope, quarantine) = (Some(self.plan.scope.clone()), std::mem::take(quarantine));
        let reset_ledger = std::mem::take(first);
        transaction.put_state(StateChanges { scope, reset_ledger, quarantine, ..StateChanges::default() }).await
    }

    /// Writes the ledger ahead of the commit.
    async fn put_counts(&self, transaction: &mut dyn SinkTransaction, counts: &Counts, first: &mut bool) -> Result<()> {
        if *first {
            self.put_refused(transaction, &mut Vec::new(), first).await?;
        }
        counts.write(&self.context, transaction, &self.plan.scope, &self.position).await
    }

    /// Returns whether all rows of the target are this entity's.
    async fn holds_none_of_others(&self) -> Result<bool> {
        let entity = &self.plan.entity;
        if self.context.missing.contains(&entity.target.name) {
            return Ok(true);
        }
        let mut snapshot = self.context.sink.as_source().open_snapshot().await?;
        Ok(snapshot.count_rows(&entity.target, None).await? <= self.known.rows)
    }

    /// The error where rows of others would have to be taken away, or could not be told apart later.
    fn beside_others(&self) -> Error {
        let entity = &self.plan.entity;
        let message =
            "the target's table holds rows of others, and without a key they cannot be told apart; empty it, or give a key";
        Error::new(ErrorKind::Refused, message).with("entity", &entity.name).with("table", &entity.target.name)
    }

    /// Returns whether all rows of the target are this entity's.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] where they are not, and yet would have to be taken away, or could not be told apart later.
    async fn is_alone(&self) -> Result<bool> {
        if self.holds_none_of_others().await? {
            return Ok(true);
        }
        let adds = self.context.job.mode == Mode::Append && !self.known.unfinished;
        if adds && self.context.limits.rows.is_none() { Ok(false) } else { Err(self.beside_others()) }
    }

    fn source_columns(&self, done: bool) -> Option<Vec<SourceColumn>> {
        if done { Some(self.plan.entity.source_columns.clone()) } else { self.start.remembered.clone() }
    }

    /// Returns whether no more rows are to be read than so many.
    fn is_limited(&self, read: u64) -> bool {
        self.context.limits.rows.is_some_and(|limit| read >= limit)
    }

    /// Drops the rows behind the run's limit, where so many were read before.
    fn cut(&self, shaped: &mut Shaped, read: u64) {
        if let Some(limit) = self.context.limits.rows {
            let left = usize::try_from(limit.saturating_sub(read)).unwrap_or(usize::MAX);
            shaped.rows.truncate(left);
        }
    }

    fn changes(
        &mut self,
        counters: &Counters,
        digest: Option<String>,
        quarantine: Vec<QuarantinedRow>,
        first: bool,
    ) -> StateChanges {
        self.start.sequence += 1;
        StateChanges {
            scope: Some(self.plan.scope.clone()),
            reset_ledger: first,
            quarantine,
            checkpoint: Some(Checkpoint {
                execution: self.context.execution.clone(),
                attempt: self.context.attempt,
                sequence: self.start.sequence,
                position: crate::source::Position(self.position.clone()),
                done: digest.is_some(),
                counters: *counters,
                fingerprint: self.start.fingerprint.clone(),
                source_columns: self.source_columns(digest.is_some()),
                digest,
                feeds: Some(self.plan.entity.feeds()),
                ..Checkpoint::default()
            }),
            ..StateChanges::default()
        }
    }
}
