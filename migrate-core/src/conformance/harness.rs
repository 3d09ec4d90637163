//! What an adapter's author brings along: databases that can be written and read without the adapter.

use crate::error::Result;
use crate::schema::{TableName, TableSchema};
use crate::sink::Sink;
use crate::source::Source;
use crate::value::Row;
use async_trait::async_trait;
use std::sync::Arc;

/// Something that an adapter may lack; cases that need it are then left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Rows can be read: [`TestDatabase::source`] gives one.
    Source,
    /// Rows can be written: [`TestDatabase::sink`] gives one.
    Sink,
    /// Several readers share one snapshot.
    Forks,
    /// Filters are evaluated.
    Filters,
    /// Columns are made by expressions in SQL: [`crate::Source::describe`].
    Expressions,
    /// The source knows which rows have changed: [`crate::Snapshot::survey`].
    Changes,
    /// The source computes digests of its rows: [`crate::Snapshot::digest`].
    Digests,
    /// There are tables without a key.
    TablesWithoutKey,
    /// Rows can be deleted by what they hold: [`crate::Sink::can_choose`].
    Choice,
    /// References are enforced.
    ForeignKeys,
    /// Ids are drawn ahead of their rows: [`crate::SinkTransaction::reserve`].
    NewIds,
    /// Rows that refer to one another are inserted and deleted at once: [`crate::sink::SinkCapabilities::together`].
    Together,
    /// Several transactions write at once.
    ConcurrentWriters,
    /// A run can be made of which nothing stays: [`crate::Sink::rehearse`].
    Rehearsals,
}

/// An adapter under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Returns why the adapter does not have a feature; `None` if it does, as by default for all.
    fn lacks(&self, _feature: Feature) -> Option<String> {
        None
    }

    /// Makes a fresh, empty database that nobody else uses.
    async fn database(&self) -> Result<Box<dyn TestDatabase>>;
}

/// A database of one case, with ways in and out that do not go through the adapter. Dropping it removes the database.
#[async_trait]
pub trait TestDatabase: Send + Sync {
    /// Returns the adapter's source on this database. Asked for only where [`Feature::Source`] is not lacking.
    async fn source(&self) -> Result<Arc<dyn Source>>;

    /// Returns the adapter's sink on this database, with connections of its own each time: two sinks act as two processes.
    /// Asked for only where [`Feature::Sink`] is not lacking.
    async fn sink(&self) -> Result<Arc<dyn Sink>>;

    /// Creates a table from the name, columns (type, NULL or not), keys and references of a description, without the adapter.
    /// A column with an [identity](crate::schema::ColumnSchema::identity), which is an integer and the key, is numbered by the database
    /// where no value is given. Defaults, checks and the like are never asked for.
    async fn create_table(&self, table: &TableSchema) -> Result<()>;

    /// Adds rows to a table made by [`TestDatabase::create_table`] without the adapter; cells in the order of its columns.
    async fn insert(&self, table: &TableSchema, rows: &[Row]) -> Result<()>;

    /// Deletes all rows of a table without the adapter.
    async fn delete_all(&self, table: &TableName) -> Result<()>;

    /// Reads all rows of a table made by [`TestDatabase::create_table`] without the adapter, in any order; cells in the order of its
    /// columns and of their types.
    async fn rows(&self, table: &TableSchema) -> Result<Vec<Row>>;
}
