//! Goes through the source's rows that the ledger does not know.

use super::super::context::Context;
use super::super::entity::EntityRun;
use super::super::parts::with_missing;
use super::super::shape::{Shaped, Shaper};
use super::Failure;
use crate::diff::{BLOCK_ROWS, Entry, LedgerBlock};
use crate::error::{Error, Result};
use crate::sink::Outcome;
use crate::source::{PageRequest, Snapshot};
use crate::state::{Scope, TargetState};
use crate::value::{Key, KeyRange, Page};
use async_trait::async_trait;
use std::collections::HashSet;

/// Ledger blocks that are gone through together: about 32,000 rows.
const BLOCKS: usize = 32;
/// Keys that are read together.
const KEYS: usize = 8_192;

/// One part of an entity, with its ledger.
pub(super) struct Part {
    pub(super) scope: Scope,
    pub(super) range: KeyRange,
    /// Whether there is a ledger.
    known: bool,
}

/// What is gone through, in the source's order.
pub(super) enum Step<'s> {
    /// A range begins whose blocks lack some of the source's rows; they follow the block `after`, and are perhaps the `last`.
    Range { blocks: Vec<LedgerBlock>, after: Option<i64>, last: bool },
    /// Rows of the range; those that are fresh are not in the ledger.
    Page { shaped: &'s Shaped, fresh: &'s [bool] },
    /// The range ends. Whoever writes blocks says which is the last of the ledger now.
    End,
    /// What lies behind the ledger begins; a last block that is small is to be gone on with.
    Tail { after: Option<i64>, small: Option<(i64, Vec<Entry>)> },
}

/// Hears of the rows. Whoever hears of them twice, from one snapshot, hears the same.
#[async_trait]
pub(super) trait Visit: Send {
    /// Shapes a page, which is then handed over.
    async fn shape(&mut self, shaper: &mut Shaper, page: Page) -> Result<Shaped> {
        shaper.shape(page)
    }

    async fn step(&mut self, step: Step<'_>) -> Result<()>;
}

/// Returns the parts of an entity.
pub(super) fn parts(run: &EntityRun, job: &str) -> Vec<Part> {
    let scope = |partition| Scope { job: job.to_owned(), entity: run.entity.name.clone(), partition };
    if run.checkpoints.is_empty() {
        return vec![Part { scope: scope(0), range: KeyRange::ALL, known: false }];
    }
    let known = |partition| run.checkpoints.iter().any(|(part, _)| *part == partition);
    let part = |(partition, range)| Part { scope: scope(partition), range, known: known(partition) };
    with_missing(&run.checkpoints).into_iter().map(part).collect()
}

impl Part {
    /// Goes through the part's rows, as far as the run's limit lets it.
    pub(super) async fn scan(
        &self,
        context: &Context,
        run: &EntityRun,
        snapshot: &mut dyn Snapshot,
        visit: &mut dyn Visit,
    ) -> Result<(), Failure> {
        let mut left = context.limits.rows.unwrap_or(u64::MAX);
        let (mut after, mut from, mut small) = (None, self.range.after.clone(), None);
        while self.known && left > 0 {
            let blocks = read_blocks(context.state.as_ref(), &self.scope, after).await.map_err(Failure::Target)?;
            let Some(end) = blocks.last() else { break };
            let (ordinal, last_key, last) = (end.ordinal, end.last_key.clone(), blocks.len() < BLOCKS);
            small = (last && end.entries.len() < BLOCK_ROWS / 2).then(|| (ordinal, entries_of(end, &context.execution)));
            let range = KeyRange { after: from, up_to: Some(last_key.clone()) };
            let known: HashSet<Key> = blocks.iter().flat_map(|block| &block.entries).map(|entry| entry.key.clone()).collect();
            let (read, unknown) = self.look(run, snapshot, &range, &known, left).await.map_err(Failure::Source)?;
            if unknown {
                visit.step(Step::Range { blocks, after, last }).await.map_err(Failure::Target)?;
                self.pages((context, run), snapshot, (range, Some(&known), left), visit).await?;
                visit.step(Step::End).await.map_err(Failure::Target)?;
            }
            left -= read.min(left);
            (after, from) = (Some(ordinal), Some(last_key));
            context.check_cancelled().map_err(Failure::Target)?;
            if last {
                break;
            }
        }
        if left > 0 {
            visit.step(Step::Tail { after, small }).await.map_err(Failure::Target)?;
            let range = KeyRange { after: from, up_to: self.range.up_to.clone() };
            self.pages((context, run), snapshot, (range, None, left), visit).await?;
            visit.step(Step::End).await.map_err(Failure::Target)?;
        }
        Ok(())
    }

    /// Counts the rows of a range, and says whether one of them is not known.
    async fn look(
        &self,
        run: &EntityRun,
        snapshot: &mut dyn Snapshot,
        range: &KeyRange,
        known: &HashSet<Key>,
        most: u64,
    ) -> Result<(u64, bool)> {
        let entity = &run.entity;
        let request = PageRequest::new(&entity.source, &entity.key, &entity.key).with_filter(entity.parsed_filter.as_ref());
        let mut request = request.with_range(range.clone()).with_limits(usize::MAX, KEYS);
        let (mut read, mut unknown) = (0, false);
        loop {
            let page = snapshot.read_page(&request).await.map_err(|error| error.with("entity", &entity.name))?;
            for row in page.rows().take(usize::try_from(most - read).unwrap_or(usize::MAX)) {
                unknown |= !known.contains(&Key::from_values(&row.values()?));
                read += 1;
            }
            match page.next {
                Some(key) if read < most => request.range.after = Some(key),
                _ => return Ok((read, unknown)),
            }
        }
    }

    /// Hands over the rows of a range, page by page: at most so many; those that are known are not fresh.
    async fn pages(
        &self,
        (context, run): (&Context, &EntityRun),
        snapshot: &mut dyn Snapshot,
        (range, known, most): (KeyRange, Option<&HashSet<Key>>, u64),
        visit: &mut dyn Visit,
    ) -> Result<(), Failure> {
        let entity = &run.entity;
        let columns = entity.read_columns();
        let mut shaper = Shaper::new(entity.clone());
        let request = PageRequest::new(&entity.source, &columns, &entity.key).with_filter(entity.parsed_filter.as_ref());
        let mut request = request.with_range(range).with_limits(context.limits.page_bytes, context.limits.batch_rows);
        let mut left = most;
        loop {
            let page = snapshot.read_page(&request).await;
            let mut page = page.map_err(|error: Error| Failure::Source(error.with("entity", &entity.name)))?;
            let next = page.next.take();
            let shaped = visit.shape(&mut shaper, page).await.map_err(Failure::Target)?;
            let unknown = |key: &Key| known.is_none_or(|known| !known.contains(key));
            let fresh: Vec<bool> = (0u64..).zip(&shaped.rows).map(|(at, row)| at < left && unknown(&row.key)).collect();
            left -= left.min(shaped.rows.len() as u64);
            visit.step(Step::Page { shaped: &shaped, fresh: &fresh }).await.map_err(Failure::Target)?;
            context.check_cancelled().map_err(Failure::Target)?;
            match next {
                Some(key) if left > 0 => request.range.after = Some(key),
                _ => return Ok(()),
            }
        }
    }
}

/// Returns a block's entries; what another execution did to the rows is not this one's doing.
fn entries_of(block: &LedgerBlock, execution: &str) -> Vec<Entry> {
    let mut entries = block.entries.clone();
    if block.execution != execution {
        entries.iter_mut().for_each(|entry| entry.outcome = Outcome::Unchanged);
    }
    entries
}

async fn read_blocks(state: &dyn TargetState, scope: &Scope, after: Option<i64>) -> Result<Vec<LedgerBlock>> {
    let stored = state.ledger_blocks(scope, after, BLOCKS).await?;
    stored.iter().map(LedgerBlock::unpack).collect()
}
