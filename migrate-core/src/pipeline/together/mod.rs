//! Inserts the new rows of entities whose references form a cycle that can never be NULL: all of them at once, before they are walked.
//!
//! ```text
//! new rows of each entity ──▶ set aside in the target ──▶ inserted by one statement ──▶ ledgers, checkpoints ──▶ one commit
//!                                                         (what has no parent, or is refused,
//!                                                          is left to the walks with all that refer to it)
//! ```
//!
//! New is what the ledger does not know. The walks that follow find the rows in the ledger, as this execution's own, and deal with all
//! else: rows that have changed, are there without the ledger's knowing, or are refused, which the target then tells why.

mod gone;
mod ids;
mod record;
mod scan;

pub(super) use gone::delete_at_once;

use super::context::{Context, Purpose};
use super::entity::EntityRun;
use super::keymap::Translator;
use super::retry::Backoff;
use super::shape::{Shaped, Shaper};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::job::{Event, Level, LogLine};
use crate::plan::{EntityPlan, Plan, ReferenceCheck, ReferencePlan};
use crate::sink::{SinkTransaction, Tie, WriteMode, WriteRequest};
use crate::source::Snapshot;
use crate::state::{Checkpoint, StateChanges};
use crate::value::Page;
use async_trait::async_trait;
use record::Record;
use scan::{Step, Visit, parts};

/// References of a cycle's rows that may be left open; of more, the rows are refused instead.
const MOST_OPEN: usize = 60;

/// Brings in the new rows of the cycles among entities of one level.
pub(super) async fn bring_in(context: &Context, plan: &Plan, runs: &mut [EntityRun], snapshot: &mut dyn Snapshot) -> Result<()> {
    for (number, cycle) in plan.together.iter().enumerate() {
        let mut members: Vec<&mut EntityRun> = runs.iter_mut().filter(|run| run.entity.together == Some(number)).collect();
        if members.is_empty() {
            continue;
        }
        if context.purpose != Purpose::Run {
            if ids::are_replaced(&members) {
                ids::foresee(context, &members, snapshot).await.map_err(Failure::into_error)?;
            }
            continue;
        }
        context.emit(&Event::Step { entity: None, name: format!("new rows of the cycle {}", cycle.path) });
        let mut backoff = Backoff::default();
        loop {
            let error = match bring_in_once(context, &mut members, snapshot).await {
                Ok(()) => break,
                Err(Failure::Source(error)) => return Err(error),
                Err(Failure::Target(error)) => error,
            };
            if error.kind().retry() == Retry::Never {
                return Err(error.with("cycle", &cycle.path));
            }
            backoff.wait(context, None, &error).await?;
            settle(context, &mut members, &mut backoff).await?;
        }
        context.check_cancelled()?;
    }
    Ok(())
}

enum Failure {
    Source(Error),
    Target(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Failure::Source(error) | Failure::Target(error) => error,
        }
    }
}

async fn bring_in_once(context: &Context, members: &mut [&mut EntityRun], snapshot: &mut dyn Snapshot) -> Result<(), Failure> {
    let mut transaction = None;
    let replaced = ids::are_replaced(members);
    let learned = replaced && ids::give(context, members, snapshot, &mut transaction).await?;
    let (mut rows, mut left_out) = (0, false);
    for (place, run) in members.iter().enumerate() {
        for part in parts(run, &context.job.name) {
            let translator = Translator::new(&run.entity, &context.job.name);
            let (entity, rows, left_out) = (&run.entity, &mut rows, &mut left_out);
            let mut visit = SetAside { context, entity, place, transaction: &mut transaction, translator, rows, left_out };
            part.scan(context, run, snapshot, &mut visit).await?;
        }
    }
    let Some(mut transaction) = transaction else { return Ok(()) };
    let ties = ties(members);
    let inserted = if rows == 0 { 0 } else { transaction.insert_aside(&ties).await.map_err(Failure::Target)? };
    if inserted == 0 && !learned {
        return transaction.rollback().await.map_err(Failure::Target);
    }
    let position = snapshot.position().to_string();
    for (place, run) in members.iter().enumerate() {
        let mut row = 0;
        for part in parts(run, &context.job.name) {
            let mut visit = Record::new((context, run, &part), &ties, (place, row), &position, transaction.as_mut());
            part.scan(context, run, snapshot, &mut visit).await?;
            row = visit.end().await.map_err(Failure::Target)?;
        }
    }
    if replaced && (left_out || inserted < rows) {
        ids::take_back(context, members, snapshot, transaction.as_mut()).await?;
    }
    transaction.commit(&StateChanges::default()).await.map_err(Failure::Target)?;
    for run in members.iter_mut() {
        look_again(context, run).await.map_err(Failure::Target)?;
    }
    let message = format!("{inserted} new rows that refer to one another were inserted at once");
    context.emit(&Event::Log(LogLine::new(context.now(), Level::Info, message)));
    Ok(())
}

/// Finds out, once no transaction of before is in progress any more, how far the target has got.
async fn settle(context: &Context, members: &mut [&mut EntityRun], backoff: &mut Backoff) -> Result<()> {
    loop {
        let settled = async {
            context.state.settle(&context.fence).await?;
            for run in members.iter_mut() {
                let own = |c: &Checkpoint| c.execution == context.execution && c.attempt == context.attempt;
                let before: u64 = run.checkpoints.iter().map(|(_, c)| c.sequence).sum();
                let found = context.state.checkpoints(&context.job.name, &run.entity.name).await?;
                if found.iter().any(|(_, c)| own(c)) && found.iter().map(|(_, c)| c.sequence).sum::<u64>() > before {
                    look_again(context, run).await?;
                }
            }
            Ok(())
        };
        match settled.await {
            Err(error) if Error::kind(&error).retry() != Retry::Never => backoff.wait(context, None, &error).await?,
            other => return other,
        }
    }
}

/// Takes note of what was just committed.
async fn look_again(context: &Context, run: &mut EntityRun) -> Result<()> {
    run.checkpoints = context.state.checkpoints(&context.job.name, &run.entity.name).await?;
    run.void.clear();
    run.occupied = true;
    Ok(())
}

/// Sets the new rows of one part aside.
struct SetAside<'c> {
    context: &'c Context,
    entity: &'c EntityPlan,
    place: usize,
    /// Begun with the first new row.
    transaction: &'c mut Option<Box<dyn SinkTransaction>>,
    translator: Option<Translator>,
    /// The rows set aside.
    rows: &'c mut u64,
    /// Whether new rows were not: they do not fit, or their parents have no ids.
    left_out: &'c mut bool,
}

#[async_trait]
impl Visit for SetAside<'_> {
    async fn shape(&mut self, shaper: &mut Shaper, page: Page) -> Result<Shaped> {
        match self.transaction {
            Some(transaction) => ids::shape(&mut self.translator, transaction.as_mut(), shaper, page).await,
            // Ids are given before any row is set aside.
            None => shaper.shape(page),
        }
    }

    async fn step(&mut self, step: Step<'_>) -> Result<()> {
        let Step::Page { shaped, fresh } = step else { return Ok(()) };
        let rows = rows_of(shaped, fresh);
        *self.left_out |= rows.len() < fresh.iter().filter(|fresh| **fresh).count();
        if rows.is_empty() {
            return Ok(());
        }
        if self.transaction.is_none() {
            *self.transaction = Some(self.context.sink.begin(&self.context.fence).await?);
        }
        let Some(transaction) = self.transaction else { return Ok(()) };
        *self.rows += rows.len() as u64;
        let request = WriteRequest {
            table: &self.entity.target,
            key: &self.entity.target_key,
            page: &shaped.page,
            rows: if rows.len() == shaped.page.row_count() { None } else { Some(&rows) },
            mode: WriteMode::InsertMissing,
        };
        transaction.set_aside(self.place, request).await.map_err(|error| error.with("entity", &self.entity.name))
    }
}

/// Returns the places, in the shaped page, of the new rows that fit.
fn rows_of(shaped: &Shaped, fresh: &[bool]) -> Vec<u32> {
    shaped.rows.iter().zip(fresh).filter(|(_, fresh)| **fresh).filter_map(|(row, _)| row.place.as_ref().ok().copied()).collect()
}

/// The references of the rows set aside which the target checks as it is written to, or whose parents' ids it gives.
fn ties(members: &[&mut EntityRun]) -> Vec<Tie> {
    let mut ties: Vec<Tie> = Vec::new();
    for (child, run) in members.iter().enumerate() {
        let entity = &run.entity;
        let written = |name: &String| entity.columns.iter().any(|c| &c.target == name);
        let given = |r: &ReferencePlan| entity.translations.iter().any(|t| r.columns.contains(&t.target));
        for reference in entity.references.iter().filter(|r| r.check == ReferenceCheck::Live || given(r)) {
            let open = reference.late.as_ref().map(|late| late.columns.clone()).unwrap_or_default();
            let tie = Tie {
                child,
                columns: reference.columns.clone(),
                parent: reference.table.clone(),
                parent_columns: reference.parent_columns.clone(),
                open: if ties.len() < MOST_OPEN { open } else { Vec::new() },
            };
            // Of several entities that feed the parents' table each has the reference.
            if reference.columns.iter().all(written) && !ties.contains(&tie) {
                ties.push(tie);
            }
        }
    }
    ties
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Target(error)
    }
}

/// The error of a cycle whose rows were set aside in another number than they are found in again.
fn miscounted(entity: &EntityPlan) -> Error {
    Error::new(ErrorKind::Internal, "rows that were set aside are not found again").with("entity", &entity.name)
}
