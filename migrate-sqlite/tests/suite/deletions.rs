//! Taking rows out: by any spelling of their keys, at once, chosen, and all of a table.

use crate::sink::{count, open};
use crate::support::target::Target;
use migrate_core::memory::table;
use migrate_core::schema::{TableName, TableSchema};
use migrate_core::sink::{DeleteRequest, Outcome, Sink, WriteMode};
use migrate_core::source::PageRequest;
use migrate_core::state::StateChanges;
use migrate_core::value::{DataType, Key, Page, Row, Value, text as texts};
use migrate_core::{ErrorKind, Result};

pub(crate) async fn delete(target: &Target, table: &TableSchema, keys: &[Value<'static>]) -> Result<u64> {
    let keys: Vec<Key> = keys.iter().map(|k| Key::from_values([k])).collect();
    let key = table.natural_key().expect("a key");
    let mut transaction = target.begin().await;
    let count = transaction.delete(table, &key, &keys).await?;
    transaction.commit(&StateChanges::default()).await?;
    Ok(count)
}

#[tokio::test]
async fn text_is_deleted_to_the_letter_where_the_index_takes_other_spellings_for_equal() {
    let (database, target) = open("CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY); INSERT INTO t VALUES ('Word')").await;
    let found = target.table("t").await;
    assert_eq!(delete(&target, &found, &[Value::Text("WORD".into())]).await.expect("nothing to delete"), 0);
    assert_eq!(delete(&target, &found, &[Value::Text("Word".into())]).await.expect("deleted"), 1);
    drop(database);
}

/// A store has a manager, of its own staff, all of whom goes with it.
const STAFFED: &str =
    "PRAGMA foreign_keys = OFF; CREATE TABLE store (id INTEGER PRIMARY KEY, manager INT NOT NULL REFERENCES staff);
    CREATE TABLE staff (id INTEGER PRIMARY KEY, store INT NOT NULL REFERENCES store ON DELETE CASCADE);
    INSERT INTO store VALUES (1, 1), (2, 3); INSERT INTO staff VALUES (1, 1), (2, 1), (3, 2);";

async fn delete_at_once(target: &Target, rows: &[(&str, &[i64])]) -> Result<Vec<u64>> {
    let key = ["id".to_owned()];
    let mut tables = Vec::new();
    for (name, ids) in rows {
        tables.push((target.table(name).await, ids.iter().map(|id| Key::from_values([&Value::Int(*id)])).collect::<Vec<_>>()));
    }
    let requests = tables.iter().map(|(table, keys)| DeleteRequest { table, key: &key, keys: keys.clone() });
    let mut transaction = target.begin().await;
    let counts = transaction.delete_at_once(&requests.collect::<Vec<_>>()).await?;
    transaction.commit(&StateChanges::default()).await?;
    Ok(counts)
}

#[tokio::test]
async fn a_row_that_a_trigger_keeps_is_not_counted_among_those_that_go_at_once() {
    let (database, target) = open(&format!(
        "{STAFFED} CREATE TABLE note (id INTEGER PRIMARY KEY, store INT REFERENCES store); INSERT INTO note VALUES (1, NULL), (2, 1);
         CREATE TRIGGER kept BEFORE DELETE ON note WHEN old.id = 1 BEGIN SELECT RAISE(IGNORE); END;"
    ))
    .await;
    let counts = delete_at_once(&target, &[("store", &[1, 9]), ("staff", &[1, 2]), ("note", &[1, 2])]).await.expect("they go");
    assert_eq!(counts, [1, 2, 1]);
    assert_eq!(["store", "staff", "note"].map(|table| count(&database, table)), [1, 1, 1]);
}

#[tokio::test]
async fn rows_that_refer_to_one_another_in_a_chain_go_at_once_whatever_their_order() {
    for action in ["RESTRICT", "SET NULL", "CASCADE"] {
        let (database, target) = open(&format!(
            "CREATE TABLE part (id INTEGER PRIMARY KEY, whole INT NOT NULL REFERENCES part ON DELETE {action});
             INSERT INTO part VALUES (1, 1), (2, 1), (3, 2), (4, 3), (5, 4);"
        ))
        .await;
        let counts = delete_at_once(&target, &[("part", &[2, 5, 1, 3, 4])]).await.expect("they go");
        assert_eq!((counts, count(&database, "part")), (vec![5], 0), "{action}");
    }
}

#[tokio::test]
async fn of_rows_that_cannot_all_go_at_once_none_does() {
    for (refusal, kind) in [
        ("CREATE TABLE badge (staff INT REFERENCES staff ON DELETE RESTRICT)", ErrorKind::Constraint),
        ("CREATE TABLE badge (staff INT NOT NULL REFERENCES staff ON DELETE SET NULL)", ErrorKind::RowRejected),
        ("CREATE TABLE badge (staff INT REFERENCES staff)", ErrorKind::Constraint),
    ] {
        let (database, target) = open(&format!("{STAFFED} {refusal}; INSERT INTO badge VALUES (3)")).await;
        let error = delete_at_once(&target, &[("store", &[1, 2]), ("staff", &[1, 2, 3])]).await.expect_err("one of them stays");
        assert_eq!(error.kind(), kind, "{refusal}: {error}");
        assert_eq!(["store", "staff"].map(|table| count(&database, table)), [2, 3], "{refusal}");
    }
    // A trigger that ends the transaction leaves nothing behind which would end by itself.
    let refusal = "CREATE TRIGGER never BEFORE DELETE ON store WHEN old.id = 1 BEGIN SELECT RAISE(ROLLBACK, 'no'); END";
    let (database, target) = open(&format!("{STAFFED} {refusal}")).await;
    let error = delete_at_once(&target, &[("store", &[1, 2]), ("staff", &[1, 2, 3])]).await.expect_err("one of them stays");
    assert_eq!(error.kind(), ErrorKind::RowRejected, "{error}");
    assert_eq!(["store", "staff"].map(|table| count(&database, table)), [2, 3]);
}

#[tokio::test]
async fn rows_are_deleted_by_any_spelling_of_their_key() {
    let (_database, target) = open("").await;
    let fixed = DataType::Decimal { precision: Some(9), scale: Some(2) };
    let free = DataType::Decimal { precision: None, scale: None };
    let tables = [
        table("fixed", &[("k", fixed.clone())], &["k"]),
        table("free", &[("k", free.clone())], &["k"]),
        table("real", &[("k", DataType::Float64)], &["k"]),
    ];
    target.create(&tables).await;
    let decimal = |text: &str, data_type: &DataType| texts::parse(text, data_type).expect("a decimal");
    for (name, rows) in [
        ("fixed", vec![decimal("1.00", &fixed), decimal("2.50", &fixed)]),
        ("free", vec![decimal("1.000", &free), decimal("2.5", &free)]),
        ("real", vec![Value::Float(1.0), Value::Float(2.5)]),
    ] {
        let found = target.table(name).await;
        let rows: Vec<Row> = rows.into_iter().map(|v| vec![v]).collect();
        target.write(&found, &rows, WriteMode::Load).await.expect("loaded");
        let keys = [rows[0][0].clone(), decimal("3", &free)];
        assert_eq!(delete(&target, &found, &keys).await.expect("deleted"), 1, "{name}");
        assert_eq!(target.rows(&found).await, [rows[1].clone()], "{name}");
    }
    let free_table = target.table("free").await;
    let outcomes = target.write(&free_table, &[vec![decimal("2.500", &free)]], WriteMode::Upsert).await.expect("merged");
    assert_eq!(outcomes, Some(vec![Outcome::Updated]), "2.5 and 2.500 are one key");
}

#[tokio::test]
async fn clearing_a_table_counts_its_rows_and_obeys_references() {
    let (_database, target) = open(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p INT REFERENCES p(id));
        INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1)",
    )
    .await;
    let (parents, children) = (target.table("p").await, target.table("c").await);
    let mut transaction = target.begin().await;
    let error = transaction.clear(&parents).await.expect_err("a child refers to it");
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error}");
    drop(transaction);
    let mut transaction = target.begin().await;
    assert_eq!(transaction.clear(&children).await.expect("cleared"), 1);
    assert_eq!(transaction.clear(&parents).await.expect("cleared"), 2);
    transaction.commit(&StateChanges::default()).await.expect("the commit passes");
    assert!(target.rows(&parents).await.is_empty());
}

#[tokio::test]
async fn rows_are_chosen_by_their_numbers_whatever_columns_are_called_and_not_where_they_have_none() {
    let (database, target) = open(
        "CREATE TABLE t (rowid TEXT, oid TEXT); INSERT INTO t (_rowid_, rowid, oid) VALUES (-9223372036854775808, 'a', 'x'), (-1, 'a', 'x'),
             (7, 'b', NULL), (9223372036854775807, 'a', 'x');
         CREATE TABLE u (n INTEGER PRIMARY KEY) WITHOUT ROWID; CREATE VIEW v AS SELECT * FROM t;
         CREATE TABLE w (rowid, oid, _rowid_)",
    )
    .await;
    let schema = target.sink.schema().await.expect("the schema");
    let table = |name: &str| schema.table(&TableName::new(None, name), None).expect("the table");
    assert_eq!(["t", "u", "v", "w"].map(|name| target.sink.can_choose(table(name))), [true, false, false, false]);
    let columns = ["oid".to_owned(), "rowid".to_owned()];
    let request = PageRequest::new(table("t"), &columns, &[]).with_limits(1, 1);
    let mut transaction = target.sink.begin(&target.fence).await.expect("a transaction");
    let (mut pages, mut left) = (0, 2);
    let mut choose = |page: &Page| {
        assert_eq!(page.row_count(), 1);
        pages += 1;
        let chosen = left > 0 && page.row(0).value(1)? == Value::Text("a".into());
        left -= i32::from(chosen);
        Ok(if chosen { vec![0] } else { Vec::new() })
    };
    assert_eq!(transaction.delete_chosen(&request, &mut choose).await.expect("rows go"), 2);
    assert_eq!(pages, 4);
    transaction.commit(&StateChanges::default()).await.expect("it commits");
    assert_eq!(count(&database, "t WHERE rowid = 'a' AND _rowid_ = 9223372036854775807"), 1);
    assert_eq!(count(&database, "t"), 2);
    let mut transaction = target.sink.begin(&target.fence).await.expect("a transaction");
    let columns = ["n".to_owned()];
    let none = transaction.delete_chosen(&PageRequest::new(table("u"), &columns, &[]), &mut |_| Ok(Vec::new())).await;
    assert_eq!(none.expect_err("it has no numbers").kind(), ErrorKind::Unsupported);
}
