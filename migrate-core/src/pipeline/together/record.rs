//! Writes down, in the ledger, the rows that were inserted at once, beside those that it knows already.

use super::super::context::Context;
use super::super::entity::EntityRun;
use super::super::keymap::{Translator, mask, masked};
use super::super::shape::{Shaped, Shaper};
use super::super::triggers::{SAMPLE, altered};
use super::super::update::{column_sums, row_checksum};
use super::scan::{Part, Step, Visit};
use super::{ids, miscounted, rows_of};
use crate::diff::{BlockMerge, Entry, LedgerEdit, Match};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Mode;
use crate::sink::{Arrival, Outcome, SinkTransaction, Tie};
use crate::source::Position;
use crate::state::{Checkpoint, Counters, StateChanges, to_hex};
use crate::value::{Key, Page, Value};
use async_trait::async_trait;
use std::collections::{BTreeSet, HashMap};

/// Rows whose ledger entries are kept in memory before they are handed to the transaction.
const KEPT_ROWS: usize = 32_768;

/// The ledger of one part while its new rows are written into it.
pub(super) struct Record<'c> {
    context: &'c Context,
    run: &'c EntityRun,
    part: &'c Part,
    ties: &'c [Tie],
    /// The number of its rows among those set aside, and the place that they were set aside at.
    place: usize,
    row: u64,
    position: String,
    translator: Option<Translator>,
    transaction: &'c mut dyn SinkTransaction,
    /// Whether the ledger is emptied before the first row.
    reset: bool,
    range: Option<Range>,
    /// The last block, where the last range has moved or filled it.
    moved: Option<Moved>,
    trigger_columns: BTreeSet<String>,
    reached: Option<Key>,
}

/// A range of the ledger that rows are added to.
struct Range {
    merge: BlockMerge,
    /// The rows that it knows, in order, which of them are taken over, and each one's place.
    known: Vec<Entry>,
    taken: Vec<bool>,
    places: HashMap<Key, usize>,
    next: usize,
    /// Whether only the tail follows.
    last: bool,
}

struct Moved {
    after: Option<i64>,
    small: Option<(i64, Vec<Entry>)>,
}

impl<'c> Record<'c> {
    pub(super) fn new(
        (context, run, part): (&'c Context, &'c EntityRun, &'c Part),
        ties: &'c [Tie],
        (place, row): (usize, u64),
        position: &str,
        transaction: &'c mut dyn SinkTransaction,
    ) -> Self {
        Record {
            context,
            run,
            part,
            ties,
            place,
            row,
            position: position.to_string(),
            translator: Translator::new(&run.entity, &context.job.name),
            transaction,
            reset: run.is_stale(),
            range: None,
            moved: None,
            trigger_columns: BTreeSet::new(),
            reached: None,
        }
    }

    /// Writes the checkpoint, and returns the number of the next row.
    pub(super) async fn end(mut self) -> Result<u64> {
        let checkpoint = Some(self.checkpoint());
        self.put(LedgerEdit::default(), checkpoint).await?;
        Ok(self.row)
    }

    async fn put(&mut self, edit: LedgerEdit, checkpoint: Option<Checkpoint>) -> Result<()> {
        let LedgerEdit { removed, blocks } = edit;
        if removed.is_empty() && blocks.is_empty() && checkpoint.is_none() {
            return Ok(());
        }
        let changes = StateChanges {
            scope: Some(self.part.scope.clone()),
            reset_ledger: std::mem::take(&mut self.reset),
            removed_blocks: removed,
            blocks,
            checkpoint,
            ..StateChanges::default()
        };
        self.transaction.put_state(changes).await
    }

    /// The walk that follows goes on from here.
    fn checkpoint(&self) -> Checkpoint {
        let (context, run) = (self.context, self.run);
        let before = run.checkpoints.iter().find(|(part, _)| *part == self.part.scope.partition).map(|(_, c)| c.clone());
        let known = before.is_some();
        let mut checkpoint = before.unwrap_or_default();
        if checkpoint.execution != context.execution {
            checkpoint.counters = Counters::default();
        }
        checkpoint.execution.clone_from(&context.execution);
        checkpoint.attempt = context.attempt;
        checkpoint.sequence += 1;
        checkpoint.range = self.part.range.clone();
        checkpoint.reached = self.reached.as_ref().map(|key| to_hex(key.as_bytes())).or(checkpoint.reached);
        checkpoint.position = Position(self.position.clone());
        (checkpoint.done, checkpoint.loadable, checkpoint.may_be_empty) = (false, false, false);
        checkpoint.fingerprint.clone_from(&run.fingerprint);
        checkpoint.distrusted = run.distrusted;
        // Where the ledger was made over, all rows are looked at once, also after a crash.
        checkpoint.synced = checkpoint.synced.filter(|_| known && !run.made_over && !run.distrusted);
        checkpoint.trigger_columns.extend(self.trigger_columns.iter().cloned());
        checkpoint.feeds = Some(run.entity.feeds());
        checkpoint.written_columns = run.entity.columns.iter().map(|c| c.target.clone()).collect();
        checkpoint
    }

    async fn page(&mut self, shaped: &Shaped, fresh: &[bool]) -> Result<()> {
        let rows = rows_of(shaped, fresh);
        let arrivals = if rows.is_empty() { Vec::new() } else { self.arrivals(rows.len()).await? };
        self.row += rows.len() as u64;
        let update = self.context.job.mode == Mode::Update;
        let entity = &self.run.entity;
        let mut arrivals = arrivals.into_iter();
        let mut inserted = Vec::new();
        let Some(range) = &mut self.range else { return Err(miscounted(entity)) };
        for (row, fresh) in shaped.rows.iter().zip(fresh) {
            self.reached = Some(row.key.clone());
            let Ok(place) = row.place.as_ref().copied() else {
                range.take(&row.key);
                continue;
            };
            if !fresh {
                range.take(&row.key);
                continue;
            }
            let arrival: Arrival = arrivals.next().ok_or_else(|| miscounted(entity))?;
            if !arrival.inserted {
                continue;
            }
            inserted.push(place);
            let mut values = shaped.page.row(place as usize).values()?;
            // A page may have one column more, that of the ids.
            values.truncate(entity.columns.len());
            let open = (0..).zip(self.ties).filter(|(at, tie)| tie.child == self.place && arrival.open & (1u64 << at) != 0);
            let open: BTreeSet<&String> = open.flat_map(|(_, tie): (u32, &Tie)| &tie.open).collect();
            for (value, column) in values.iter_mut().zip(&entity.columns) {
                if open.contains(&column.target) {
                    *value = Value::Null;
                }
            }
            let checksum = if open.is_empty() { row.checksum } else { row_checksum(&values) };
            let checksum = masked(checksum, &mask(entity, shaped.ids.as_deref(), place));
            let columns = update.then(|| column_sums(&values));
            range.merge.look_up(&row.key, &checksum);
            range.merge.keep(row.key.clone(), checksum, Outcome::Inserted, false);
            range.merge.keep_columns(columns, false);
        }
        if !inserted.is_empty() && entity.target.triggers.iter().any(|t| t.fires_on_write) {
            self.trigger_columns.extend(altered(entity, self.transaction, &shaped.page, &inserted, SAMPLE).await?);
        }
        if self.range.as_ref().is_some_and(|range| range.merge.kept() >= KEPT_ROWS)
            && let Some(edit) = self.range.as_mut().and_then(|range| range.merge.flush())
        {
            self.put(edit, None).await?;
        }
        Ok(())
    }

    async fn arrivals(&mut self, count: usize) -> Result<Vec<Arrival>> {
        self.transaction.arrivals(self.place, self.row, count).await
    }
}

impl Range {
    fn new(blocks: Vec<crate::diff::LedgerBlock>, after: Option<i64>, last: bool, (position, execution): (&str, &str)) -> Self {
        let known: Vec<Entry> = blocks.iter().flat_map(|block| block.entries.clone()).collect();
        let places = known.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect();
        let merge = BlockMerge::new(blocks, after, last, position, execution);
        Range { merge, taken: vec![false; known.len()], known, places, next: 0, last }
    }

    /// Takes a row over, if it is known, with those before it that the source has lost: the walk is to deal with these.
    fn take(&mut self, key: &Key) {
        if let Some(place) = self.places.get(key).copied() {
            self.take_up_to(place + 1);
        }
    }

    fn take_up_to(&mut self, end: usize) {
        for place in self.next..end {
            if std::mem::replace(&mut self.taken[place], true) {
                continue;
            }
            let Entry { key, checksum, columns, .. } = self.known[place].clone();
            let outcome = match self.merge.look_up(&key, &checksum) {
                Match::Equal(outcome) | Match::Changed(outcome) => outcome,
                Match::New => continue,
            };
            self.merge.keep(key, checksum, outcome, true);
            self.merge.keep_columns(columns, true);
        }
        self.next = self.next.max(end);
    }
}

#[async_trait]
impl Visit for Record<'_> {
    async fn shape(&mut self, shaper: &mut Shaper, page: Page) -> Result<Shaped> {
        ids::shape(&mut self.translator, self.transaction, shaper, page).await
    }

    async fn step(&mut self, step: Step<'_>) -> Result<()> {
        match step {
            Step::Range { blocks, after, last } => {
                self.moved = None;
                self.range = Some(Range::new(blocks, after, last, (&self.position, &self.context.execution)));
            }
            Step::Page { shaped, fresh } => self.page(shaped, fresh).await?,
            Step::Tail { after, small } => {
                let Moved { after, small } = self.moved.take().unwrap_or(Moved { after, small });
                let merge = BlockMerge::tail(after, small, &self.position, &self.context.execution);
                let (known, taken, places) = (Vec::new(), Vec::new(), HashMap::new());
                self.range = Some(Range { merge, known, taken, places, next: 0, last: false });
            }
            Step::End => {
                let Some(mut range) = self.range.take() else {
                    return Err(Error::new(ErrorKind::Internal, "a range ends that never began"));
                };
                range.take_up_to(range.known.len());
                let merged = range.merge.finish();
                self.moved = range.last.then_some(Moved { after: merged.after, small: merged.small });
                self.put(merged.edit, None).await?;
            }
        }
        Ok(())
    }
}
