//! Entities whose rows have no key and belong to parents: the rows of a parent are replaced together.
//!
//! ```text
//! source ──▶ rows and sum of each parent ─┐
//! ledger ──▶ parents that were brought ───┼─▶ differs? ──▶ delete all that the target has of it, insert the source's: one commit
//! target ──▶ rows and sum of each parent ─┘
//! ```
//!
//! What is compared is what the target holds, so that a run which was cut anywhere is simply made again. The ledger remembers whose rows the
//! job has brought: only those go once the source has none. Where there are more parents than may be kept in memory they are brought in
//! several parts, each by a look at both sides and a commit of its own, and what all of them would lose is counted before the first.

mod bring;
mod ledger;
mod tally;

pub(crate) use ledger::parent_of;

use super::context::{Context, Purpose};
use super::fingerprint::{Trust, trust};
use super::keymap::{Known, Translator};
use super::reader::ReadPlan;
use super::retry::Backoff;
use super::shape::{Shaped, ShapedRow, Shaper, mirrored};
use super::walk::Start;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::filter::Filter;
use crate::job::{LeftFilter, Mode};
use crate::source::{PageRequest, Snapshot};
use crate::state::{Checkpoint, Counters};
use crate::value::canonical::{self, Checksum};
use crate::value::{Key, Page};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tally::{Difference, Rules, Tally};

/// Bytes of a page of the target that is looked through.
const PAGE_BYTES: usize = 256 << 10;
/// How many rows, counted by themselves, weigh as much as one parent's.
const WEIGHT: usize = 2;

/// The rows of one entity that are replaced parent by parent.
pub(super) struct Sets {
    context: Context,
    plan: ReadPlan,
    position: String,
    start: Start,
    /// How many rows the source holds.
    rows: u64,
    /// The places, among the columns that are written, of those that tell the parent.
    parent: Vec<usize>,
}

impl Sets {
    /// # Errors
    /// [`ErrorKind::Refused`] where only some of the rows are to be read.
    pub(super) fn new(context: Context, plan: ReadPlan, position: String, start: Start, rows: u64) -> Result<Self> {
        let entity = &plan.entity;
        if context.limits.rows.is_some() {
            let message = "rows that are replaced together cannot be brought in part; run without a limit";
            return Err(Error::new(ErrorKind::Refused, message).with("entity", &entity.name));
        }
        let columns = entity.set.iter().flat_map(|set| &set.target);
        let parent = columns.filter_map(|name| entity.columns.iter().position(|column| &column.target == name)).collect();
        Ok(Sets { parent, context, plan, position, start, rows })
    }

    /// Brings what differs. Returns what became of the rows.
    pub(super) async fn run(&mut self, snapshot: &mut dyn Snapshot) -> Result<Counters> {
        let most = (self.context.limits.multiset / WEIGHT).max(1) as u64;
        let remembered = self.remembered(self.checkpoint().await?.as_ref()).await?;
        // As many parents as rows at most, and those that the source has lost.
        let parts = self.rows.saturating_add(remembered).div_ceil(most).max(1);
        if parts > 1 && self.is_guarded() {
            let mut all = Difference::default();
            for number in 0..parts {
                let mut backoff = Backoff::default();
                let part = loop {
                    match self.count(snapshot, (number, parts)).await {
                        Ok(part) => break part,
                        Err(error) => self.again(&mut backoff, error).await?,
                    }
                };
                (all.lost, all.held) = (all.lost + part.lost, all.held + part.held);
            }
            self.guard(&all)?;
        }
        let mut counters = Counters::default();
        for number in 0..parts {
            let mut backoff = Backoff::default();
            counters = loop {
                match self.bring(snapshot, (number, parts), counters).await {
                    Ok(sum) => break sum,
                    Err(error) => self.again(&mut backoff, error).await?,
                }
            };
        }
        if counters.pending > 0 && self.context.purpose == Purpose::Run {
            self.start.incomplete.store(true, Ordering::Relaxed);
        }
        Ok(counters)
    }

    /// Waits until what has failed may be tried again. Whether a commit has happened is seen by what is there.
    async fn again(&self, backoff: &mut Backoff, error: Error) -> Result<()> {
        if error.kind().retry() == Retry::Never {
            return Err(error);
        }
        backoff.wait(&self.context, Some(&self.plan.entity.name), &error).await?;
        self.context.state.settle(&self.context.fence).await
    }

    /// Returns what is remembered of the entity, where it says anything of it.
    async fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let found = self.context.state.checkpoints(&self.context.job.name, &self.plan.entity.name).await?;
        let speaks = |checkpoint: &Checkpoint| {
            // What this attempt has committed is of now, whatever was to be thought of the one before.
            let own = checkpoint.execution == self.context.execution && checkpoint.attempt == self.context.attempt;
            trust(&checkpoint.fingerprint, &self.start.fingerprint) != Trust::Nothing && (own || !self.start.reset)
        };
        Ok(found.into_iter().next().map(|(_, checkpoint)| checkpoint).filter(speaks))
    }

    fn rules(&self) -> Rules {
        let target = &self.plan.entity.target;
        Rules {
            mode: self.context.job.mode,
            keeps_left: self.plan.entity.parsed_filter.is_some() && self.context.job.left_filter == LeftFilter::Keep,
            altered: target.triggers.iter().any(|trigger| trigger.fires_on_write) || !target.write_obstacles.is_empty(),
        }
    }

    /// Returns the parent of a row.
    fn parent_of(&self, page: &Page, row: u32) -> Result<Checksum> {
        let row = page.row(row as usize);
        let values = self.parent.iter().map(|place| row.value(*place)).collect::<Result<Vec<_>>>()?;
        Ok(canonical::checksum(Key::from_values(&values).as_bytes()))
    }

    /// Returns the parent of a row; of a refused one `None` where it cannot be told.
    fn parent_of_any(&self, shaped: &Shaped, row: &ShapedRow) -> Result<Option<Checksum>> {
        match &row.place {
            Ok(place) => self.parent_of(&shaped.page, *place).map(Some),
            Err(refusal) => Ok(refusal.set.as_ref().map(|set| canonical::checksum(set.as_bytes()))),
        }
    }

    /// Counts the source's rows: the sets of the part in the tally, and what is wrong with rows in the counters that are returned. Refused rows
    /// are counted by the first part.
    async fn read_source(&self, snapshot: &mut dyn Snapshot, tally: &mut Tally, first: bool) -> Result<Counters> {
        let mut seen = Counters::default();
        let mut reading = self.read(self.plan.entity.parsed_filter.as_ref());
        while let Some(shaped) = reading.next(snapshot).await? {
            if first {
                seen.bytes += shaped.source.data().len() as u64;
                seen.quarantined += shaped.rows.iter().filter(|row| row.place.is_err()).count() as u64;
            }
            for row in &shaped.rows {
                let set = self.parent_of_any(&shaped, row)?.and_then(|parent| tally.entry(parent));
                if row.place.is_err() {
                    // Its parent may be let in by a later walk.
                    self.start.refused.fetch_or(row.lacks_parent, Ordering::Relaxed);
                    set.into_iter().for_each(|set| set.refused = true);
                    continue;
                }
                let Some(set) = set else { continue };
                set.now = set.now.checked_add(1).ok_or_else(|| self.too_many())?;
                set.now_sum = set.now_sum.wrapping_add(u128::from_be_bytes(row.checksum));
                seen.orphans += u64::from(row.is_orphan);
                seen.pending += u64::from(row.lacks_parent);
            }
            self.context.check_cancelled()?;
        }
        Ok(seen)
    }

    /// Counts what the target holds of the parents that are known.
    async fn read_target(&self, tally: &mut Tally) -> Result<()> {
        let entity = &self.plan.entity;
        if self.context.missing.contains(&entity.target.name) {
            return Ok(());
        }
        let altered = self.rules().altered;
        let mut snapshot = self.context.sink.as_source().open_snapshot().await?;
        let mut reading = Reading::of_target(self);
        while let Some(shaped) = reading.next(snapshot.as_mut()).await? {
            for row in &shaped.rows {
                let Ok(place) = row.place else { continue };
                let Some(set) = tally.get_mut(&self.parent_of(&shaped.page, place)?) else { continue };
                set.was = set.was.checked_add(1).ok_or_else(|| self.too_many())?;
                if !altered {
                    set.was_sum = set.was_sum.wrapping_add(u128::from_be_bytes(row.checksum));
                }
            }
            self.context.check_cancelled()?;
        }
        Ok(())
    }

    /// Finds which parents that seem gone have only left the filter.
    async fn look_beyond_filter(&self, snapshot: &mut dyn Snapshot, tally: &mut Tally) -> Result<()> {
        let mut reading = self.read(None);
        while let Some(shaped) = reading.next(snapshot).await? {
            for row in &shaped.rows {
                let parent = self.parent_of_any(&shaped, row)?;
                if let Some(set) = parent.and_then(|parent| tally.get_mut(&parent)) {
                    set.left = true;
                }
            }
            self.context.check_cancelled()?;
        }
        Ok(())
    }

    fn read<'s>(&'s self, filter: Option<&'s Filter>) -> Reading<'s> {
        let entity = self.plan.entity.clone();
        Reading {
            sets: self,
            columns: entity.read_columns(),
            translator: Translator::new(&entity, &self.plan.scope.job),
            shaper: Shaper::new(entity.clone()),
            entity,
            filter,
            limits: (self.plan.page_bytes, self.plan.page_rows),
            after: None,
            done: false,
        }
    }

    fn too_many(&self) -> Error {
        Error::new(ErrorKind::Unsupported, "a parent has more rows than can be counted").with("entity", &self.plan.entity.name)
    }
}

/// A look at all rows of one side, shaped.
struct Reading<'s> {
    sets: &'s Sets,
    entity: Arc<crate::plan::EntityPlan>,
    columns: Vec<String>,
    translator: Option<Translator>,
    shaper: Shaper,
    filter: Option<&'s Filter>,
    limits: (usize, usize),
    after: Option<Key>,
    done: bool,
}

impl<'s> Reading<'s> {
    /// The target, read back through its own columns.
    fn of_target(sets: &'s Sets) -> Self {
        let entity = Arc::new(mirrored((*sets.plan.entity).clone()));
        Reading {
            sets,
            columns: entity.read_columns(),
            translator: None,
            shaper: Shaper::new(entity.clone()),
            entity,
            filter: None,
            limits: (PAGE_BYTES, usize::MAX),
            after: None,
            done: false,
        }
    }

    async fn next(&mut self, snapshot: &mut dyn Snapshot) -> Result<Option<Shaped>> {
        if self.done {
            return Ok(None);
        }
        let mut request = PageRequest::new(&self.entity.source, &self.columns, &[])
            .with_filter(self.filter)
            .with_limits(self.limits.0, self.limits.1);
        request.range.after = self.after.take();
        let page = snapshot.read_page(&request).await.map_err(|e| e.with("entity", &self.entity.name))?;
        self.after.clone_from(&page.next);
        self.done = self.after.is_none();
        self.shape(page).await.map(Some)
    }

    async fn shape(&mut self, page: Page) -> Result<Shaped> {
        let Some(translator) = &mut self.translator else { return self.shaper.shape(page) };
        let state = self.sets.context.state.as_ref();
        // Sets give no ids. Where parents' ids are made up, as nothing is written, they fit any column.
        let pretends = self.sets.context.purpose != Purpose::Run;
        let translated = translator.look_up_given(&mut Known::State(state), pretends, &page).await?;
        self.shaper.shape_translated(page, &translated)
    }
}

/// What rows that are neither new nor changed count as.
fn count_rest(mode: Mode, counters: &mut Counters, rest: u64) {
    match mode {
        Mode::Append => counters.skipped += rest,
        Mode::Init | Mode::Replace | Mode::Update => counters.unchanged += rest,
    }
}
