//! Runs one entity: decides where its walks start, splits it, and adds up the parts.

use super::bonds::{Children, children};
use super::context::{Context, Purpose};
use super::fingerprint::{Trust, fingerprint, trust};
use super::folded::refuse_folded_rows;
use super::keyless::{Keyless, Known};
use super::orphans::placeholder::holds_others;
use super::parts;
use super::reader::{BLOCKS_PER_RANGE, BYTES_AHEAD, FEWEST_BLOCKS_PER_RANGE, ReadPlan};
use super::rebase::Rebase;
use super::refusals::Refusals;
use super::replay::Replay;
use super::sets::Sets;
use super::strategy::Synced;
use super::walk::{Start, Walk};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filter, Parameter};
use crate::job::{Event, ExecutionState, Level, Mode, OrphanPolicy};
use crate::plan::{EntityPlan, Plan, remembered};
use crate::source::{PageRequest, Snapshot};
use crate::state::{Checkpoint, Counters, KeyMapChanges, Scope, SourceColumn, StateChanges};
use crate::value::{KeyRange, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One entity with what the target remembers of it.
#[derive(Clone)]
pub(super) struct EntityRun {
    pub(super) entity: Arc<EntityPlan>,
    pub(super) fingerprint: String,
    /// The parts' checkpoints; none if the entity was never written, or if what was says nothing any more.
    pub(super) checkpoints: Vec<(u32, Checkpoint)>,
    /// The parts of which state is there that says nothing any more.
    pub(super) void: Vec<u32>,
    /// Whether the ledger says which rows were synced, but not whether they are as they would be written now.
    pub(super) distrusted: bool,
    /// What makes the ledger one of the columns of now, where the source's have changed since it was made.
    pub(super) rebase: Option<Arc<Rebase>>,
    /// Whether it was made over for this run.
    pub(super) made_over: bool,
    /// The source's columns as the last finished run has found them.
    pub(super) remembered: Option<Vec<SourceColumn>>,
    /// Whether the target holds rows.
    pub(super) occupied: bool,
    /// Whether rows stayed refused for a constraint: other rows' deletion may let them in.
    pub(super) refused: Arc<AtomicBool>,
    /// Whether rows were written without their parents.
    pub(super) incomplete: Arc<AtomicBool>,
    /// Whether an id of the source was found to be another row's than before.
    pub(super) reassigned: Arc<AtomicBool>,
    /// Whose rows are known by ids of these.
    pub(super) children: Arc<[Children]>,
    /// Whether all entities were walked before.
    pub(super) again: bool,
}

impl EntityRun {
    /// Looks up what the target remembers and holds.
    pub(super) async fn look_up(context: &Context, plan: &Plan, entity: Arc<EntityPlan>) -> Result<Self> {
        let fingerprint = fingerprint(plan, &entity);
        let found = context.state.checkpoints(&context.job.name, &entity.name).await?;
        let trusted = found.iter().map(|(_, c)| trust(&c.fingerprint, &fingerprint)).min().unwrap_or(Trust::Rows);
        let occupied = !context.missing.contains(&entity.target.name) && holds_rows(context, &entity).await?;
        // A table that somebody else has emptied or dropped since holds none of what its ledger says.
        let own_doing = found.iter().any(|(_, c)| c.may_be_empty);
        let emptied = !occupied && !own_doing && found.iter().any(|(_, c)| c.reached.is_some() || c.digest.is_some());
        let keep = trusted != Trust::Nothing && !emptied;
        if trusted == Trust::Nothing && !emptied && context.lists_gone() {
            let message =
                "the source, the key or the target's table is another one than before: rows that are gone since are not noticed";
            context.log(Level::Warn, &entity.name, message);
        }
        let rebase = if trusted == Trust::Keys && keep { Rebase::of(&entity, &found) } else { None };
        Ok(EntityRun {
            remembered: remembered(&found, &entity.source).map(<[SourceColumn]>::to_vec),
            children: children(&entity, plan.entities.iter().chain(&plan.left)),
            entity,
            fingerprint,
            distrusted: rebase.is_none() && (trusted == Trust::Keys || found.iter().any(|(_, c)| c.distrusted)),
            made_over: rebase.is_some(),
            rebase: rebase.map(Arc::new),
            void: if keep { Vec::new() } else { found.iter().map(|(part, _)| *part).collect() },
            checkpoints: if keep { found } else { Vec::new() },
            occupied,
            refused: Arc::default(),
            incomplete: Arc::default(),
            reassigned: Arc::default(),
            again: false,
        })
    }

    /// Returns the next walk of this entity, which tells this one too how it ends.
    pub(super) fn again(&self, found: EntityRun) -> Self {
        for flag in [&self.refused, &self.incomplete, &self.reassigned] {
            flag.store(false, Ordering::Relaxed);
        }
        let [refused, incomplete, reassigned] = [&self.refused, &self.incomplete, &self.reassigned].map(Arc::clone);
        EntityRun { again: true, refused, incomplete, reassigned, rebase: self.rebase.clone(), ..found }
    }

    /// Says that the target has let rows fall which were written to it.
    fn tell_of_kept_out(&self, context: &Context, counters: &Counters) {
        let target = &self.entity.target;
        let may = target.triggers.iter().any(|trigger| trigger.fires_on_write) || !target.write_obstacles.is_empty();
        if may && counters.skipped > 0 && context.job.mode != Mode::Append && context.purpose == Purpose::Run {
            let message = format!(
                "{} rows are not in the target as they were written: its triggers or rules, or an open conflict, kept them out",
                counters.skipped
            );
            context.log(Level::Warn, &self.entity.name, message);
        }
    }

    /// Returns the walk of this entity that looks at all rows, from where the one before has ended.
    async fn once_more(&self, context: &Context) -> Result<Self> {
        let checkpoints = context.state.checkpoints(&context.job.name, &self.entity.name).await?;
        let found = EntityRun {
            entity: self.entity.clone(),
            fingerprint: self.fingerprint.clone(),
            checkpoints,
            void: Vec::new(),
            distrusted: self.distrusted,
            rebase: None,
            made_over: false,
            remembered: self.remembered.clone(),
            occupied: self.occupied,
            refused: Arc::default(),
            incomplete: Arc::default(),
            reassigned: Arc::default(),
            children: self.children.clone(),
            again: true,
        };
        Ok(self.again(found))
    }

    /// Returns whether rows stayed refused for a constraint at the last walk.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes note of rows that may refer to whoever had an id before the one that has it now: they were written before it was known.
    pub(super) fn note_reassigned(runs: &[EntityRun]) {
        for run in runs {
            let stale = |parent: &&EntityRun| {
                let refers = run.entity.translations.iter().any(|t| t.late && t.entity == parent.entity.name);
                refers && parent.reassigned.load(Ordering::Relaxed)
            };
            if runs.iter().any(|parent| stale(&parent)) {
                run.incomplete.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Returns whether rows were written without their parents at the last walk.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Relaxed)
    }

    /// Returns whether rows of this entity can be loaded without looking at what is there: the target holds none but the ledger's.
    fn is_loadable(&self) -> bool {
        match self.checkpoints.is_empty() {
            true => !self.occupied,
            false => !self.distrusted && self.checkpoints.iter().all(|(_, c)| c.loadable && !c.done),
        }
    }

    /// Returns whether rows are there that must be looked up by key.
    pub(super) fn needs_keys(&self) -> bool {
        self.occupied && !self.entity.is_keyless()
    }

    /// Runs the entity through one snapshot, or forks of it, and checks that every row has one outcome.
    pub(super) async fn run(&self, context: &Context, snapshot: Box<dyn Snapshot>) -> Result<Box<dyn Snapshot>> {
        let name = &self.entity.name;
        if let Some(foreseen) = &context.foreseen {
            foreseen.restart(name);
        }
        context.emit(&Event::EntityStarted { entity: name.clone(), rows: None, before: 0 });
        // What is foreseen of a cycle's ids has replaced the entries of rows that are not there.
        let foreseen = context.purpose == Purpose::Preview && self.entity.together.is_some();
        if self.entity.generated.is_some()
            && !(self.occupied || foreseen)
            && context.purpose != Purpose::Adopt
            && context.replay.is_none()
        {
            // No row is there that an entry could speak of: those of rows that somebody has removed would only mislead.
            let scope = Scope { job: context.job.name.clone(), entity: name.clone(), partition: 0 };
            let key_map = KeyMapChanges { reset: true, ..KeyMapChanges::default() };
            context.given.forget(name, &key_map);
            let changes = StateChanges { scope: Some(scope), key_map, ..StateChanges::default() };
            context.sink.begin(&context.fence).await?.commit(&changes).await?;
        }
        let result = self.walk(context, snapshot).await;
        match result {
            Ok((counters, snapshot)) => {
                let partial = counters.quarantined > 0 || counters.pending > 0;
                let state = if partial { ExecutionState::Partial } else { ExecutionState::Succeeded };
                context.emit(&Event::EntityFinished { entity: name.clone(), counters, state, error: None });
                Ok(snapshot)
            }
            Err(error) => {
                let cancelled = error.kind() == ErrorKind::Cancelled;
                let state = if cancelled { ExecutionState::Cancelled } else { ExecutionState::Failed };
                let mut counters = context.settled(name);
                counters.read = counters.settled();
                context.emit(&Event::EntityFinished { entity: name.clone(), counters, state, error: Some(error.to_string()) });
                Err(error)
            }
        }
    }

    async fn walk(&self, context: &Context, mut snapshot: Box<dyn Snapshot>) -> Result<(Counters, Box<dyn Snapshot>)> {
        let entity = &self.entity;
        let beginning = context.foreseen.as_ref().map(|foreseen| (foreseen, foreseen.begin(&context.job.name, &entity.name)));
        let mut read = match &context.replay {
            Some(replay) => replay.count(entity, &self.replayed(replay), snapshot.as_mut()).await?,
            None => snapshot.count_rows(&entity.source, entity.parsed_filter.as_ref()).await?,
        };
        if let Some(limit) = context.limits.rows {
            read = read.min(limit);
        }
        context.emit(&Event::EntityStarted { entity: entity.name.clone(), rows: Some(read), before: self.before(context) });
        let (mut counters, snapshot) = if entity.set.is_some() {
            self.run_sets(context, snapshot, read).await?
        } else if entity.is_keyless() {
            self.run_keyless(context, snapshot, read).await?
        } else {
            self.run_parts(context, snapshot).await?
        };
        counters.read = read;
        if counters.settled() != read && entity.cursor.is_some() && !self.again && context.replay.is_none() {
            context.log(Level::Info, &entity.name, "all rows are read: some have come or gone that the column did not tell");
            if let Some((foreseen, beginning)) = beginning {
                foreseen.back_to(beginning);
            }
            return Box::pin(self.once_more(context).await?.walk(context, snapshot)).await;
        }
        if counters.settled() != read {
            let message = format!("the source counts {read} rows, but {} have an outcome", counters.settled());
            return Err(Error::new(ErrorKind::Mismatch, message).with("entity", &entity.name));
        }
        self.tell_of_kept_out(context, &counters);
        if entity.key_may_fold() && context.purpose == Purpose::Run && context.replay.is_none() {
            refuse_folded_rows(context, entity, &counters).await?;
        }
        Ok((counters, snapshot))
    }

    /// Returns the parts of which refused rows are sent again.
    fn replayed(&self, replay: &Replay) -> Vec<u32> {
        let known = |part: &u32| self.checkpoints.is_empty() || self.checkpoints.iter().any(|(known, _)| known == part);
        replay.parts(&self.entity.name).into_iter().filter(known).collect()
    }

    /// Returns how many rows earlier attempts of this execution have settled.
    fn before(&self, context: &Context) -> u64 {
        self.checkpoints.iter().filter(|(_, c)| c.execution == context.execution).map(|(_, c)| c.counters.settled()).sum()
    }

    fn read_plan(&self, context: &Context, partition: u32, range: KeyRange) -> ReadPlan {
        ReadPlan {
            entity: self.entity.clone(),
            scope: Scope { job: context.job.name.clone(), entity: self.entity.name.clone(), partition },
            execution: context.execution.clone(),
            range,
            page_bytes: context.limits.page_bytes,
            page_rows: context.limits.batch_rows,
            bytes_ahead: u32::try_from(context.limits.share(BYTES_AHEAD)).unwrap_or(u32::MAX),
            range_blocks: context.limits.share(BLOCKS_PER_RANGE).max(FEWEST_BLOCKS_PER_RANGE),
            follow_ledger: !self.checkpoints.is_empty(),
            distrust: self.distrusted,
            changes: None,
            replay: None,
            rebase: self.rebase.clone(),
        }
    }

    fn start(&self, partition: u32, context: &Context, synced: Synced) -> Start {
        let checkpoint = self.checkpoints.iter().find(|(part, _)| *part == partition).map(|(_, c)| c);
        Start {
            // What is only remembered is always looked for.
            loadable: self.is_loadable() && context.purpose != Purpose::Adopt && context.replay.is_none(),
            reset: self.is_stale() && context.replay.is_none(),
            distrusted: self.distrusted,
            sequence: checkpoint.map_or(0, |c| c.sequence),
            fingerprint: self.fingerprint.clone(),
            synced,
            remembered: self.remembered.clone(),
            trigger_columns: checkpoint.map(|c| c.trigger_columns.clone()).unwrap_or_default(),
            deleted: checkpoint.filter(|c| c.execution == context.execution).map_or(0, |c| c.counters.deleted),
            may_be_empty: !self.occupied && checkpoint.is_some_and(|c| c.may_be_empty),
            refusals: Arc::default(),
            refused: Arc::clone(&self.refused),
            incomplete: Arc::clone(&self.incomplete),
            reassigned: Arc::clone(&self.reassigned),
            children: self.children.clone(),
            again: self.again,
            first_copy: self.again && checkpoint.is_some_and(|c| c.loadable && c.execution == context.execution),
        }
    }

    async fn run_keyless(
        &self,
        context: &Context,
        mut snapshot: Box<dyn Snapshot>,
        rows: u64,
    ) -> Result<(Counters, Box<dyn Snapshot>)> {
        let checkpoint = self.checkpoints.first().map(|(_, c)| c.clone());
        let mut load = Keyless {
            context: context.clone(),
            plan: self.read_plan(context, 0, KeyRange::ALL),
            position: snapshot.position().to_string(),
            start: self.start(0, context, Synced::default()),
            known: Known::new(checkpoint, self.distrusted),
            rows,
            in_doubt: false,
        };
        let counters = load.run(snapshot.as_mut()).await?;
        Ok((counters, snapshot))
    }

    async fn run_sets(
        &self,
        context: &Context,
        mut snapshot: Box<dyn Snapshot>,
        rows: u64,
    ) -> Result<(Counters, Box<dyn Snapshot>)> {
        let plan = self.read_plan(context, 0, KeyRange::ALL);
        let position = snapshot.position().to_string();
        let mut sets = Sets::new(context.clone(), plan, position, self.start(0, context, Synced::default()), rows)?;
        let counters = sets.run(snapshot.as_mut()).await?;
        Ok((counters, snapshot))
    }

    async fn run_parts(&self, context: &Context, mut snapshot: Box<dyn Snapshot>) -> Result<(Counters, Box<dyn Snapshot>)> {
        let ranges = self.ranges(context, snapshot.as_mut()).await?;
        let one_by_one = context.replay.is_some() || context.limits.rows.is_some();
        let at_once = if one_by_one { 1 } else { context.limits.parallel.min(ranges.len()) };
        let context = &if at_once > 1 { context.among(at_once) } else { context.clone() };
        let refusals = Arc::new(Refusals::default());
        let mut walks = Vec::with_capacity(ranges.len());
        for (part, range) in ranges {
            let mut fork = if at_once > 1 { Some(snapshot.fork().await?) } else { None };
            let view = fork.as_mut().unwrap_or(&mut snapshot);
            walks.push((self.new_walk(context, part, range, &refusals, view.as_mut()).await?, fork));
        }
        let walked = parts::walk(walks, at_once, snapshot).await?;
        refusals.check_all(context)?;
        Ok(walked)
    }

    /// Forgets the parts of a void ledger before there are others, as those that stayed would overlap them.
    pub(super) async fn forget_parts(&mut self, context: &Context) -> Result<()> {
        if !self.is_stale() || self.void.len().max(self.parts(context)) < 2 {
            return Ok(());
        }
        let mut transaction = context.sink.begin(&context.fence).await?;
        for part in &self.void {
            let scope = Some(Scope { job: context.job.name.clone(), entity: self.entity.name.clone(), partition: *part });
            transaction.put_state(StateChanges { scope, reset_ledger: true, ..StateChanges::default() }).await?;
        }
        transaction.commit(&StateChanges::default()).await?;
        self.void.clear();
        Ok(())
    }

    /// Returns whether what the target remembers of this entity is void.
    pub(super) fn is_stale(&self) -> bool {
        !self.void.is_empty()
    }

    /// Returns in how many parts the entity is to be walked for the first time.
    fn parts(&self, context: &Context) -> usize {
        if context.limits.rows.is_some() || !self.entity.can_be_walked_in_parts() {
            return 1;
        }
        parts::number(&context.limits, self.entity.source.size_bytes.unwrap_or(0))
    }

    async fn new_walk(
        &self,
        context: &Context,
        part: u32,
        range: KeyRange,
        refusals: &Arc<Refusals>,
        snapshot: &mut dyn Snapshot,
    ) -> Result<Walk> {
        let checkpoint = self.checkpoints.iter().find(|(of, _)| *of == part).map(|(_, c)| c);
        // What others have brought since, or is only remembered, is looked at whatever the source says.
        // So is the new id of a parent, which is no change of the child's own row at the source.
        // So is a parent that has come, or gone, where rows without one become something else.
        let becomes = |policy: OrphanPolicy| policy != OrphanPolicy::Fail;
        let follows =
            !self.entity.translations.is_empty() || self.entity.references.iter().any(|r| r.orphans.is_some_and(becomes));
        let replays = context.replay.is_some();
        let all = follows || self.again || self.distrusted || self.made_over || context.purpose == Purpose::Adopt || replays;
        let synced = Synced::look_up(context, &self.entity, checkpoint, (all, self.again || replays), snapshot).await?;
        let (plan, position) = (self.read_plan(context, part, range), snapshot.position().to_string());
        let start = Start { refusals: Arc::clone(refusals), ..self.start(part, context, synced) };
        Ok(Walk::new(context.clone(), plan, position, start))
    }

    /// Returns the parts: those that were made when the entity was first written, else as many as its size and the run's options suggest.
    async fn ranges(&self, context: &Context, snapshot: &mut dyn Snapshot) -> Result<Vec<(u32, KeyRange)>> {
        if let Some(replay) = &context.replay {
            let parts = self.replayed(replay);
            let range = |part: &u32| self.checkpoints.iter().find(|(known, _)| known == part).map(|(_, c)| c.range.clone());
            return Ok(parts.iter().map(|part| (*part, range(part).unwrap_or(KeyRange::ALL))).collect());
        }
        if !self.checkpoints.is_empty() {
            return Ok(parts::with_missing(&self.checkpoints));
        }
        let parts = self.parts(context);
        if parts < 2 {
            return Ok(vec![(0, KeyRange::ALL)]);
        }
        let columns = self.entity.read_columns();
        let request =
            PageRequest::new(&self.entity.source, &columns, &self.entity.key).with_filter(self.entity.parsed_filter.as_ref());
        Ok(parts::between(snapshot.split_keys(&request, parts).await?))
    }
}

/// Returns whether the target's table holds any row, or any of this entity's where it is told apart from others.
pub(super) async fn holds_rows(context: &Context, entity: &EntityPlan) -> Result<bool> {
    let source = context.sink.as_source();
    let mut snapshot = source.open_snapshot().await?;
    let mut columns: Vec<String> = match entity.target_key.is_empty() {
        true => entity.columns.iter().map(|c| c.target.clone()).collect(),
        false => entity.target_key.clone(),
    };
    // A placeholder is none of the entity's rows, and stands in no row's way.
    for column in entity.placeholders.iter().flat_map(|placeholder| &placeholder.key) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    let (own, rows) = (own_rows(entity), entity.placeholders.len() + 1);
    let request = PageRequest::new(&entity.target, &columns, &[]).with_filter(own.as_ref()).with_limits(usize::MAX, rows);
    holds_others(entity, &snapshot.read_page(&request).await?)
}

/// The condition that tells an entity's rows from those of other entities of its table; `None` if it has the table for itself.
pub(super) fn own_rows(entity: &EntityPlan) -> Option<Filter> {
    let mut parameters = BTreeMap::new();
    let mut conditions = Vec::new();
    for (place, name) in entity.apart.iter().enumerate() {
        let constant = entity.columns.iter().find(|c| &c.target == name)?.constant.as_ref()?;
        let parameter = match constant {
            Value::Bool(value) => Parameter::Bool(*value),
            Value::Int(value) => Parameter::Int(*value),
            Value::Text(value) => Parameter::Text(value.to_string()),
            _ => return None,
        };
        parameters.insert(format!("own{place}"), parameter);
        conditions.push(format!("\"{}\" = :own{place}", name.replace('"', "\"\"")));
    }
    if conditions.is_empty() { None } else { Filter::parse(&conditions.join(" AND "), &parameters).ok() }
}
