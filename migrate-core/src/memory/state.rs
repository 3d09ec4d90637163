//! What the target remembers, in memory.

use super::database::MemoryDatabase;
use super::faults::Call;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{
    BlockHead, Checkpoint, Feeds, Fence, FenceOwner, GoneRow, KeyMapChanges, QuarantinedRow, Scope, StateChanges, StoredBlock,
    TargetState, UnfinishedTable, commit_lost,
};
use crate::value::Key;
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};

/// The state tables.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    initialized: bool,
    fences: BTreeMap<String, (u64, Option<FenceOwner>)>,
    checkpoints: HashMap<Scope, Checkpoint>,
    ledger: HashMap<Scope, BTreeMap<i64, StoredBlock>>,
    /// The source's digests of blocks.
    digests: HashMap<Scope, HashMap<i64, Vec<u8>>>,
    /// Oldest first.
    quarantine: Vec<QuarantinedRow>,
    unfinished: BTreeMap<String, Vec<UnfinishedTable>>,
    gone: BTreeMap<i64, (Scope, GoneRow)>,
    next_gone: i64,
    /// By job and entity.
    key_maps: HashMap<(String, String), BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl State {
    /// Checks that a fence still holds.
    pub(super) fn check(&self, fence: &Fence) -> Result<()> {
        match self.fences.get(&fence.job) {
            Some((epoch, _)) if *epoch == fence.epoch => Ok(()),
            _ => Err(Error::new(ErrorKind::Fenced, "another process has taken over").with("job", &fence.job)),
        }
    }

    pub(super) fn apply(&mut self, changes: &StateChanges) -> Result<()> {
        let Some(scope) = &changes.scope else { return Ok(()) };
        self.expect_initialized()?;
        let blocks = self.ledger.entry(scope.clone()).or_default();
        let digests = self.digests.entry(scope.clone()).or_default();
        if changes.reset_ledger {
            blocks.clear();
            self.checkpoints.remove(scope);
            self.quarantine.retain(|row| &row.scope != scope);
            self.gone.retain(|_, (of, _)| of != scope);
        }
        for ordinal in &changes.removed_blocks {
            blocks.remove(ordinal);
        }
        digests.retain(|ordinal, _| blocks.contains_key(ordinal) && changes.blocks.iter().all(|block| block.ordinal != *ordinal));
        blocks.extend(changes.blocks.iter().map(|block| (block.ordinal, block.clone())));
        digests.extend(changes.source_digests.iter().filter(|(ordinal, _)| blocks.contains_key(ordinal)).cloned());
        self.quarantine.retain(|row| &row.scope != scope || !changes.released.contains(&row.key));
        for row in &changes.quarantine {
            // A table without a key has no earlier row to replace.
            self.quarantine.retain(|old| row.key.is_empty() || old.scope != row.scope || old.key != row.key);
            self.quarantine.push(row.clone());
        }
        for id in &changes.gone_settled {
            self.gone.remove(id);
        }
        for row in &changes.gone {
            self.gone.insert(self.next_gone, (scope.clone(), row.clone()));
            self.next_gone += 1;
        }
        if !changes.key_map.is_empty() {
            let own = (scope.job.clone(), scope.entity.clone());
            change_map(self.key_maps.entry(own).or_default(), &changes.key_map);
        }
        let before = self.checkpoints.get(scope).map(|checkpoint| checkpoint.sequence);
        if changes.follows.is_some_and(|least| before.is_none_or(|before| before < least)) {
            return Err(commit_lost(scope));
        }
        if let Some(checkpoint) = &changes.checkpoint {
            self.checkpoints.insert(scope.clone(), checkpoint.clone());
        }
        Ok(())
    }

    pub(super) fn begin_table(&mut self, job: &str, table: UnfinishedTable) {
        self.unfinished.entry(job.to_owned()).or_default().push(table);
    }

    pub(super) fn end_table(&mut self, job: &str, table: &crate::schema::TableName) {
        if let Some(tables) = self.unfinished.get_mut(job) {
            tables.retain(|t| &t.name != table);
        }
    }

    fn expect_initialized(&self) -> Result<()> {
        if self.initialized { Ok(()) } else { Err(Error::new(ErrorKind::NotFound, "the state tables do not exist")) }
    }
}

fn change_map(map: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: &KeyMapChanges) {
    if changes.reset {
        map.clear();
    }
    for source in &changes.gone {
        map.remove(source.as_bytes());
    }
    map.retain(|_, target| !changes.gone_targets.iter().any(|gone| gone.as_bytes() == target));
    map.retain(|_, target| !changes.entries.iter().any(|(_, taken)| taken.as_bytes() == target));
    map.extend(changes.entries.iter().map(|(source, target)| (source.as_bytes().to_vec(), target.as_bytes().to_vec())));
}

/// The state of a [`MemoryDatabase`].
#[derive(Debug, Clone)]
pub struct MemoryState {
    database: MemoryDatabase,
}

impl MemoryState {
    pub(super) fn new(database: MemoryDatabase) -> Self {
        MemoryState { database }
    }
}

#[async_trait]
impl TargetState for MemoryState {
    async fn exists(&self) -> Result<bool> {
        Ok(self.database.lock().state.initialized)
    }

    async fn initialize(&self) -> Result<()> {
        self.database.lock().state.initialized = true;
        Ok(())
    }

    fn initialize_sql(&self, _writer: Option<&str>) -> String {
        String::new()
    }

    async fn acquire(&self, job: &str, owner: &FenceOwner) -> Result<Fence> {
        self.database.faults().hit(Call::Acquire)?;
        let mut data = self.database.lock();
        data.state.expect_initialized()?;
        let (epoch, holder) = data.state.fences.entry(job.to_owned()).or_default();
        *epoch += 1;
        *holder = Some(owner.clone());
        Ok(Fence { job: job.to_owned(), epoch: *epoch })
    }

    async fn holder(&self, job: &str) -> Result<Option<FenceOwner>> {
        Ok(self.database.lock().state.fences.get(job).and_then(|(_, owner)| owner.clone()))
    }

    async fn release(&self, fence: &Fence) -> Result<()> {
        let mut data = self.database.lock();
        if let Some((epoch, owner)) = data.state.fences.get_mut(&fence.job)
            && *epoch == fence.epoch
        {
            *owner = None;
        }
        Ok(())
    }

    async fn settle(&self, fence: &Fence) -> Result<()> {
        self.database.faults().hit(Call::Settle)?;
        // A commit here is one step under the lock, so nothing is ever in progress.
        self.database.lock().state.check(fence)
    }

    async fn checkpoints(&self, job: &str, entity: &str) -> Result<Vec<(u32, Checkpoint)>> {
        self.database.faults().hit(Call::Checkpoints)?;
        let data = self.database.lock();
        let of_entity = data.state.checkpoints.iter().filter(|(scope, _)| scope.job == job && scope.entity == entity);
        let mut found: Vec<_> = of_entity.map(|(scope, checkpoint)| (scope.partition, checkpoint.clone())).collect();
        found.sort_by_key(|(partition, _)| *partition);
        Ok(found)
    }

    async fn neighbours(&self, job: &str) -> Result<Vec<(Scope, Feeds)>> {
        let data = self.database.lock();
        let others = data.state.checkpoints.iter().filter(|(scope, _)| scope.job != job);
        Ok(others.filter_map(|(scope, checkpoint)| Some((scope.clone(), checkpoint.feeds.clone()?))).collect())
    }

    async fn ledger_blocks(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<StoredBlock>> {
        self.database.faults().hit(Call::LedgerBlocks)?;
        let data = self.database.lock();
        let blocks = data.state.ledger.get(scope).into_iter().flatten();
        let later = blocks.filter(|(ordinal, _)| after.is_none_or(|after| **ordinal > after));
        Ok(later.take(limit).map(|(_, block)| block.clone()).collect())
    }

    async fn ledger_heads(&self, scope: &Scope, after: Option<i64>, limit: usize) -> Result<Vec<BlockHead>> {
        self.database.faults().hit(Call::LedgerBlocks)?;
        let data = self.database.lock();
        let digests = data.state.digests.get(scope);
        let blocks = data.state.ledger.get(scope).into_iter().flatten();
        let later = blocks.filter(|(ordinal, _)| after.is_none_or(|after| **ordinal > after));
        let head = |(ordinal, block): (&i64, &StoredBlock)| BlockHead {
            ordinal: *ordinal,
            row_count: block.row_count,
            last_key: block.last_key.clone(),
            execution: block.execution.clone(),
            source_digest: digests.and_then(|digests| digests.get(ordinal).cloned()),
        };
        Ok(later.take(limit).map(head).collect())
    }

    async fn quarantine(&self, job: &str, entity: Option<&str>, limit: usize) -> Result<Vec<QuarantinedRow>> {
        let data = self.database.lock();
        let newest_first = data.state.quarantine.iter().rev();
        let wanted = newest_first.filter(|row| row.scope.job == job && entity.is_none_or(|e| row.scope.entity == e));
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn quarantined_keys(&self, scope: &Scope, limit: usize) -> Result<Vec<Vec<u8>>> {
        let data = self.database.lock();
        let wanted = data.state.quarantine.iter().filter(|row| &row.scope == scope);
        Ok(wanted.take(limit).map(|row| row.key.clone()).collect())
    }

    async fn gone_rows(&self, scope: &Scope, before: Option<i64>, limit: usize) -> Result<Vec<(i64, GoneRow)>> {
        let data = self.database.lock();
        let newest_first = data.state.gone.range(..before.unwrap_or(i64::MAX)).rev();
        let own = newest_first.filter(|(_, (of, _))| of == scope);
        Ok(own.take(limit).map(|(id, (_, row))| (*id, row.clone())).collect())
    }

    async fn mapped(&self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        let data = self.database.lock();
        let Some(map) = data.state.key_maps.get(&(job.to_owned(), entity.to_owned())) else { return Ok(HashMap::new()) };
        let found = sources.iter().filter_map(|source| Some((source.clone(), Key::from_bytes(map.get(source.as_bytes())?))));
        Ok(found.collect())
    }

    async fn mapped_back(&self, job: &str, entity: &str, targets: &[Key]) -> Result<HashMap<Key, Key>> {
        let data = self.database.lock();
        let Some(map) = data.state.key_maps.get(&(job.to_owned(), entity.to_owned())) else { return Ok(HashMap::new()) };
        let pairs = map.iter().map(|(source, target)| (Key::from_bytes(target), Key::from_bytes(source)));
        Ok(pairs.filter(|(target, _)| targets.contains(target)).collect())
    }

    async fn unfinished_tables(&self, job: &str) -> Result<Vec<UnfinishedTable>> {
        Ok(self.database.lock().state.unfinished.get(job).cloned().unwrap_or_default())
    }
}
