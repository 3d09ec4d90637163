//! Names of tables.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A table's name, with its schema where the engine has schemas.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema; `None` on engines without schemas.
    pub schema: Option<String>,
    /// The table's own name.
    pub name: String,
}

impl TableName {
    /// Creates a name in a schema.
    pub fn new(schema: Option<&str>, name: impl Into<String>) -> Self {
        TableName { schema: schema.map(str::to_owned), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
