//! A job: what is moved from where to where, and how.

use super::cursor::CursorColumn;
use super::entity::{Entities, Entity};
use super::options::QuarantineLimit;
use super::orphans::OrphanPolicy;
use super::stage::{self, Stage};
use super::sync::{Deletes, DriftPolicy, LeftFilter, OnConflict, Strategy};
use super::verify_mode::VerifyMode;
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
    /// Groups of entities that are moved one after the other, in this order; the references alone decide if not said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
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
    /// Bytes of an entity, as the source guesses them, that are worth a part of their own: 32 MiB if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub part_bytes: Option<u64>,
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
    /// Whether other jobs may write to the same tables, though no constant in a table's key tells their rows apart from this job's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_tables: bool,
    /// What happens to rows that refer to a parent which neither side has; see [`OrphanPolicy`] for what does if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<OrphanPolicy>,
    /// Who wins where both sides have changed a column, in mode "update": "report" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_conflict: OnConflict,
    /// How it is found out what has changed at the source: "auto" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: Strategy,
    /// The column that tells which rows have changed, for the strategy "cursor", in all tables that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<CursorColumn>,
    /// After how many days every row is read and compared again, whatever the strategy; 7 if not said, 0 for every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub_days: Option<u32>,
    /// What happens when the source's columns have changed since the last finished run: "refuse" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drift: DriftPolicy,
    /// How far a run proves what it has written: "changes" if not said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub verify: VerifyMode,
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

    /// Adds a stage after those that are there.
    #[must_use]
    pub fn with_stage(mut self, stage: Stage) -> Self {
        self.stages.push(stage);
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

    /// Says that other jobs may write to the same tables.
    #[must_use]
    pub fn with_shared_tables(mut self) -> Self {
        self.shares_tables = true;
        self
    }

    /// Says how far a run proves what it has written.
    #[must_use]
    pub fn with_verify(mut self, verify: VerifyMode) -> Self {
        self.verify = verify;
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

    /// Finds changes by a column that tells when each row was changed last, in all tables that have it.
    #[must_use]
    pub fn with_cursor(mut self, cursor: CursorColumn) -> Self {
        (self.strategy, self.cursor) = (Strategy::Cursor, Some(cursor));
        self
    }

    /// Says what happens to rows that the filter or a transform leaves out since.
    #[must_use]
    pub fn with_left_filter(mut self, left_filter: LeftFilter) -> Self {
        self.left_filter = left_filter;
        self
    }

    /// Says what happens to rows that refer to a parent which neither side has.
    #[must_use]
    pub fn with_orphans(mut self, policy: OrphanPolicy) -> Self {
        self.orphans = Some(policy);
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
        for (field, value) in [
            ("page_bytes", self.page_bytes),
            ("batch_bytes", self.batch_bytes),
            ("batch_rows", self.batch_rows),
            ("part_bytes", self.part_bytes),
        ] {
            if value == Some(0) {
                return wrong(format!("{field} is 0, but must be at least 1"));
            }
        }
        if self.parallel == Some(0) {
            return wrong("parallel is 0, but must be at least 1".to_owned());
        }
        self.deletes.check()?;
        stage::check(&self.stages)?;
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
        stage::check_entities(&self.stages, &list.iter().map(Entity::name).collect::<Vec<_>>())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Reference;

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
            (job().with_entity(Entity::new("t")).with_stage(Stage::new("one", ["u"])), "the stage \"one\" names \"u\""),
            (job().with_stage(Stage::new("one", [""; 0])), "has no entities"),
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
        let job = job.with_drift(DriftPolicy::Ignore).with_stage(Stage::new("one", ["n"])).with_stage(Stage::rest("two"));
        let json = serde_json::to_string(&job).expect("a job serializes");
        assert_eq!(serde_json::from_str::<Job>(&json).expect("it was a job"), job);
    }
}
