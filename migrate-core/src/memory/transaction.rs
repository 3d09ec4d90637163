//! Writing: changes are tried on a private copy and made again, in one step, by the commit.

use super::database::MemoryDatabase;
use super::faults::{Answer, Call};
use super::source;
use super::store::{Change, Effect, Tables};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{TableName, TableSchema};
use crate::sink::{Choose, Outcome, SinkTransaction, WriteMode, WriteRequest};
use crate::source::PageRequest;
use crate::state::{Fence, StateChanges};
use crate::value::{Key, Page, Row, Value};
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// The highest numbers that were drawn, by table and column: their rows may come by a later transaction.
pub(super) type Drawn = Arc<Mutex<HashMap<(TableName, String), i64>>>;

#[derive(Debug)]
pub(super) struct MemoryTransaction {
    database: MemoryDatabase,
    fence: Fence,
    view: Tables,
    changes: Vec<(Change, Effect)>,
    /// Rows given to the loads of each table so far: where the row of a later load is counted from.
    loaded: HashMap<TableName, u64>,
    drawn: Drawn,
    /// State that was put ahead of the commit, in order.
    state: Vec<StateChanges>,
    failed: bool,
}

impl MemoryTransaction {
    pub(super) fn new(database: MemoryDatabase, fence: Fence, drawn: Drawn) -> Self {
        let view = database.lock().tables.clone();
        MemoryTransaction {
            database,
            fence,
            view,
            changes: Vec::new(),
            loaded: HashMap::new(),
            drawn,
            state: Vec::new(),
            failed: false,
        }
    }

    fn make(&mut self, call: Call, change: impl FnOnce() -> Result<Change>) -> Result<Effect> {
        if self.failed {
            return Err(Error::new(ErrorKind::Internal, "a transaction was used after it had failed"));
        }
        // Stands until the change is made: whatever goes wrong, the transaction is over.
        self.failed = true;
        self.database.faults().hit(call)?;
        let change = change()?;
        let effect = self.view.apply(&change)?;
        self.changes.push((change, effect.clone()));
        self.failed = false;
        Ok(effect)
    }

    fn make_counted(&mut self, call: Call, change: impl FnOnce() -> Result<Change>) -> Result<u64> {
        match self.make(call, change)? {
            Effect::Count(count) => Ok(count),
            Effect::Rows(outcomes, _) => Ok(outcomes.len() as u64),
        }
    }
}

/// Copies the rows asked for out of their page.
fn rows_of(request: &WriteRequest<'_>) -> Result<Vec<Row>> {
    let place = |i: usize, e: Error| if e.kind() == ErrorKind::RowRejected { e.with_row(i as u64) } else { e };
    request
        .row_indexes()
        .enumerate()
        .map(|(i, row)| match request.page.row(row).values() {
            Ok(values) => Ok(values.into_iter().map(Value::into_owned).collect()),
            Err(error) => Err(place(i, error)),
        })
        .collect()
}

#[async_trait]
impl SinkTransaction for MemoryTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        let name = &request.table.name;
        let before = self.loaded.get(name).copied().unwrap_or(0);
        let load = request.mode == WriteMode::Load;
        let effect = self.make(Call::Write, || {
            Ok(Change::Write {
                table: name.clone(),
                key: request.key.to_vec(),
                columns: request.page.columns().iter().map(|c| c.name.clone()).collect(),
                rows: rows_of(&request)?,
                mode: request.mode,
            })
        });
        let effect = effect.map_err(|e| match e.row() {
            Some(row) if load => e.with_row(before + row),
            _ => e,
        })?;
        if load {
            self.loaded.insert(name.clone(), before + request.row_count() as u64);
        }
        match effect {
            Effect::Rows(outcomes, _) if !load => Ok(Some(outcomes)),
            _ => Ok(None),
        }
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        if self.failed {
            return Err(Error::new(ErrorKind::Internal, "a transaction was used after it had failed"));
        }
        source::rows_by_key(&self.view, request, keys)
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        let found = self.view.get(&table.name)?.find(key, keys)?;
        Ok(found.into_keys().cloned().collect())
    }

    async fn reserve(&mut self, table: &TableSchema, column: &str, count: usize) -> Result<Vec<Value<'static>>> {
        let stored = self.view.get(&table.name)?;
        let place = stored.places(&[column.to_owned()])?[0];
        if !stored.numbered().any(|numbered| numbered == place) {
            let message = "the table does not give this column's values";
            return Err(Error::new(ErrorKind::Unsupported, message).with("column", column).with("table", &table.name));
        }
        let highest = stored.highest(place);
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn = drawn.entry((table.name.clone(), column.to_owned())).or_default();
        let first = highest.max(*drawn) + 1;
        *drawn = first + count as i64 - 1;
        Ok((first..=*drawn).map(Value::Int).collect())
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        let change = || Ok(Change::Delete { table: table.name.clone(), key: key.to_vec(), keys: keys.to_vec() });
        self.make_counted(Call::Delete, change)
    }

    async fn delete_chosen(&mut self, request: &PageRequest<'_>, choose: &mut Choose<'_>) -> Result<u64> {
        let mut rows = Vec::new();
        for (page, numbered) in source::pages(&self.view, request)? {
            rows.extend(choose(&page)?.into_iter().filter_map(|place| numbered.get(place as usize).cloned()));
        }
        self.make_counted(Call::Delete, || Ok(Change::DeleteChosen { table: request.table.name.clone(), rows }))
    }

    async fn clear(&mut self, table: &TableSchema) -> Result<u64> {
        self.make_counted(Call::Clear, || Ok(Change::Clear { table: table.name.clone() }))
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Internal, "a transaction was used after it had failed"));
        }
        self.state.push(state);
        Ok(())
    }

    async fn commit(self: Box<Self>, state: &StateChanges) -> Result<()> {
        if self.failed {
            return Err(Error::new(ErrorKind::Internal, "a transaction was committed after it had failed"));
        }
        let answer = self.database.faults().hit(Call::Commit)?;
        let mut data = self.database.lock();
        let (mut tables, mut new_state) = (data.tables.clone(), data.state.clone());
        for (change, effect) in &self.changes {
            // What a concurrent transaction committed in between must not change what was answered.
            let again = tables.apply(change).map_err(|e| e.into_kind(ErrorKind::Conflict))?;
            if again != *effect {
                return Err(Error::new(ErrorKind::Conflict, "a concurrent transaction changed the same rows"));
            }
        }
        tables.check_deferred()?;
        self.state.iter().chain([state]).try_for_each(|state| new_state.apply(state))?;
        data.state.check(&self.fence)?;
        (data.tables, data.state) = (tables, new_state);
        data.version += 1;
        match answer {
            Answer::Give => Ok(()),
            Answer::Lose => Err(Error::new(ErrorKind::CommitUnknown, "the answer to the commit was lost")),
        }
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
