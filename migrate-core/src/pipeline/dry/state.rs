//! What the target remembers, with a dry run's changes laid over it.

use crate::error::{ErrorKind, Result};
use crate::state::{
    BlockHead, Checkpoint, Feeds, Fence, FenceOwner, GoneRow, KeyMapChanges, QuarantinedRow, Scope, StateChanges, StoredBlock,
    TargetState, UnfinishedTable,
};
use crate::value::Key;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Numbers of gone rows that only this dry run knows begin here, above all that a target gives.
const OWN_GONE: i64 = 1 << 62;

#[derive(Debug)]
pub(super) struct DryState {
    inner: Arc<dyn TargetState>,
    /// Whether the target has state tables at all.
    exists: bool,
    changes: Mutex<Overlay>,
}

#[derive(Debug, Default)]
struct Overlay {
    checkpoints: HashMap<Scope, Checkpoint>,
    gone: BTreeMap<i64, (Scope, GoneRow)>,
    settled: HashSet<i64>,
    reset: HashSet<Scope>,
    /// Blocks that another entity's walk would have taken rows out of; `None` where none is left.
    blocks: HashMap<Scope, HashMap<i64, Option<StoredBlock>>>,
    /// By entity: what a run would have put into its key map. An id that the target would give is one that it has not.
    key_maps: HashMap<String, DryKeyMap>,
}

#[derive(Debug, Default, Clone)]
struct DryKeyMap {
    /// Whether what the target has of it counts no more.
    reset: bool,
    targets: HashMap<Key, Key>,
    /// Ids of the source, and of the target, that would be gone.
    gone: HashSet<Key>,
    gone_targets: HashSet<Key>,
}

impl DryKeyMap {
    fn apply(&mut self, changes: &KeyMapChanges) {
        if changes.reset {
            *self = DryKeyMap { reset: true, ..DryKeyMap::default() };
        }
        self.gone.extend(changes.gone.iter().cloned());
        changes.gone.iter().for_each(|source| drop(self.targets.remove(source)));
        // Whoever had the target's id before has it no more.
        let taken = || changes.gone_targets.iter().chain(changes.entries.iter().map(|(_, target)| target));
        self.gone_targets.extend(taken().cloned());
        let taken: HashSet<&Key> = taken().collect();
        self.targets.retain(|_, target| !taken.contains(target));
        self.targets.extend(changes.entries.iter().cloned());
    }
}

/// What is remembered of one entity.
#[derive(Debug)]
pub(super) struct OfEntity {
    checkpoints: HashMap<Scope, Checkpoint>,
    gone: BTreeMap<i64, (Scope, GoneRow)>,
    reset: HashSet<Scope>,
    key_map: Option<DryKeyMap>,
}

impl DryState {
    /// Returns what is remembered of an entity by now.
    pub(super) fn of(&self, job: &str, entity: &str) -> OfEntity {
        let overlay = self.lock();
        let own = |scope: &&Scope| scope.job == job && scope.entity == entity;
        OfEntity {
            checkpoints: overlay.checkpoints.iter().filter(|(s, _)| own(s)).map(|(s, c)| (s.clone(), c.clone())).collect(),
            gone: overlay.gone.iter().filter(|(_, (s, _))| own(&s)).map(|(id, gone)| (*id, gone.clone())).collect(),
            reset: overlay.reset.iter().filter(own).cloned().collect(),
            key_map: overlay.key_maps.get(entity).cloned(),
        }
    }

    /// Forgets what was remembered of an entity since.
    pub(super) fn back_to(&self, job: &str, entity: &str, before: OfEntity) {
        let mut overlay = self.lock();
        let others = |scope: &Scope| scope.job != job || scope.entity != entity;
        overlay.checkpoints.retain(|scope, _| others(scope));
        overlay.checkpoints.extend(before.checkpoints);
        overlay.gone.retain(|_, (scope, _)| others(scope));
        overlay.gone.extend(before.gone);
        overlay.reset.retain(others);
        overlay.reset.extend(before.reset);
        match before.key_map {
            Some(map) => drop(overlay.key_maps.insert(entity.to_owned(), map)),
            None => drop(overlay.key_maps.remove(entity)),
        }
    }

    pub(super) async fn over(inner: Arc<dyn TargetState>) -> Result<Self> {
        let exists = inner.exists().await?;
        Ok(DryState { inner, exists, changes: Mutex::default() })
    }

    /// Shows each id of the source that a run would give one of the target's, with that one.
    pub(super) fn each_mapped(&self, entity: &str, mut show: impl FnMut(&Key, &Key)) {
        let overlay = self.lock();
        overlay.key_maps.get(entity).into_iter().flat_map(|map| &map.targets).for_each(|(source, target)| show(source, target));
    }

    fn lock(&self) -> MutexGuard<'_, Overlay> {
        // Every change is whole: after a panic elsewhere what is here can still be read.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a commit would have. The ledgers stay as they are, but for rows that are taken out of another entity's.
    pub(super) fn apply(&self, changes: &StateChanges) {
        let Some(scope) = &changes.scope else { return };
        let mut overlay = self.lock();
        if changes.reset_ledger {
            overlay.reset.insert(scope.clone());
            overlay.checkpoints.remove(scope);
        }
        overlay.settled.extend(&changes.gone_settled);
        if takes_rows_out(changes) {
            let blocks = overlay.blocks.entry(scope.clone()).or_default();
            blocks.extend(changes.removed_blocks.iter().map(|ordinal| (*ordinal, None)));
            blocks.extend(changes.blocks.iter().map(|block| (block.ordinal, Some(block.clone()))));
        }
        for row in &changes.gone {
            // Those before may have been forgotten: their number says nothing.
            let number = overlay.gone.last_key_value().map_or(OWN_GONE, |(last, _)| last + 1);
            overlay.gone.insert(number, (scope.clone(), row.clone()));
        }
        if !changes.key_map.is_empty() {
            overlay.key_maps.entry(scope.entity.clone()).or_default().apply(&changes.key_map);
        }
        if let Some(checkpoint) = &changes.checkpoint {
            overlay.checkpoints.insert(scope.clone(), checkpoint.clone());
        }
    }
}

#[async_trait]
impl TargetState for DryState {
    async fn exists(&self) -> Result<bool> {
        Ok(self.exists)
    }

    async fn initialize(&self) -> Result<()> {
        Ok(())
    }

    fn initialize_sql(&self, writer: Option<&str>) -> String {
        self.inner.initialize_sql(writer)
    }

    async fn acquire(&self, job: &str, _owner: &FenceOwner) -> Result<Fence> {
        Ok(Fence { job: job.to_owned(), epoch: 0 })
    }

    async fn holder(&self, job: &str) -> Result<Option<FenceOwner>> {
        if self.exists { self.inner.holder(job).await } else { Ok(None) }
    }

    async fn release(&self, _fence: &Fence) -> Result<()> {
        Ok(())
    }

    async fn settle(&self, _fence: &Fence) -> Result<()> {
        Ok(())
    }

    async fn neighbours(&self, job: &str) -> Result<Vec<(Scope, Feeds)>> {
        if self.exists { self.inner.neighbours(job).await } else { Ok(Vec::new()) }
    }

    async fn checkpoints(&self, job: &str, entity: &str) -> Result<Vec<(u32, Checkpoint)>> {
        let mut found: BTreeMap<u32, Checkpoint> = BTreeMap::new();
        if self.exists {
            found.extend(self.inner.checkpoints(job, entity).await?);
        }
        let overlay = self.lock();
        let reset = |part| overlay.reset.iter().any(|s| s.job == job && s.entity == entity && s.partition == part);
        found.retain(|part, _| !reset(*part));
        for (scope, checkpoint) in overlay.checkpoints.iter().filter(|(s, _)| s.job == job && s.entity == entity) {
            found.insert(scope.partition, checkpoint.clone());
        }
        Ok(found.into_iter().collect())
    }

    async fn ledger_blocks(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<StoredBlock>> {
        if !self.exists || self.lock().reset.contains(scope) {
            return Ok(Vec::new());
        }
        let mut after = after;
        loop {
            let mut blocks = self.inner.ledger_blocks(scope, after, limit).await?;
            let Some(last) = blocks.last().map(|block| block.ordinal) else { return Ok(blocks) };
            if let Some(changed) = self.lock().blocks.get(scope) {
                let now = |block: StoredBlock| changed.get(&block.ordinal).cloned().unwrap_or(Some(block));
                blocks = blocks.into_iter().filter_map(now).collect();
            }
            if !blocks.is_empty() {
                return Ok(blocks);
            }
            after = Some(last);
        }
    }

    async fn ledger_heads(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<BlockHead>> {
        if !self.exists || self.lock().reset.contains(scope) {
            return Ok(Vec::new());
        }
        self.inner.ledger_heads(scope, after, limit).await
    }

    async fn quarantine(&self, job: &str, entity: Option<&str>, limit: usize) -> Result<Vec<QuarantinedRow>> {
        if self.exists { self.inner.quarantine(job, entity, limit).await } else { Ok(Vec::new()) }
    }

    async fn quarantined_keys(&self, scope: &Scope, limit: usize) -> Result<Vec<Vec<u8>>> {
        if self.exists { self.inner.quarantined_keys(scope, limit).await } else { Ok(Vec::new()) }
    }

    async fn gone_rows(&self, scope: &Scope, before: Option<i64>, limit: usize) -> Result<Vec<(i64, GoneRow)>> {
        let (mut found, reset) = {
            let overlay = self.lock();
            let own = overlay.gone.range(..before.unwrap_or(i64::MAX)).rev();
            let own = own.filter(|(id, (of, _))| of == scope && !overlay.settled.contains(*id));
            let found: Vec<(i64, GoneRow)> = own.take(limit).map(|(id, (_, row))| (*id, row.clone())).collect();
            (found, overlay.reset.contains(scope))
        };
        // State tables of an older version have no such list; a run would add it, empty.
        if found.is_empty() && self.exists && !reset {
            let mut before = before.filter(|id| *id < OWN_GONE);
            // Pages whose rows are all settled are passed over.
            while found.is_empty() {
                let page = match self.inner.gone_rows(scope, before, limit).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => break,
                    other => other?,
                };
                let Some((last, _)) = page.last() else { break };
                before = Some(*last);
                let overlay = self.lock();
                found = page.into_iter().filter(|(id, _)| !overlay.settled.contains(id)).collect();
            }
        }
        Ok(found)
    }

    async fn mapped(&self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        let reset = self.lock().key_maps.get(entity).is_some_and(|map| map.reset);
        let mut found = match self.exists && !reset {
            true => match self.inner.mapped(job, entity, sources).await {
                // State tables of an older version have no key map; a run would add it, empty.
                Err(error) if error.kind() == ErrorKind::NotFound => HashMap::new(),
                other => other?,
            },
            false => HashMap::new(),
        };
        let overlay = self.lock();
        let Some(map) = overlay.key_maps.get(entity) else { return Ok(found) };
        found.retain(|source, target| !map.gone.contains(source) && !map.gone_targets.contains(target));
        found.extend(sources.iter().filter_map(|source| Some((source.clone(), map.targets.get(source)?.clone()))));
        Ok(found)
    }

    async fn mapped_back(&self, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>> {
        let reset = self.lock().key_maps.get(entity).is_some_and(|map| map.reset);
        let mut found = match self.exists && !reset {
            true => self.inner.mapped_back(job, entity, targets).await?,
            false => HashMap::new(),
        };
        let overlay = self.lock();
        let Some(map) = overlay.key_maps.get(entity) else { return Ok(found) };
        let stays = |source: &Key| !map.gone.contains(source) && !map.targets.contains_key(source);
        found.retain(|target, source| stays(source) && !map.gone_targets.contains(target));
        let wanted: HashSet<&Key> = targets.iter().collect();
        let own = map.targets.iter().filter(|(_, target)| wanted.contains(target));
        found.extend(own.map(|(source, target)| (target.clone(), source.clone())));
        Ok(found)
    }

    async fn unfinished_tables(&self, job: &str) -> Result<Vec<UnfinishedTable>> {
        if self.exists { self.inner.unfinished_tables(job).await } else { Ok(Vec::new()) }
    }
}

/// Whether changes take rows out of a ledger that is not the walk's own, and list them: its own walk is yet to read it.
pub(super) fn takes_rows_out(changes: &StateChanges) -> bool {
    changes.checkpoint.is_none() && !changes.gone.is_empty()
}
