//! Transformations in code.

use crate::error::Result;
use crate::schema::TableSchema;
use crate::value::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why a row was refused; it is quarantined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The column at fault.
    pub column: String,
    /// Why; it may be logged, and must not hold a value.
    pub reason: String,
}

/// Changes an entity's rows on their way, before the steps that the job names.
///
/// ```
/// use migrate_core::schema::TableSchema;
/// use migrate_core::transform::{Refused, Transformer};
/// use migrate_core::value::{Value, text};
///
/// /// Turns each row's second column around.
/// #[derive(Debug)]
/// struct Backwards;
///
/// impl Transformer for Backwards {
///     fn table(&self, source: &TableSchema) -> migrate_core::Result<TableSchema> {
///         Ok(source.clone())
///     }
///
///     fn apply<'v>(&self, mut row: Vec<Value<'v>>) -> Result<Vec<Value<'v>>, Refused> {
///         let backwards: String = text::to_text(&row[1]).chars().rev().collect();
///         row[1] = Value::Text(backwards.into());
///         Ok(row)
///     }
///
///     fn version(&self) -> String {
///         "backwards 1".to_owned()
///     }
/// }
/// ```
pub trait Transformer: fmt::Debug + Send + Sync {
    /// Returns the table that rows seem to come from afterwards. The columns of the key must be in it, as they are at the source.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] if the source's table does not fit.
    fn table(&self, source: &TableSchema) -> Result<TableSchema>;

    /// Turns a row of the source's columns, in their order, into one of [`Transformer::table`]'s. The same row must always give the same.
    ///
    /// # Errors
    /// What refuses the row.
    fn apply<'v>(&self, row: Vec<Value<'v>>) -> std::result::Result<Vec<Value<'v>>, Refused>;

    /// Names what it does: where this differs from an earlier run's, all rows are compared anew.
    fn version(&self) -> String;
}

/// Transformations in code by the names of their entities.
pub type Transformers = BTreeMap<String, Arc<dyn Transformer>>;
