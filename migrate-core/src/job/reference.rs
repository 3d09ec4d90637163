//! References that the databases do not declare.

use super::orphans::OrphanPolicy;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A reference from an entity to another, or to itself, that holds whether or not a database declares it.
///
/// ```
/// use migrate_core::filter::Parameter;
/// use migrate_core::job::{Entity, Reference};
///
/// let post = Entity::new("posts")
///     .with_reference(Reference::new(["event_xmlid"], "events").with_key(["xmlid"]))
///     // One for each entity that `about_type` can name.
///     .with_reference(Reference::new(["about_id"], "users").with_condition("about_type", Parameter::Text("user".into())));
/// assert_eq!(post.references.len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with at least columns and an entity")]
#[non_exhaustive]
pub struct Reference {
    /// The source's columns that refer. Rows in which one of them is NULL refer to nothing.
    pub columns: Vec<String>,
    /// The entity that is referred to.
    pub entity: String,
    /// The source's columns that are referred to; the other entity's key if not said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Which rows refer to this entity: those whose columns hold these values. All if not said.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Parameter>,
    /// What happens to rows whose parent is nowhere; what the entity or the job says if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<OrphanPolicy>,
    /// When it is bound; what the planner finds if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<Bind>,
}

/// When a reference is bound, where the job says so instead of the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bind {
    /// Parents load first.
    Order,
    /// NULL is written where the parent is not there yet, and the value once all rows are.
    Late,
    /// All new rows of its cycle are inserted at once.
    Together,
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bind::Order => "order",
            Bind::Late => "late",
            Bind::Together => "together",
        })
    }
}

impl Reference {
    /// Creates a reference to another entity's key.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>, entity: impl Into<String>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Reference { columns, entity: entity.into(), ..Reference::default() }
    }

    /// Says which of the other entity's columns are referred to.
    #[must_use]
    pub fn with_key(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Limits the reference to rows whose column holds a value.
    #[must_use]
    pub fn with_condition(mut self, column: impl Into<String>, value: Parameter) -> Self {
        self.when.insert(column.into(), value);
        self
    }

    /// Says what happens to rows whose parent is nowhere.
    #[must_use]
    pub fn with_orphans(mut self, policy: OrphanPolicy) -> Self {
        self.orphans = Some(policy);
        self
    }

    /// Says when it is bound.
    #[must_use]
    pub fn with_bind(mut self, bind: Bind) -> Self {
        self.bind = Some(bind);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, message).with("field", "references"));
        if self.columns.is_empty() {
            return wrong("a reference names no columns".to_owned());
        }
        if !self.key.is_empty() && self.key.len() != self.columns.len() {
            let (columns, key) = (self.columns.join(", "), self.key.join(", "));
            return wrong(format!("the reference ({columns}) cannot refer to ({key}): their numbers of columns differ"));
        }
        Ok(())
    }
}
