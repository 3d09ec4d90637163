//! A job: what is moved from where to where, and how.

use super::options::QuarantineLimit;
use super::reference::Reference;
use super::sync::{Deletes, DriftPolicy, LeftFilter, OnConflict, Strategy};
use super::transform::Transform;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// What is moved from where to where, and how; the same in a job file and in code.
///
/// ```
/// use migrate_core::job::{Entity, Job, Mode};
///
/// let job = Job::new("copy", "legacy", "warehouse")
///     .with_mode(Mode::Append)
///     .with_entity(Entity::new("Album").with_target("album").with_rename("Title", "title"));
/// job.validate()?;
/// # Ok::<(), migrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with at least a source and a target")]
#[non_exhaustive]
pub struct Job {
    /// The job's name: its key in the job file.
    #[serde(skip)]
    pub name: String,
    /// What the job is for, in the words of whoever wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The environment that rows are read from.
    pub source: String,
    /// The environment that rows are written to.
    pub target: String,
    /// What happens to rows that the target has already.
    #[serde(default)]
    pub mode: Mode,
    /// What is moved: `"*"` for every table, or a list.
    #[serde(default)]
    pub entities: Entities,
    /// Tables that `"*"` leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Schemas that `"*"` takes; all but the engine's own if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Values of the parameters that filters name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Parameter>,
    /// Bytes per page, after which no further row is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub page_bytes: Option<u64>,
    /// Bytes per target transaction, after which it commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub batch_bytes: Option<u64>,
    /// Rows per target transaction at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub batch_rows: Option<u64>,
    /// Entities, or parts of them, copied at the same time at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub parallel: Option<usize>,
    /// What happens to rows that the source has lost: "ignore" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deletes: Deletes,
    /// What happens to rows that the filter or a transform leaves out since: "keep" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub left_filter: LeftFilter,
    /// Who wins where both sides have changed a column, in mode "update": "report" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_conflict: OnConflict,
    /// How it is found out what has changed at the source: "auto" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: Strategy,
    /// After how many days every row is read and compared again, whatever the strategy; 7 if not said, 0 for every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub_days: Option<u32>,
    /// What happens when the source's columns have changed since the last finished run: "refuse" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drift: DriftPolicy,
    /// How many refused rows end an entity; 1,000 rows, or 1 % once 10,000 were read, if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_quarantined: Option<QuarantineLimit>,
}

impl Job {
    /// Creates a job that moves every table in mode `replace`.
    pub fn new(name: impl Into<String>, source: impl Into<String>, target: impl Into<String>) -> Self {
        Job { name: name.into(), source: source.into(), target: target.into(), ..Job::default() }
    }

    /// Sets the mode.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds an entity; the first one replaces `"*"`.
    #[must_use]
    pub fn with_entity(mut self, entity: Entity) -> Self {
        match &mut self.entities {
            Entities::List(list) => list.push(entity),
            Entities::All => self.entities = Entities::List(vec![entity]),
        }
        self
    }

    /// Leaves a table out of `"*"`.
    #[must_use]
    pub fn with_exclude(mut self, table: impl Into<String>) -> Self {
        self.exclude.push(table.into());
        self
    }

    /// Limits `"*"` to a schema; may be called again for more.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schemas.push(schema.into());
        self
    }

    /// Gives a parameter that filters name.
    #[must_use]
    pub fn with_param(mut self, name: impl Into<String>, value: Parameter) -> Self {
        self.params.insert(name.into(), value);
        self
    }

    /// Says what happens to rows that the source has lost.
    #[must_use]
    pub fn with_deletes(mut self, deletes: Deletes) -> Self {
        self.deletes = deletes;
        self
    }

    /// Says how it is found out what has changed at the source.
    #[must_use]
    pub fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Says what happens to rows that the filter or a transform leaves out since.
    #[must_use]
    pub fn with_left_filter(mut self, left_filter: LeftFilter) -> Self {
        self.left_filter = left_filter;
        self
    }

    /// Says who wins where both sides have changed a column, in mode `update`.
    #[must_use]
    pub fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Says what happens when the source's columns have changed since the last finished run.
    #[must_use]
    pub fn with_drift(mut self, drift: DriftPolicy) -> Self {
        self.drift = drift;
        self
    }

    /// Says what the job is for.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Checks what can be checked without a database.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the job, the entity and the field.
    pub fn validate(&self) -> Result<()> {
        self.check().map_err(|error| error.with("job", &self.name))
    }

    fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new(ErrorKind::Config, message));
        for (field, value) in
            [("page_bytes", self.page_bytes), ("batch_bytes", self.batch_bytes), ("batch_rows", self.batch_rows)]
        {
            if value == Some(0) {
                return wrong(format!("{field} is 0, but must be at least 1"));
            }
        }
        if self.parallel == Some(0) {
            return wrong("parallel is 0, but must be at least 1".to_owned());
        }
        self.deletes.check()?;
        let Entities::List(list) = &self.entities else { return Ok(()) };
        if list.is_empty() {
            return wrong("the list of entities is empty; write entities = \"*\" for all tables".to_owned());
        }
        if !self.exclude.is_empty() || !self.schemas.is_empty() {
            return wrong("exclude and schemas narrow entities = \"*\"; a list of entities says itself what is moved".to_owned());
        }
        let mut names = BTreeSet::new();
        for entity in list {
            if !names.insert(entity.name()) {
                let message = format!("two entities are called \"{}\"; give one of them another name", entity.name());
                return wrong(message);
            }
            entity.check().map_err(|error| error.with("entity", entity.name()))?;
        }
        for (entity, reference) in list.iter().flat_map(|entity| entity.references.iter().map(move |r| (entity, r))) {
            if !names.contains(reference.entity.as_str()) {
                let hint = crate::hint::nearest(&reference.entity, names.iter().copied());
                let message = format!("the job has no entity \"{}\" to refer to{hint}", reference.entity);
                let error = Error::new(ErrorKind::Config, message);
                return Err(error.with("entity", entity.name()).with("field", "references"));
            }
        }
        Ok(())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    value == &T::default()
}

/// What happens to rows that the target has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// The target's tables are empty; anything else is refused.
    Init,
    /// New rows are inserted, rows that differ overwritten as a whole.
    #[default]
    Replace,
    /// New rows are inserted; of others only the columns are written that changed at the source since the last sync.
    Update,
    /// Only rows whose key is not there are inserted.
    Append,
}

impl Mode {
    const ALL: [Mode; 4] = [Mode::Init, Mode::Replace, Mode::Update, Mode::Append];

    /// Returns the mode as a job file spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Init => "init",
            Mode::Replace => "replace",
            Mode::Update => "update",
            Mode::Append => "append",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Mode::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| {
            let hint = crate::hint::nearest(text, Mode::ALL.map(Mode::as_str));
            Error::new(
                ErrorKind::Config,
                format!("the mode \"{text}\" is unknown; expected init, replace, update or append{hint}"),
            )
        })
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(error.message()))
    }
}

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
    /// What happens to columns on the way.
    #[serde(default, skip_serializing_if = "Columns::is_default")]
    pub columns: Columns,
    /// Which rows belong to the entity: a condition in the source's SQL, parameters written `:name`.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// References to other entities that the databases do not declare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What happens to values on the way, step by step; `columns` applies to what comes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transform: Vec<Transform>,
    /// What happens when the source's columns have changed since the last finished run; what the job says if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftPolicy>,
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

    fn check(&self) -> Result<()> {
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
        for column in &self.columns.exclude {
            if self.columns.rename.contains_key(column) {
                return wrong(format!("the column \"{column}\" is both renamed and excluded"));
            }
            if self.key.contains(column) {
                return wrong(format!("the column \"{column}\" is part of the key and cannot be excluded"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_inside_a_job_are_named() {
        let job = || Job::new("copy", "a", "b");
        for (job, expected) in [
            (job().with_entity(Entity::new("t")).with_entity(Entity::new("t")), "two entities are called \"t\""),
            (job().with_entity(Entity::new("t")).with_exclude("u"), "entities = \"*\""),
            (job().with_entity(Entity::new("t").with_rename("a", "b").with_exclude("a")), "both renamed and excluded"),
            (job().with_entity(Entity::new("t").with_key(["a", "a"])), "\"a\" twice"),
            (job().with_entity(Entity::new("t").with_key(["a"]).with_exclude("a")), "part of the key"),
            (job().with_entity(Entity::new("t").with_rename("a", "x").with_set("x", Parameter::Int(1))), "written twice"),
            (job().with_entity(Entity::new("")), "must not be empty"),
            (job().with_entity(Entity::new("t").with_reference(Reference::new(["a"], "tt"))), "did you mean \"t\"?"),
            (job().with_entity(Entity::new("t").with_reference(Reference::new(["a"], "t").with_key(["b", "c"]))), "numbers"),
            (job().with_entity(Entity::new("t").with_reference(Reference::new([""; 0], "t"))), "names no columns"),
            (Job { entities: Entities::List(Vec::new()), ..job() }, "is empty"),
            (Job { parallel: Some(0), ..job() }, "parallel is 0"),
            (Job { page_bytes: Some(0), ..job() }, "page_bytes is 0"),
        ] {
            let error = job.validate().expect_err(expected);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains("job copy"), "{error}");
        }
    }

    #[test]
    fn a_job_survives_json_to_the_letter() {
        let entity = Entity::new("s.t").with_name("n").with_target("u").with_key(["k"]).with_rename("a", "b").with_exclude("c");
        let entity = entity.with_set("d", Parameter::Float(1.5)).with_filter("x < :y");
        let reference = Reference::new(["r"], "n").with_key(["k"]).with_condition("kind", Parameter::Bool(true));
        let entity = entity.with_reference(reference).with_drift(DriftPolicy::Evolve);
        let job = Job::new("", "a", "b").with_mode(Mode::Init).with_entity(entity).with_param("y", Parameter::Int(1));
        let job = job.with_drift(DriftPolicy::Ignore);
        let json = serde_json::to_string(&job).expect("a job serializes");
        assert_eq!(serde_json::from_str::<Job>(&json).expect("it was a job"), job);
    }
}
