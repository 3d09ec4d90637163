//! What a job moves: entities and their columns.

use super::cursor::CursorColumn;
use super::orphans::OrphanPolicy;
use super::reference::Reference;
use super::sync::DriftPolicy;
use super::transform::Transform;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a job moves.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Entities {
    /// Every table of the source.
    #[default]
    All,
    /// These.
    List(Vec<Entity>),
}

impl Serialize for Entities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Entities::All => serializer.serialize_str("*"),
            Entities::List(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Entities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"*\" or a list of entities, such as [[jobs.NAME.entities]]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "*" { Ok(Entities::All) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Entities::List)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Entities {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Entities".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let entity = generator.subschema_for::<Entity>();
        schemars::json_schema!({
            "description": "\"*\" for every table of the source, or a list.",
            "anyOf": [{ "const": "*" }, { "type": "array", "minItems": 1, "items": entity }]
        })
    }
}

/// One thing that a job moves: a source table or view and the target table it feeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with at least a source")]
#[non_exhaustive]
pub struct Entity {
    /// What `--entity` takes; the source's name if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The source's table or view, with its schema where needed.
    pub source: String,
    /// The target's table, with its schema where needed; the source's name if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The source's columns that identify a row; the primary key if not said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// The source's columns that say which parent a row belongs to, such as `order_id`, where rows have no key of their own: whenever the rows
    /// of a parent are others than the target's, those go and the source's come in their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace_per: Vec<String>,
    /// The source's column whose values the target gives anew, such as `id`: it is not copied. What the target has given is kept there, and
    /// columns of other entities that refer to the source's values are written with those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<String>,
    /// What happens to columns on the way.
    #[serde(default, skip_serializing_if = "Columns::is_default")]
    pub columns: Columns,
    /// Which rows belong to the entity: a condition in the source's SQL, parameters written `:name`.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// References to other entities that the databases do not declare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What happens to rows whose parent is nowhere, whichever reference names it; what the job says if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<OrphanPolicy>,
    /// The row of the target's table that stands in for parents which are nowhere, where rows that refer to them say `orphans =
    /// "placeholder"`: values of its columns. The columns that are referred to are "setup", where they hold texts and nothing is said; others
    /// have their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placeholder: BTreeMap<String, Parameter>,
    /// What happens to values on the way, step by step; `columns` applies to what comes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transform: Vec<Transform>,
    /// What happens when the source's columns have changed since the last finished run; what the job says if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftPolicy>,
    /// The column that tells which rows have changed, for the strategy "cursor"; what the job says if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<CursorColumn>,
}

impl Entity {
    /// Creates an entity that moves a table as it is.
    pub fn new(source: impl Into<String>) -> Self {
        Entity { source: source.into(), ..Entity::default() }
    }

    /// Returns the entity's name.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.source)
    }

    /// Names the entity.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names the target's table.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Says which of the source's columns identify a row.
    #[must_use]
    pub fn with_key(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Says which of the source's columns tell what parent a row belongs to; a parent's rows are replaced together.
    #[must_use]
    pub fn with_replace_per(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.replace_per = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Names the column that tells which rows have changed, for [`super::Strategy::Cursor`].
    #[must_use]
    pub fn with_cursor(mut self, cursor: CursorColumn) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Leaves the values of a source's column to the target, which gives new ones.
    #[must_use]
    pub fn with_generated(mut self, column: impl Into<String>) -> Self {
        self.generated.push(column.into());
        self
    }

    /// Calls a source's column something else in the target.
    #[must_use]
    pub fn with_rename(mut self, source: impl Into<String>, target: impl Into<String>) -> Self {
        self.columns.rename.insert(source.into(), target.into());
        self
    }

    /// Leaves a source's column out.
    #[must_use]
    pub fn with_exclude(mut self, column: impl Into<String>) -> Self {
        self.columns.exclude.push(column.into());
        self
    }

    /// Writes a constant to a target's column.
    #[must_use]
    pub fn with_set(mut self, column: impl Into<String>, value: Parameter) -> Self {
        self.columns.set.insert(column.into(), value);
        self
    }

    /// Limits the entity to rows that meet a condition in the source's SQL, parameters written `:name`.
    #[must_use]
    pub fn with_filter(mut self, condition: impl Into<String>) -> Self {
        self.filter = Some(condition.into());
        self
    }

    /// Adds a reference that the databases do not declare; may be called again for more.
    #[must_use]
    pub fn with_reference(mut self, reference: Reference) -> Self {
        self.references.push(reference);
        self
    }

    /// Says what happens to rows whose parent is nowhere.
    #[must_use]
    pub fn with_orphans(mut self, policy: OrphanPolicy) -> Self {
        self.orphans = Some(policy);
        self
    }

    /// Gives a column of the entity's placeholder a value; see [`OrphanPolicy::Placeholder`].
    #[must_use]
    pub fn with_placeholder(mut self, column: impl Into<String>, value: Parameter) -> Self {
        self.placeholder.insert(column.into(), value);
        self
    }

    /// Adds a step of the transformation.
    #[must_use]
    pub fn with_transform(mut self, step: Transform) -> Self {
        self.transform.push(step);
        self
    }

    /// Says what happens when the source's columns have changed since the last finished run.
    #[must_use]
    pub fn with_drift(mut self, drift: DriftPolicy) -> Self {
        self.drift = Some(drift);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, message));
        self.references.iter().try_for_each(Reference::check)?;
        self.transform.iter().try_for_each(Transform::check)?;
        if self.source.is_empty() || self.target.as_deref() == Some("") || self.name.as_deref() == Some("") {
            return wrong("name, source and target must not be empty".to_owned());
        }
        let mut key = BTreeSet::new();
        if let Some(column) = self.key.iter().find(|column| !key.insert(*column)) {
            return wrong(format!("the key names the column \"{column}\" twice"));
        }
        let mut parent = BTreeSet::new();
        if let Some(column) = self.replace_per.iter().find(|column| !parent.insert(*column)) {
            return wrong(format!("replace_per names the column \"{column}\" twice"));
        }
        for (field, given) in [("key", !self.key.is_empty()), ("generated", !self.generated.is_empty())] {
            if given && !self.replace_per.is_empty() {
                return wrong(format!(
                    "an entity has replace_per or {field}, not both: rows that are replaced together have no key of their own; leave an id \
                     that is not to be copied out with columns.exclude"
                ));
            }
        }
        for column in &self.columns.exclude {
            if self.replace_per.contains(column) {
                return wrong(format!("the column \"{column}\" is part of replace_per and cannot be excluded"));
            }
            if self.columns.rename.contains_key(column) {
                return wrong(format!("the column \"{column}\" is both renamed and excluded"));
            }
            if self.key.contains(column) {
                return wrong(format!("the column \"{column}\" is part of the key and cannot be excluded"));
            }
        }
        if let [_, second, ..] = &self.generated[..] {
            return wrong(format!("generated names one column only, and \"{second}\" is another one"));
        }
        if let Some(column) = self.generated.iter().find(|column| self.columns.exclude.contains(column)) {
            return wrong(format!("the column \"{column}\" is both generated and excluded; generated is enough"));
        }
        if let Some(column) = self.generated.iter().find(|column| self.key.contains(column) && self.key.len() > 1) {
            return wrong(format!(
                "the column \"{column}\" is generated and only a part of the key; give a key without it, or it alone"
            ));
        }
        let mut targets = BTreeSet::new();
        if let Some(column) = self.columns.rename.values().chain(self.columns.set.keys()).find(|column| !targets.insert(*column))
        {
            return wrong(format!("the target's column \"{column}\" is written twice by columns.rename and columns.set"));
        }
        Ok(())
    }
}

/// What happens to columns on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table of rename, exclude and set")]
#[non_exhaustive]
pub struct Columns {
    /// Source's column to target's column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Source's columns that are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Target's columns that get a constant.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Parameter>,
}

impl Columns {
    fn is_default(&self) -> bool {
        self == &Columns::default()
    }
}
