//! Rows that are changed by code on their way.

use migrate_core::job::{CancelToken, Entity, Job, Transform};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::TableSchema;
use migrate_core::transform::{Refused, Transformer};
use migrate_core::value::{DataType, Value};
use migrate_core::{ErrorKind, Parameter, Result};
use std::sync::Arc;

/// Splits a name into two columns; a name of one word is refused.
#[derive(Debug)]
struct SplitName {
    version: u32,
}

impl Transformer for SplitName {
    fn table(&self, source: &TableSchema) -> Result<TableSchema> {
        let mut made = table("people", &[("id", DataType::Int64), ("first", DataType::TEXT), ("last", DataType::TEXT)], &["id"]);
        made.name = source.name.clone();
        Ok(made)
    }

    fn apply<'v>(&self, row: Vec<Value<'v>>) -> std::result::Result<Vec<Value<'v>>, Refused> {
        let [id, Value::Text(name)] = &row[..] else { return Ok(row) };
        let Some((first, last)) = name.split_once(' ') else {
            return Err(Refused { column: "last".to_owned(), reason: "the name has one word".to_owned() });
        };
        let first = if self.version == 1 { first.to_owned() } else { first.to_uppercase() };
        Ok(vec![id.clone(), Value::Text(first.into()), Value::Text(last.to_owned().into())])
    }

    fn version(&self) -> String {
        format!("split name {}", self.version)
    }
}

fn databases() -> (MemoryDatabase, MemoryDatabase) {
    let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
    from.create_table(table("people", &[("id", DataType::Int64), ("name", DataType::TEXT)], &["id"])).expect("a new table");
    for (id, name) in [(1, "Ada Lovelace"), (2, "Plato"), (3, "Émilie du Châtelet")] {
        from.insert("people", [Value::Int(id), Value::Text(name.into())]).expect("the row fits");
    }
    (from, to)
}

async fn run(from: &MemoryDatabase, to: &MemoryDatabase, entity: &str, version: u32) -> Result<RunReport> {
    let steps = Entity::new("people").with_transform(Transform::new("kind").constant(Parameter::Text("person".into())));
    Pipeline::builder(Job::new("copy", "from", "to").with_entity(steps))
        .source(Arc::new(from.source()))
        .target(Arc::new(to.sink()))
        .transform(entity, Arc::new(SplitName { version }))
        .build()?
        .run(&CancelToken::new())
        .await
}

#[tokio::test]
async fn code_changes_rows_refuses_them_by_column_and_is_compared_anew_when_its_version_changes() {
    let (from, to) = databases();
    let report = run(&from, &to, "people", 1).await.expect("it runs");
    assert_eq!((report.entities[0].counters.inserted, report.entities[0].counters.quarantined), (2, 1), "{report:?}");
    let held = |to: &MemoryDatabase| to.rows("people").expect("the table was made");
    let text = |t: &'static str| Value::Text(t.into());
    let expected = vec![
        vec![Value::Int(1), text("Ada"), text("Lovelace"), text("person")],
        vec![Value::Int(3), text("Émilie"), text("du Châtelet"), text("person")],
    ];
    assert_eq!(held(&to), expected);
    let again = run(&from, &to, "people", 1).await.expect("it runs");
    assert_eq!(again.entities[0].counters.unchanged, 2, "P4: {again:?}");
    let other = run(&from, &to, "people", 2).await.expect("it runs");
    assert_eq!(other.entities[0].counters.updated, 2, "{other:?}");
    assert_eq!(held(&to)[0][1], text("ADA"));
}

#[tokio::test]
async fn code_for_an_entity_that_is_not_there_is_an_error() {
    let (from, to) = databases();
    let error = run(&from, &to, "poeple", 1).await.expect_err("there is no such entity");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("did you mean \"people\""), "{error}");
}

#[tokio::test]
async fn a_source_that_evaluates_no_expressions_has_its_name_in_the_refusal_and_nothing_is_written() {
    let (from, to) = databases();
    let steps = Entity::new("people").with_transform(Transform::new("short").sql("left(name, 1)").pure());
    let pipeline = Pipeline::builder(Job::new("copy", "from", "to").with_entity(steps))
        .source(Arc::new(from.source()))
        .target(Arc::new(to.sink()))
        .build()
        .expect("the job is well formed");
    let error = pipeline.run(&CancelToken::new()).await.expect_err("it evaluates none");
    assert_eq!(error.kind(), ErrorKind::Config);
    for word in ["memory", "expressions", "entity people", "column short", "field transform"] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    assert!(to.rows("people").is_err(), "nothing was made");
}
