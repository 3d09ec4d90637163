//! Which portable types columns get from what is in them: never one that refuses a row that was seen (P5).

use crate::support::{Database, column, table};
use migrate_core::source::Source;
use migrate_core::value::DataType;

const DECIMAL: DataType = DataType::Decimal { precision: None, scale: None };
const TIMESTAMP: DataType = DataType::Timestamp { precision: None };

/// Refines a table `t(c DECLARED)` that holds these SQL literals.
async fn refined(declared: &str, values: &[&str]) -> DataType {
    let rows: String = values.iter().map(|v| format!("INSERT INTO t(c) VALUES ({v});")).collect();
    refined_by(&format!("CREATE TABLE t(c {declared}, other INT); {rows}")).await
}

async fn refined_by(script: &str) -> DataType {
    let database = Database::new(script);
    let source = database.source();
    let mut tables = [table(&source, "t").await];
    source.refine(&mut tables).await.expect("refined");
    column(&tables[0], "c").portable_type.clone()
}

#[tokio::test]
async fn a_promise_that_the_data_keeps_is_believed() {
    for (declared, values, expected) in [
        ("INTEGER", vec!["1", "-5", "NULL"], DataType::Int64),
        ("SMALLINT", vec!["32767"], DataType::Int16),
        ("VARCHAR(3)", vec!["'longer than three'"], DataType::TEXT),
        ("DOUBLE", vec!["1.5", "2"], DataType::Float64),
        ("NUMERIC(10,2)", vec!["1.25", "3", "-0.1"], DataType::Decimal { precision: Some(10), scale: Some(2) }),
        ("BOOLEAN", vec!["0", "1", "NULL"], DataType::Bool),
        ("DATE", vec!["'2020-02-29'", "NULL"], DataType::Date),
        ("DATETIME", vec!["'2009-01-01 00:00:00'", "'2009-01-01 12:30:00.125'"], TIMESTAMP),
        ("BLOB", vec!["x'00'", "x''"], DataType::Bytes),
        ("JSON", vec!["'{\"a\": [1]}'", "'null'"], DataType::Json),
        ("UUID", vec!["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"], DataType::Uuid),
    ] {
        assert_eq!(refined(declared, &values).await, expected, "{declared} {values:?}");
    }
}

#[tokio::test]
async fn a_promise_that_the_data_breaks_gives_way_to_what_is_there() {
    for (declared, values, expected) in [
        ("INTEGER", vec!["1", "'abc'"], DataType::TEXT),
        ("INTEGER", vec!["1", "1.5"], DataType::Float64),
        ("INTEGER", vec!["9007199254740993", "1.5"], DECIMAL),
        ("SMALLINT", vec!["1", "32768"], DataType::Int64),
        ("NUMERIC(10,2)", vec!["0.125"], DECIMAL),
        ("NUMERIC(3,0)", vec!["1000"], DECIMAL),
        ("NUMERIC(3,0)", vec!["1", "'n/a'"], DataType::TEXT),
        ("BOOLEAN", vec!["0", "2"], DataType::Int64),
        ("BOOLEAN", vec!["'yes'", "'no'"], DataType::TEXT),
        ("DATE", vec!["'2020-02-29'", "'soon'"], DataType::TEXT),
        ("DATETIME", vec!["'2021-01-01T00:00:00Z'"], DataType::TEXT),
        ("DATETIME", vec!["1609459200", "NULL"], DataType::Int64),
        ("TIMESTAMP", vec!["2459215.5"], DataType::Float64),
        ("BLOB", vec!["'text'"], DataType::TEXT),
        ("BLOB", vec!["1", "2"], DataType::Int64),
        ("JSON", vec!["'{broken'"], DataType::TEXT),
        ("UUID", vec!["'not a uuid'"], DataType::TEXT),
        ("TEXT", vec!["x'00ff'"], DataType::Bytes),
        ("DATE_TEXT", vec!["'2020-01-01'", "'never'"], DataType::TEXT),
    ] {
        assert_eq!(refined(declared, &values).await, expected, "{declared} {values:?}");
    }
}

#[tokio::test]
async fn without_a_promise_the_storage_classes_decide() {
    for (declared, values, expected) in [
        ("", vec!["1", "2"], DataType::Int64),
        ("", vec!["1", "2.5"], DataType::Float64),
        ("", vec!["'1'", "'007'"], DataType::TEXT),
        ("", vec!["'1'", "1"], DataType::TEXT),
        ("", vec!["x'01'"], DataType::Bytes),
        ("", vec![], DataType::TEXT),
        ("STRING", vec!["'a'", "7"], DataType::TEXT),
        ("NUM", vec!["5"], DataType::Int64),
        ("", vec!["x'01'", "x'02'", "5"], DataType::Bytes),
        ("", vec!["1", "2", "x'01'"], DataType::Int64),
        ("", vec!["x'01'", "1", "2", "3", "'text'"], DataType::TEXT),
        ("INTEGER", vec!["1", "2", "1.5", "'text'", "x'01'"], DataType::TEXT),
    ] {
        assert_eq!(refined(declared, &values).await, expected, "{declared} {values:?}");
    }
}

#[tokio::test]
async fn what_sqlite_enforces_is_not_looked_at() {
    let script = "CREATE TABLE t(c INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)";
    assert_eq!(refined_by(script).await, DataType::Int64);
    let script = "CREATE TABLE t(c REAL, a ANY) STRICT; INSERT INTO t VALUES (1, 1)";
    assert_eq!(refined_by(script).await, DataType::Float64);
    let script = "CREATE TABLE t(id INTEGER, c ANY) STRICT; INSERT INTO t VALUES (1, 'text')";
    assert_eq!(refined_by(script).await, DataType::TEXT);
    assert_eq!(refined("UUID_TEXT", &[]).await, DataType::Uuid);
    assert_eq!(refined("REAL8_BLOB", &["'NaN'", "1.5", "-0.0"]).await, DataType::Float64);
}

#[tokio::test]
async fn a_type_that_takes_anothers_place_is_asked_about_all_rows() {
    // The text comes first and rules out nothing before the number does; then the text rules out integers.
    assert_eq!(refined("DATE", &["'2020-01-01'", "17"]).await, DataType::TEXT);
    assert_eq!(refined("", &["1", "0.5", "9007199254740993"]).await, DECIMAL);
}

#[tokio::test]
async fn views_and_tables_without_rowid_are_looked_at_too() {
    let script =
        "CREATE TABLE base(a DATE, b INT); INSERT INTO base VALUES ('someday', 1); CREATE VIEW t AS SELECT a AS c FROM base;";
    assert_eq!(refined_by(script).await, DataType::TEXT);
    let script = "CREATE TABLE t(k TEXT PRIMARY KEY, c DATETIME) WITHOUT ROWID; INSERT INTO t VALUES ('a', 5);";
    assert_eq!(refined_by(script).await, DataType::Int64);
}

const MANY: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, c INTEGER);
    WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < LIMIT_) INSERT INTO t SELECT x, x FROM n;";

#[tokio::test]
async fn a_table_of_200_000_rows_is_read_in_full() {
    let script = MANY.replace("LIMIT_", "200000") + "UPDATE t SET c = 'needle' WHERE id = 123456";
    assert_eq!(refined_by(&script).await, DataType::TEXT);
    let sparse = MANY.replace("LIMIT_", "20000").replace("SELECT x, x", "SELECT x * 1000000007, x");
    let script = sparse + "UPDATE t SET c = 'needle' WHERE id = 12345 * 1000000007";
    assert_eq!(refined_by(&script).await, DataType::TEXT);
}

#[tokio::test]
async fn a_larger_table_is_looked_at_at_both_ends_and_in_between() {
    for place in ["id <= 1", "id >= 400000", "id BETWEEN 200000 AND 200400"] {
        let script = MANY.replace("LIMIT_", "400000") + &format!("UPDATE t SET c = 'needle' WHERE {place}");
        let database = Database::new(&script);
        let source = database.source();
        let mut tables = [table(&source, "t").await];
        source.refine(&mut tables).await.expect("refined");
        assert_eq!(column(&tables[0], "c").portable_type, DataType::TEXT, "{place}");
    }
}
