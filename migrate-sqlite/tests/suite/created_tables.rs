//! Tables that the adapter creates: filled in any order, checked at the end.

use crate::deletions::delete;
use crate::sink::open;
use crate::support::find;
use crate::support::target::text;
use migrate_core::ErrorKind;
use migrate_core::memory::table;
use migrate_core::schema::{Check, ForeignKey, TableName, TableSchema};
use migrate_core::sink::{Sink, WriteMode};
use migrate_core::value::{DataType, Value, text as texts};

fn family() -> [TableSchema; 2] {
    let parents = table("parents", &[("id", DataType::Int64), ("code", DataType::TEXT)], &["id"]);
    let mut children =
        table("children", &[("id", DataType::Int64), ("code", DataType::TEXT), ("parent", DataType::Int64)], &["id"]);
    children.foreign_keys.push(ForeignKey {
        name: Some("to_parent".to_owned()),
        ..ForeignKey::new(["parent"], TableName::new(None, "parents"), ["id"])
    });
    let mut key = children.primary_key.clone().expect("a key");
    key.name = Some("children_code_key".to_owned());
    key.columns = vec!["code".to_owned()];
    children.unique_keys.push(key);
    [children, parents]
}

#[tokio::test]
async fn tables_that_are_being_created_take_rows_in_any_order_and_are_checked_at_the_end() {
    let (_database, target) = open("").await;
    let plan = target.plan("postgresql", &family());
    target.sink.prepare(&plan, &target.fence).await.expect("created");
    target.sink.prepare(&plan, &target.fence).await.expect("preparing twice changes nothing");
    assert_eq!(target.sink.state().unfinished_tables("job").await.expect("state").len(), 2);
    let (children, parents) = (target.table("children").await, target.table("parents").await);
    let child = |id: i64, code: &str, parent: i64| vec![Value::Int(id), text(code), Value::Int(parent)];
    target
        .write(&children, &[child(1, "a", 1), child(2, "b", 2), child(3, "b", 2)], WriteMode::Load)
        .await
        .expect("children first");
    target.write(&parents, &[vec![Value::Int(1), text("p")]], WriteMode::Load).await.expect("parents last");

    let error = target.sink.finish(&plan, &target.fence, &|_| {}).await.expect_err("two rows have one code");
    assert_eq!(error.kind(), ErrorKind::Constraint);
    let message = error.to_string();
    assert!(message.contains("2 rows") && message.contains("children_code_key") && message.contains("keys 2"), "{message}");
    delete(&target, &children, &[Value::Int(3)]).await.expect("deleted");

    let error = target.sink.finish(&plan, &target.fence, &|_| {}).await.expect_err("a parent is missing");
    assert_eq!(error.kind(), ErrorKind::Constraint);
    let message = error.to_string();
    assert!(message.contains("1 rows") && message.contains("to_parent") && message.contains("keys 2"), "{message}");
    target.write(&parents, &[vec![Value::Int(2), text("q")]], WriteMode::Load).await.expect("the parent comes");

    let steps = std::sync::Mutex::new(Vec::new());
    let hear = |step: &str| steps.lock().expect("one thread").push(step.to_owned());
    target.sink.finish(&plan, &target.fence, &hear).await.expect("all is well");
    assert!(steps.lock().expect("one thread").iter().any(|s| s == "references of children"), "{steps:?}");
    target.sink.finish(&plan, &target.fence, &|_| {}).await.expect("finishing twice changes nothing");
    assert!(target.sink.state().unfinished_tables("job").await.expect("state").is_empty());
    // From now on the references hold for each row.
    let error = target.refusal(&children, &[child(9, "z", 9)], WriteMode::Load).await;
    assert!(error.to_string().contains("parent parents"), "{error}");
}

#[tokio::test]
async fn a_table_that_is_there_already_is_not_taken_for_ones_own() {
    let (_database, target) = open("CREATE TABLE Parents(x)").await;
    let plan = target.plan("postgresql", &family());
    let error = target.sink.prepare(&plan, &target.fence).await.expect_err("the name is taken, in another case");
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("Parents"), "{error}");
    assert_eq!(target.sink.schema().await.expect("schema").tables.len(), 1, "nothing was created");
}

#[tokio::test]
async fn a_reference_to_a_table_that_is_nowhere_is_refused() {
    let (_database, target) = open("").await;
    let plan = target.plan("postgresql", &family()[..1]);
    let error = target.sink.prepare(&plan, &target.fence).await.expect_err("the parent is nowhere");
    assert!(error.kind() == ErrorKind::Schema && error.to_string().contains("parent parents"), "{error}");
}

#[tokio::test]
async fn an_index_whose_name_is_taken_gets_another() {
    let (_database, target) = open("CREATE TABLE other(a); CREATE INDEX children_code_key ON other(a)").await;
    target.create(&family()).await;
    let schema = target.sink.schema().await.expect("schema");
    assert_eq!(find(&schema, "children").indexes[0].name, "children_children_code_key");
    assert_eq!(find(&schema, "other").indexes.len(), 1);
}

#[tokio::test]
async fn checks_of_a_created_table_hold() {
    let (_database, target) = open("").await;
    let mut t =
        table("t", &[("id", DataType::Int64), ("price", DataType::Decimal { precision: Some(9), scale: Some(2) })], &["id"]);
    t.checks.push(Check::new(Some("positive".into()), "(price > (0)::numeric)"));
    target.create(std::slice::from_ref(&t)).await;
    let found = target.table("t").await;
    let row = |text: &str| vec![Value::Int(1), texts::parse(text, &t.columns[1].data_type).expect("a decimal")];
    let error = target.refusal(&found, &[row("-10.00")], WriteMode::Load).await;
    assert!(error.to_string().contains("positive"), "{error}");
    target
        .write(&found, &[row("10.00")], WriteMode::Load)
        .await
        .expect("ten is more than nothing, as text it is not more than 9");
}
