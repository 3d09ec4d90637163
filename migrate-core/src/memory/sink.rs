//! The database as a target: creating tables, building their keys, opening transactions.

use super::database::MemoryDatabase;
use super::faults::Call;
use super::source::{MemorySource, schema_of};
use super::state::MemoryState;
use super::table::MemoryTable;
use super::transaction::{Drawn, MemoryTransaction};
use crate::error::Result;
use crate::schema::{DatabaseSchema, TableKind, TableSchema};
use crate::sink::{CreateRequest, OnStep, Rehearsal, SchemaPlan, Sink, SinkCapabilities, SinkTransaction, TablePlan};
use crate::source::Source;
use crate::state::{Fence, TargetState, UnfinishedTable};
use async_trait::async_trait;
use std::sync::Arc;

/// A [`MemoryDatabase`] as a sink.
#[derive(Debug, Clone)]
pub struct MemorySink {
    database: MemoryDatabase,
    writers: usize,
    drawn: Drawn,
}

impl MemorySink {
    pub(super) fn new(database: MemoryDatabase) -> Self {
        MemorySink { database, writers: 4, drawn: Drawn::default() }
    }

    /// Sets how many transactions may be open at once; 4 by default.
    #[must_use]
    pub fn with_writers(mut self, writers: usize) -> Self {
        self.writers = writers;
        self
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::with_writers(self.writers)
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.database.faults().hit(Call::Schema)?;
        Ok(schema_of(&self.database))
    }

    fn default_schema(&self) -> Option<String> {
        None
    }

    fn can_choose(&self, _table: &TableSchema) -> bool {
        true
    }

    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan> {
        let mut table = request.table.clone();
        table.name = request.name.clone();
        let mut notes = Vec::new();
        if request.engine != self.name() {
            translate(&mut table, &mut notes);
        }
        Ok(TablePlan { table, create: true, added: Vec::new(), notes })
    }

    async fn check_writable(&self, table: &TableSchema) -> Result<()> {
        self.database.lock().tables.get(&table.name).map(|_| ())
    }

    async fn check_creatable(&self) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.database.faults().hit(Call::Prepare)?;
        let mut data = self.database.lock();
        data.state.check(fence)?;
        for wanted in plan.tables.iter().filter(|t| t.create) {
            if !data.tables.contains(&wanted.table.name) {
                data.tables.add(MemoryTable::new(bare(&wanted.table))?);
                data.state.begin_table(&fence.job, UnfinishedTable { name: wanted.table.name.clone(), plan: wanted.clone() });
            }
        }
        for wanted in plan.tables.iter().filter(|t| !t.create) {
            for column in wanted.added_columns() {
                data.tables.get_mut(&wanted.table.name)?.add_column(column.clone());
            }
        }
        Ok(())
    }

    async fn build_keys(&self, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
        self.database.faults().hit(Call::BuildKeys)?;
        let mut data = self.database.lock();
        data.state.check(fence)?;
        for wanted in plan.tables.iter().filter(|t| t.create) {
            let table = data.tables.get_mut(&wanted.table.name)?;
            let mut schema = table.schema().clone();
            schema.primary_key = wanted.table.primary_key.clone();
            schema.unique_keys = wanted.table.unique_keys.clone();
            table.set_schema(schema)?;
        }
        Ok(())
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        self.database.faults().hit(Call::Begin)?;
        Ok(Box::new(MemoryTransaction::new(self.database.clone(), fence.clone(), self.drawn.clone())))
    }

    async fn finish(&self, plan: &SchemaPlan, fence: &Fence, progress: &OnStep<'_>) -> Result<()> {
        for wanted in plan.tables.iter().filter(|t| t.create) {
            let name = &wanted.table.name;
            progress(&format!("keys of {name}"));
            self.database.faults().hit(Call::Finish)?;
            let mut data = self.database.lock();
            data.state.check(fence)?;
            let mut keys = wanted.table.clone();
            keys.foreign_keys = data.tables.get(name)?.schema().foreign_keys.clone();
            data.tables.get_mut(name)?.set_schema(keys)?;
        }
        for wanted in plan.tables.iter().filter(|t| t.create) {
            let name = &wanted.table.name;
            progress(&format!("references of {name}"));
            self.database.faults().hit(Call::Finish)?;
            let mut data = self.database.lock();
            data.state.check(fence)?;
            for reference in &wanted.table.foreign_keys {
                data.tables.check_reference(data.tables.get(name)?, reference)?;
            }
            data.tables.get_mut(name)?.set_schema(wanted.table.clone())?;
            data.state.end_table(&fence.job, name);
        }
        Ok(())
    }

    fn state(&self) -> Arc<dyn TargetState> {
        Arc::new(MemoryState::new(self.database.clone()))
    }

    fn as_source(&self) -> Arc<dyn Source> {
        Arc::new(MemorySource::new(self.database.clone()))
    }

    async fn rehearse(&self) -> Result<Box<dyn Rehearsal>> {
        Ok(Box::new(MemoryRehearsal { copy: self.database.copied() }))
    }
}

/// A copy of the database, to be thrown away.
struct MemoryRehearsal {
    copy: MemoryDatabase,
}

#[async_trait]
impl Rehearsal for MemoryRehearsal {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(MemorySink::new(self.copy.clone()))
    }

    fn notes(&self) -> Vec<String> {
        vec!["it was written to a copy in memory".to_owned()]
    }

    async fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// A table without what is built after the load.
fn bare(table: &TableSchema) -> TableSchema {
    let mut bare = table.clone();
    bare.primary_key = None;
    bare.unique_keys.clear();
    bare.foreign_keys.clear();
    bare.indexes.clear();
    bare
}

/// Makes a table of another engine into one of this: portable types, and nothing that is an expression in SQL.
fn translate(table: &mut TableSchema, notes: &mut Vec<String>) {
    table.kind = TableKind::Table;
    for column in &mut table.columns {
        column.data_type = column.portable_type.clone();
        column.native_type = column.portable_type.to_string();
        if column.default.take().is_some() {
            notes.push(format!("column {}: its default is not carried over", column.name));
        }
        if column.generated.take().is_some() {
            notes.push(format!("column {}: becomes an ordinary column that holds the generated values", column.name));
        }
        if column.identity.take().is_some() {
            notes.push(format!("column {}: does not number itself", column.name));
        }
        if column.collation.take().is_some() {
            notes.push(format!("column {}: its collation is not carried over", column.name));
        }
    }
    for check in table.checks.drain(..) {
        notes.push(format!("check {}: is not carried over", check.name.as_deref().unwrap_or("without a name")));
    }
    let (kept, dropped) = std::mem::take(&mut table.indexes)
        .into_iter()
        .partition(|i| i.unique && i.predicate.is_none() && i.parts.iter().all(|p| p.column.is_some()));
    table.indexes = kept;
    notes.extend(Vec::into_iter(dropped).map(|i: crate::schema::Index| format!("index {}: is not carried over", i.name)));
    table.triggers.clear();
    table.options.clear();
    table.parents.clear();
    table.write_obstacles.clear();
}
