//! What a database is made of: tables, columns, keys, references.

mod column;
mod constraint;
mod name;
mod table;

pub use column::{ColumnSchema, Generated, Identity, Numbering};
pub use constraint::{Check, ForeignKey, ForeignKeyAction, Index, IndexPart, Trigger, UniqueKey};
pub use name::TableName;
pub use table::{Computed, DatabaseSchema, TableKind, TableSchema, TypeKind, TypeSchema};
