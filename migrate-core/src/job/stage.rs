//! Stages: groups of entities that are moved one after the other.

use crate::error::{Error, ErrorKind, Result};
use crate::hint;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;

/// A group of entities, all of which are moved before the next stage begins.
///
/// ```
/// use migrate_core::job::{Entity, Job, Stage};
///
/// let job = Job::new("copy", "legacy", "warehouse")
///     .with_stage(Stage::new("base", ["users", "projects"]))
///     .with_stage(Stage::rest("details"));
/// job.validate()?;
/// # Ok::<(), migrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table of a name and entities")]
#[non_exhaustive]
pub struct Stage {
    /// What `--stage` takes.
    pub name: String,
    /// The names of its entities, in any order: inside a stage the references decide. `"*"` for those that no other stage names.
    pub entities: StageEntities,
}

/// The entities of a stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum StageEntities {
    /// All that no other stage names.
    #[default]
    Rest,
    /// Those with these names.
    These(Vec<String>),
}

impl Stage {
    /// Creates a stage of these entities.
    pub fn new(name: impl Into<String>, entities: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Stage { name: name.into(), entities: StageEntities::These(entities.into_iter().map(Into::into).collect()) }
    }

    /// Creates the stage of all entities that no other stage names.
    pub fn rest(name: impl Into<String>) -> Self {
        Stage { name: name.into(), entities: StageEntities::Rest }
    }

    fn names(&self) -> &[String] {
        match &self.entities {
            StageEntities::Rest => &[],
            StageEntities::These(names) => names,
        }
    }
}

/// Checks what stages say without looking at a database.
pub(super) fn check(stages: &[Stage]) -> Result<()> {
    let wrong = |message: String| Err(Error::new(ErrorKind::Config, message).with("field", "stages"));
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for (place, stage) in stages.iter().enumerate() {
        let name = &stage.name;
        if name.is_empty() {
            return wrong("a stage has no name".to_owned());
        }
        if stages[..place].iter().any(|other| &other.name == name) {
            return wrong(format!("two stages are called \"{name}\""));
        }
        match &stage.entities {
            StageEntities::These(names) if names.is_empty() => {
                return wrong(format!("the stage \"{name}\" has no entities; name some, or leave it out"));
            }
            StageEntities::Rest if stages[..place].iter().any(|other| other.entities == StageEntities::Rest) => {
                return wrong(format!(
                    "the stage \"{name}\" takes the entities that no other stage names, but another one does, too"
                ));
            }
            StageEntities::These(_) | StageEntities::Rest => {}
        }
        for entity in stage.names() {
            if let Some(other) = named.insert(entity, name) {
                return wrong(format!("the entity \"{entity}\" is in the stage \"{other}\" and in the stage \"{name}\""));
            }
        }
    }
    Ok(())
}

/// Returns the place of an entity's stage.
pub(crate) fn place_of(stages: &[Stage], entity: &str) -> Option<usize> {
    let named = stages.iter().position(|stage| stage.names().iter().any(|name| name == entity));
    named.or_else(|| stages.iter().position(|stage| stage.entities == StageEntities::Rest))
}

/// Checks that stages name entities of the job, and that each entity has one.
pub(crate) fn check_entities(stages: &[Stage], entities: &[&str]) -> Result<()> {
    let wrong = |message: String| Err(Error::new(ErrorKind::Config, message).with("field", "stages"));
    if stages.is_empty() {
        return Ok(());
    }
    for (stage, name) in stages.iter().flat_map(|stage| stage.names().iter().map(move |name| (&stage.name, name))) {
        if !entities.contains(&name.as_str()) {
            let hint = hint::nearest(name, entities.iter().copied());
            return wrong(format!("the stage \"{stage}\" names \"{name}\", but the job has no such entity{hint}"));
        }
    }
    let without: Vec<&str> = entities.iter().copied().filter(|name| place_of(stages, name).is_none()).collect();
    if without.is_empty() {
        return Ok(());
    }
    let without = without.join(", ");
    wrong(format!("no stage names {without}; add what is missing, or let one stage take all others with entities = \"*\""))
}

/// Checks that there is a stage that a run is limited to.
pub(crate) fn check_known(stages: &[Stage], name: &str) -> Result<()> {
    if stages.iter().any(|stage| stage.name == name) {
        return Ok(());
    }
    let message = if stages.is_empty() {
        format!("the job has no stages, and so none called \"{name}\"")
    } else {
        format!("the job has no stage \"{name}\"{}", hint::nearest(name, stages.iter().map(|stage| stage.name.as_str())))
    };
    Err(Error::new(ErrorKind::Config, message))
}

impl Serialize for StageEntities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            StageEntities::Rest => serializer.serialize_str("*"),
            StageEntities::These(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for StageEntities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = StageEntities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"*\" or a list of entities' names, such as [\"users\", \"projects\"]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == "*" { Ok(StageEntities::Rest) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(StageEntities::These)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for StageEntities {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StageEntities".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The names of a stage's entities, or \"*\" for those that no other stage names.",
            "anyOf": [{ "const": "*" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_between_stages_are_named() {
        for (stages, expected) in [
            (vec![Stage::new("", ["a"])], "has no name"),
            (vec![Stage::new("one", [""; 0])], "has no entities"),
            (vec![Stage::new("one", ["a"]), Stage::new("one", ["b"])], "two stages are called \"one\""),
            (vec![Stage::new("one", ["a"]), Stage::new("two", ["a"])], "\"a\" is in the stage \"one\" and in the stage \"two\""),
            (vec![Stage::rest("one"), Stage::rest("two")], "\"two\" takes the entities that no other stage names"),
        ] {
            let error = check(&stages).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn an_entity_is_in_the_stage_that_names_it_else_in_the_one_that_takes_the_rest() {
        let stages = [Stage::rest("rest"), Stage::new("last", ["a"])];
        assert_eq!(["a", "b"].map(|name| place_of(&stages, name)), [Some(1), Some(0)]);
        check(&stages).and_then(|()| check_entities(&stages, &["a", "b"])).expect("each has a stage");
        let error = check_entities(&stages[1..], &["a", "b", "c"]).expect_err("two have none");
        assert!(error.to_string().contains("no stage names b, c"), "{error}");
        let error = check_entities(&stages, &["aa", "b"]).expect_err("it names another one");
        assert!(error.to_string().contains("did you mean \"aa\"?"), "{error}");
    }

    #[test]
    fn stages_are_written_as_lists_or_a_star() {
        let stages = vec![Stage::new("base", ["a"]), Stage::rest("rest")];
        let json = serde_json::to_string(&stages).expect("stages serialize");
        assert_eq!(json, r#"[{"name":"base","entities":["a"]},{"name":"rest","entities":"*"}]"#);
        assert_eq!(serde_json::from_str::<Vec<Stage>>(&json).expect("they were stages"), stages);
        assert!(serde_json::from_str::<Stage>(r#"{"name":"base","entities":"a"}"#).is_err());
    }
}
