//! Entities without a key: multisets, compared as a whole and loaded whole.
//!
//! The digest of a multiset is the sum of its rows' checksums: order plays no part, multiplicity does.

use super::context::Context;
use super::reader::ReadPlan;
use super::retry::Backoff;
use super::shape::{Shaped, Shaper, whole_row};
use super::walk::{REFUSED_BYTES, Start};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::job::{Event, Mode};
use crate::sink::{WriteMode, WriteRequest};
use crate::source::{PageRequest, Snapshot};
use crate::state::{Checkpoint, Counters, QuarantinedRow, SourceColumn, StateChanges, to_hex};
use crate::value::{Key, Page, Value};

/// What is known of the target's rows of a keyless entity.
#[derive(Clone)]
pub(super) struct Known {
    /// The digest of the last complete load, with its counters.
    pub(super) digest: Option<(String, Counters)>,
    /// Whether an interrupted load has left rows behind.
    pub(super) unfinished: bool,
    /// The execution that loaded.
    pub(super) execution: String,
    /// All that is remembered.
    pub(super) checkpoint: Option<Checkpoint>,
    /// How many rows of the target are this entity's.
    pub(super) rows: u64,
}

impl Known {
    /// What a checkpoint says; a distrusted one says how many rows there are, but nothing of what they hold.
    pub(super) fn new(checkpoint: Option<Checkpoint>, distrusted: bool) -> Self {
        Known {
            digest: checkpoint.as_ref().filter(|_| !distrusted).and_then(|c| c.digest.clone().map(|d| (d, c.counters))),
            unfinished: checkpoint.as_ref().is_some_and(|c| !c.done || distrusted),
            rows: checkpoint.as_ref().map_or(0, |c| c.counters.held()),
            execution: checkpoint.as_ref().map(|c| c.execution.clone()).unwrap_or_default(),
            checkpoint,
        }
    }
}

/// The load of one entity without a key.
pub(super) struct Keyless {
    pub(super) context: Context,
    pub(super) plan: ReadPlan,
    pub(super) position: String,
    pub(super) start: Start,
    pub(super) known: Known,
    /// Whether a commit may have happened of which nothing was heard.
    pub(super) in_doubt: bool,
}

#[derive(Default)]
struct Sum {
    rows: u64,
    sum: u128,
}

impl Sum {
    fn add(&mut self, shaped: &Shaped) {
        for row in shaped.rows.iter().filter(|r| r.place.is_ok()) {
            self.rows += 1;
            self.sum = self.sum.wrapping_add(u128::from_be_bytes(row.checksum));
        }
    }

    fn text(&self) -> String {
        format!("{}:{}", self.rows, to_hex(&self.sum.to_be_bytes()))
    }
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
        if !self.known.unfinished
            && let Some((digest, before)) = self.known.digest.clone()
        {
            let (sum, mut counters) = self.compare(snapshot).await?;
            if sum.text() == digest {
                // Nothing to write: the rows are what this execution, or an earlier one, has loaded.
                if self.known.execution == self.context.execution {
                    self.context.check_quarantine(&before, before.settled(), true)?;
                    return Ok(before);
                }
                match self.context.job.mode {
                    Mode::Append => counters.skipped = sum.rows,
                    Mode::Init | Mode::Replace | Mode::Update => counters.unchanged = sum.rows,
                }
                self.remember().await?;
                return Ok(counters);
            }
            if self.context.job.mode == Mode::Append {
                let message = "the source has changed, and without a key its new rows cannot be told from the old";
                return Err(Error::new(ErrorKind::Refused, message).with("entity", &self.plan.entity.name));
            }
            self.known.unfinished = true;
        }
        self.load(snapshot).await
    }

    /// Reads everything and sums it up.
    async fn compare(&self, snapshot: &mut dyn Snapshot) -> Result<(Sum, Counters)> {
        let (mut sum, mut counters) = (Sum::default(), Counters::default());
        let mut shaper = Shaper::new(self.plan.entity.clone());
        let mut after = None;
        loop {
            let page = self.read(snapshot, after).await?;
            after = page.next.clone();
            counters.bytes += page.data().len() as u64;
            let shaped = shaper.shape(page)?;
            counters.quarantined += shaped.rows.iter().filter(|r| r.place.is_err()).count() as u64;
            counters.orphans += shaped.rows.iter().filter(|r| r.is_orphan).count() as u64;
            sum.add(&shaped);
            self.context.check_cancelled()?;
            if after.is_none() {
                return Ok((sum, counters));
            }
        }
    }

    async fn read(&self, snapshot: &mut dyn Snapshot, after: Option<Key>) -> Result<Page> {
        let columns = self.plan.entity.read_columns();
        let mut request = PageRequest::new(&self.plan.entity.source, &columns, &[])
            .with_filter(self.plan.entity.parsed_filter.as_ref())
            .with_limits(self.plan.page_bytes, self.plan.page_rows);
        request.range.after = after;
        snapshot.read_page(&request).await.map_err(|e| e.with("entity", &self.plan.entity.name))
    }

    async fn load(&mut self, snapshot: &mut dyn Snapshot) -> Result<Counters> {
        let entity = self.plan.entity.clone();
        let (mut sum, mut counters) = (Sum::default(), Counters::default());
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
        let mut refused = 0;
        let (mut after, mut bytes, mut batch, mut quarantine, mut first) = (None, 0, 0, Vec::new(), true);
        loop {
            let page = self.read(snapshot, after).await?;
            after = page.next.clone();
            counters.bytes += page.data().len() as u64;
            let mut shaped = shaper.shape(page)?;
            self.cut(&mut shaped, &counters);
            for (at, row) in shaped.rows.iter().enumerate() {
                let Err(refusal) = &row.place else { continue };
                counters.quarantined += 1;
                refused += 1;
                quarantine.push(QuarantinedRow {
                    execution: self.context.execution.clone(),
                    scope: self.plan.scope.clone(),
                    // The row has no key: it goes by its number among the refused.
                    key: Key::from_values([&Value::Int(refused)]).as_bytes().to_vec(),
                    column: refusal.column.clone(),
                    reason: refusal.reason.clone(),
                    row: whole_row(&shaped.source, at),
                    columns: shaped.source.columns().iter().map(|c| c.name.clone()).collect(),
                });
            }
            let rows: Vec<u32> = shaped.rows.iter().filter_map(|r| r.place.as_ref().ok().copied()).collect();
            if !rows.is_empty() {
                let all = rows.len() == shaped.page.row_count();
                let request = WriteRequest {
                    table: &entity.target,
                    key: &[],
                    page: &shaped.page,
                    rows: if all { None } else { Some(&rows) },
                    mode: WriteMode::Load,
                };
                transaction.write(request).await?;
            }
            sum.add(&shaped);
            counters.inserted += rows.len() as u64;
            counters.orphans += shaped.rows.iter().filter(|row| row.is_orphan).count() as u64;
            bytes += shaped.page.data().len();
            batch += rows.len();
            if quarantine.iter().map(|refused: &QuarantinedRow| refused.row.len()).sum::<usize>() >= REFUSED_BYTES {
                let (scope, quarantine) = (Some(self.plan.scope.clone()), std::mem::take(&mut quarantine));
                let reset_ledger = std::mem::take(&mut first);
                transaction.put_state(StateChanges { scope, reset_ledger, quarantine, ..StateChanges::default() }).await?;
            }
            let limited = self.context.limits.rows.is_some_and(|limit| counters.settled() >= limit);
            let done = after.is_none() || limited;
            if done || bytes >= most || batch >= most_rows {
                let changes = self.changes(
                    &counters,
                    if done && !limited { Some(sum.text()) } else { None },
                    std::mem::take(&mut quarantine),
                    first,
                );
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

    /// Returns whether all rows of the target are this entity's.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] where they are not, and yet would have to be taken away, or could not be told apart later.
    async fn is_alone(&self) -> Result<bool> {
        let entity = &self.plan.entity;
        if self.context.missing.contains(&entity.target.name) {
            return Ok(true);
        }
        let mut snapshot = self.context.sink.as_source().open_snapshot().await?;
        let there = snapshot.count_rows(&entity.target, None).await?;
        if there <= self.known.rows {
            return Ok(true);
        }
        let adds = self.context.job.mode == Mode::Append && !self.known.unfinished;
        if adds && self.context.limits.rows.is_none() {
            return Ok(false);
        }
        let message =
            "the target's table holds rows of others, and without a key they cannot be told apart; empty it, or give a key";
        Err(Error::new(ErrorKind::Refused, message).with("entity", &entity.name).with("table", &entity.target.name))
    }

    /// Makes the target remember the source's columns, where they are others than before: the rows are the same.
    async fn remember(&mut self) -> Result<()> {
        let Some(mut checkpoint) = self.known.checkpoint.clone() else { return Ok(()) };
        let now = Some(self.plan.entity.source_columns.clone());
        if self.context.limits.rows.is_some() || checkpoint.source_columns == now {
            return Ok(());
        }
        self.start.sequence += 1;
        (checkpoint.sequence, checkpoint.source_columns) = (self.start.sequence, now);
        self.known.checkpoint = Some(checkpoint.clone());
        let scope = Some(self.plan.scope.clone());
        let changes = StateChanges { scope, checkpoint: Some(checkpoint), ..StateChanges::default() };
        self.context.sink.begin(&self.context.fence).await?.commit(&changes).await
    }

    fn source_columns(&self, done: bool) -> Option<Vec<SourceColumn>> {
        if done { Some(self.plan.entity.source_columns.clone()) } else { self.start.remembered.clone() }
    }

    /// Drops the rows behind the run's limit.
    fn cut(&self, shaped: &mut Shaped, counters: &Counters) {
        if let Some(limit) = self.context.limits.rows {
            let left = usize::try_from(limit.saturating_sub(counters.settled())).unwrap_or(usize::MAX);
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
                ..Checkpoint::default()
            }),
            ..StateChanges::default()
        }
    }
}
