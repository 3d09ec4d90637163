//! Writing rows: what is stored, what is refused, and what becomes of each row.

use crate::support::target::{Target, page, text, write};
use crate::support::{self, Database, names};
use migrate_core::ErrorKind;
use migrate_core::memory::table;
use migrate_core::schema::{TableName, TableSchema};
use migrate_core::sink::{Outcome, Sink, WriteMode, WriteRequest};
use migrate_core::state::StateChanges;
use migrate_core::value::{DataType, PageBuilder, PageColumn, Row, Value, canonical, text as texts};
use migrate_sqlite::ENCODING;

fn bytes(row: &Row) -> Vec<u8> {
    let mut bytes = Vec::new();
    row.iter().for_each(|value| canonical::encode_value(value, &mut bytes));
    bytes
}

pub(crate) async fn open(script: &str) -> (Database, Target) {
    let database = Database::new(script);
    let target = Target::open(&database.path).await;
    (database, target)
}

pub(crate) fn count(database: &Database, table: &str) -> i64 {
    database.connect().query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).expect("a count")
}

#[tokio::test]
async fn every_kind_of_value_comes_back_to_the_letter() {
    let decimal = DataType::Decimal { precision: None, scale: None };
    let parsed = |text: &str, data_type: &DataType| texts::parse(text, data_type).expect("a value of this type");
    let stamp = DataType::TimestampTz { precision: None };
    let local = DataType::Timestamp { precision: None };
    let time_tz = DataType::TimeTz { precision: None };
    let huge = format!("{}.{}", "9".repeat(500), "1".repeat(500));
    let cases: Vec<(DataType, Vec<Value<'static>>)> = vec![
        (DataType::Bool, vec![Value::Bool(true), Value::Bool(false)]),
        (DataType::Int64, vec![Value::Int(i64::MIN), Value::Int(i64::MAX)]),
        (
            DataType::Float64,
            [-0.0, 0.1, f64::MIN_POSITIVE, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::Float).to_vec(),
        ),
        (DataType::Float32, vec![Value::Float(f64::from(0.1f32)), Value::Float(-0.0)]),
        (decimal.clone(), ["1.00", "-0.000", "NaN", "Infinity", huge.as_str()].map(|t| parsed(t, &decimal)).to_vec()),
        (DataType::TEXT, ["", "é \u{10ffff}", "007", "1e5", "NaN"].map(text).to_vec()),
        (DataType::Char { chars: 4 }, vec![text("a   ")]),
        (DataType::Bytes, vec![Value::Bytes(vec![].into()), Value::Bytes(vec![0, 255].into())]),
        (DataType::Date, ["0044-03-15 BC", "infinity", "2024-02-29"].map(|t| parsed(t, &DataType::Date)).to_vec()),
        (DataType::Time { precision: None }, vec![Value::Time(0), Value::Time(86_400_000_000)]),
        (time_tz.clone(), vec![parsed("12:00:00.5+05:30", &time_tz)]),
        (local.clone(), ["294276-12-31 23:59:59.999999", "-infinity"].map(|t| parsed(t, &local)).to_vec()),
        (stamp.clone(), ["2024-01-01 00:00:00.000001+00", "infinity"].map(|t| parsed(t, &stamp)).to_vec()),
        (DataType::Interval, vec![Value::Interval { months: -13, days: 40, micros: -1 }]),
        (DataType::Uuid, vec![Value::Uuid([0xab; 16])]),
        (DataType::Json, vec![Value::Json("{\"a\" : 1, \"a\":2}".into())]),
        (DataType::Jsonb, vec![Value::Jsonb("{\"a\": 9007199254740993}".into())]),
        (DataType::Other { name: "int4range[]".into() }, vec![Value::Typed("{\"[1,5)\",NULL}".into())]),
        (DataType::Enum { name: "mood".into(), labels: vec!["sad".into(), "ok".into()] }, vec![text("ok")]),
    ];
    let (_database, target) = open("").await;
    let tables: Vec<TableSchema> = (0..)
        .zip(&cases)
        .map(|(i, (data_type, _))| table(&format!("t{i}"), &[("n", DataType::Int64), ("c", data_type.clone())], &["n"]))
        .collect();
    target.create(&tables).await;
    for ((_, values), planned) in cases.iter().zip(&tables) {
        let found = target.table(&planned.name.name).await;
        let mut rows: Vec<Row> = (0..).zip(values).map(|(n, v)| vec![Value::Int(n), v.clone()]).collect();
        rows.push(vec![Value::Int(99), Value::Null]);
        target.write(&found, &rows, WriteMode::Load).await.expect("the rows are loaded");
        let back = target.rows(&found).await;
        assert_eq!(
            back.iter().map(bytes).collect::<Vec<_>>(),
            rows.iter().map(bytes).collect::<Vec<_>>(),
            "{}",
            planned.columns[1].data_type
        );
        let again = target.write(&found, &rows, WriteMode::Upsert).await.expect("the rows are compared");
        assert_eq!(again, Some(vec![Outcome::Unchanged; rows.len()]), "{}", planned.columns[1].data_type);
    }
}

#[tokio::test]
async fn an_upsert_says_what_became_of_each_row() {
    let (database, target) = open(
        "CREATE TABLE t(a TEXT COLLATE NOCASE, b INTEGER, c TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID;
        INSERT INTO t VALUES ('x', 1, 'same'), ('x', 2, 'old'), ('Y', 1, 'case')",
    )
    .await;
    let t = target.table("t").await;
    let row = |a: &str, b: i64, c: &str| vec![text(a), Value::Int(b), text(c)];
    let rows = [row("x", 1, "same"), row("x", 2, "new"), row("y", 1, "case"), row("z", 1, "")];
    let outcomes = target.write(&t, &rows, WriteMode::Upsert).await.expect("the rows are merged");
    assert_eq!(outcomes, Some(vec![Outcome::Unchanged, Outcome::Updated, Outcome::Updated, Outcome::Inserted]));
    assert_eq!(target.rows(&t).await, rows, "a key that is spelt otherwise takes the new spelling");
    let rows = [row("X", 1, "left alone"), row("new", 1, "")];
    let outcomes = target.write(&t, &rows, WriteMode::InsertMissing).await.expect("the rows are merged");
    assert_eq!(outcomes, Some(vec![Outcome::Skipped, Outcome::Inserted]));
    assert_eq!(count(&database, "t"), 5);
}

#[tokio::test]
async fn a_refused_row_is_named_with_its_constraint_and_never_its_value() {
    let (_database, target) = open("CREATE TABLE p(id INTEGER PRIMARY KEY);
        CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n TEXT NOT NULL, k INT CONSTRAINT small CHECK (k < 10), p INT REFERENCES p(id));
        CREATE TABLE s(id INTEGER PRIMARY KEY, v INTEGER) STRICT;
        INSERT INTO t VALUES (1, 'secret', 'n', 1, NULL)").await;
    let t = target.table("t").await;
    let good = |id: i64| vec![Value::Int(id), Value::Null, text("n"), Value::Int(1), Value::Null];
    let with = |at: usize, value: Value<'static>| {
        let mut row = good(5);
        row[at] = value;
        row
    };
    let cases = [
        (with(1, text("secret")), "t.u"),
        (with(2, Value::Null), "t.n"),
        (with(3, Value::Int(11)), "small"),
        (with(4, Value::Int(7)), "parent p"),
        (with(0, Value::Int(1)), "t.id"),
        (with(0, text("secret")), "INTEGER PRIMARY KEY"),
    ];
    for (bad, names) in cases {
        let error = target.refusal(&t, &[good(2), good(3), bad.clone(), good(4)], WriteMode::Load).await;
        assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(2)), "{error}");
        assert!(error.to_string().contains(names) && !format!("{error:?}").contains("secret"), "{error}");
    }
    let s = target.table("s").await;
    let error = target.refusal(&s, &[vec![Value::Int(1), text("secret")]], WriteMode::Upsert).await;
    assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(0)), "{error}");
    assert_eq!(target.rows(&t).await.len(), 1, "nothing of a refused batch stays");
}

#[tokio::test]
async fn a_row_that_is_refused_among_those_of_one_statement_is_named() {
    let (_database, target) = open(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE ON CONFLICT REPLACE, \
        n TEXT NOT NULL ON CONFLICT REPLACE DEFAULT '', k INT CONSTRAINT small CHECK (k < 10));
        INSERT INTO t VALUES (1, 'secret', 'n', 1)",
    )
    .await;
    let t = target.table("t").await;
    let good = |id: i64| vec![Value::Int(id), Value::Null, text("n"), Value::Int(1)];
    let with = |at: usize, value: Value<'static>| {
        let mut row = good(5);
        row[at] = value;
        row
    };
    let cases = [
        (with(1, text("secret")), "t.u"),
        (with(2, Value::Null), "t.n"),
        (with(3, Value::Int(11)), "small"),
        (with(0, Value::Int(1)), "t.id"),
        (with(0, Value::Int(3)), "t.id"),
        (with(0, text("secret")), ""),
    ];
    for (bad, names) in cases {
        let error = target.refusal(&t, &[good(2), good(3), bad.clone(), good(4)], WriteMode::Load).await;
        assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(2)), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error}");
        assert!(error.to_string().contains(names), "{error}");
    }
    assert_eq!(target.rows(&t).await.len(), 1, "nothing of a refused batch stays");
}

#[tokio::test]
async fn a_new_file_has_large_pages_and_an_old_one_keeps_its_own() {
    for (script, pages) in [("", 16_384), ("PRAGMA page_size = 1024; CREATE TABLE t(id INTEGER PRIMARY KEY)", 1024)] {
        let (database, target) = open(script).await;
        target.sink.state().initialize().await.expect("the state tables are made");
        let found: i64 = database.connect().query_row("PRAGMA page_size", [], |r| r.get(0)).expect("a number");
        assert_eq!(found, pages);
    }
}

#[tokio::test]
async fn the_rows_of_a_transactions_loads_are_counted_through_and_a_failed_one_frees_the_queue() {
    let (_database, target) = open("CREATE TABLE t(id INTEGER PRIMARY KEY, n TEXT NOT NULL)").await;
    let t = target.table("t").await;
    let row = |id: i64, n: Value<'static>| vec![Value::Int(id), n];
    let mut transaction = target.begin().await;
    let first = page(&t, &[row(1, text("a")), row(2, text("b"))]);
    write(&mut *transaction, &t, &first, WriteMode::Load).await.expect("good rows");
    let second = page(&t, &[row(3, text("c")), row(4, Value::Null)]);
    // Loads are under way while their caller prepares the next rows; that one was refused is told later.
    write(&mut *transaction, &t, &second, WriteMode::Load).await.expect("it is under way");
    let third = page(&t, &[row(5, text("e"))]);
    write(&mut *transaction, &t, &third, WriteMode::Load).await.expect("it waits behind the second");
    let error = write(&mut *transaction, &t, &third, WriteMode::Load).await.expect_err("a NULL came before");
    assert_eq!(error.row(), Some(3));
    assert_eq!(target.rows(&t).await.len(), 0, "what came behind the refused row is not committed by itself");
    // The failed transaction is still held.
    target.write(&t, &[row(1, text("a"))], WriteMode::Load).await.expect("the next in the queue may write");
    assert_eq!(transaction.commit(&StateChanges::default()).await.expect_err("it has failed").kind(), ErrorKind::Internal);
    assert_eq!(target.rows(&t).await.len(), 1);
}

#[tokio::test]
async fn a_page_of_sqlites_own_cells_is_stored_to_the_byte() {
    let (database, target) = open("CREATE TABLE \"2B 'or' \"\"not\"\"\"(\"year.key\" BLOB, \"select\")").await;
    let t = target.table("2B 'or' \"not\"").await;
    let columns = names(&t).into_iter().map(|name| PageColumn { name, data_type: DataType::TEXT });
    let mut cells = PageBuilder::new(columns.collect(), ENCODING);
    cells.begin_row();
    cells.push_cell(b"\x03a\0b").expect("text with a zero byte");
    cells.push_cell(b"\x03\xff\xfe").expect("text that is not UTF-8");
    cells.end_row();
    let cells = cells.finish(None);
    let mut transaction = target.begin().await;
    write(&mut *transaction, &t, &cells, WriteMode::Load).await.expect("the row is stored");
    transaction.commit(&StateChanges::default()).await.expect("the commit passes");
    let query = "SELECT typeof(a) || hex(a) || typeof(b) || hex(b) FROM (SELECT \"year.key\" a, \"select\" b FROM \"2B 'or' \"\"not\"\"\")";
    let stored: String = database.connect().query_row(query, [], |r| r.get(0)).expect("a row");
    assert_eq!(stored, "text610062textFFFE");
}

#[tokio::test]
async fn a_file_of_utf_16_refuses_text_that_it_would_change() {
    for script in [
        "CREATE TABLE t(k INTEGER PRIMARY KEY, v)",
        "CREATE TABLE t(k INTEGER PRIMARY KEY, v); CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    ] {
        let (database, target) = open(&format!("PRAGMA encoding = 'UTF-16le'; {script}")).await;
        let t = target.table("t").await;
        let columns = names(&t).into_iter().map(|name| PageColumn { name, data_type: DataType::TEXT });
        let mut cells = PageBuilder::new(columns.collect(), ENCODING);
        for (key, text) in [(1u8, &b"\x03whole \xc3\xbc"[..]), (2, b"\x03a\xffb")] {
            cells.begin_row();
            cells.push_cell(&[1, 0, 0, 0, 0, 0, 0, 0, key]).expect("an integer");
            cells.push_cell(text).expect("a text");
            cells.end_row();
        }
        let cells = cells.finish(None);
        for mode in [WriteMode::Load, WriteMode::Upsert] {
            let mut transaction = target.begin().await;
            // A load may tell of it as late as at the commit.
            let error = match write(&mut *transaction, &t, &cells, mode).await {
                Err(error) => error,
                Ok(_) => transaction.commit(&StateChanges::default()).await.expect_err("the second text is no UTF-8"),
            };
            assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(1)), "{mode:?} {error:?}");
        }
        let stored: i64 = database.connect().query_row("SELECT count(*) FROM t", [], |r| r.get(0)).expect("a row");
        assert_eq!(stored, 0);
    }
}

#[tokio::test]
async fn only_the_rows_asked_for_are_written() {
    let (_database, target) = open("CREATE TABLE t(id INTEGER PRIMARY KEY)").await;
    let t = target.table("t").await;
    let page = page(&t, &[vec![Value::Int(1)], vec![Value::Int(2)], vec![Value::Int(3)]]);
    let key = names(&t);
    for mode in [WriteMode::Load, WriteMode::Upsert] {
        let rows = if mode == WriteMode::Load { [0, 2] } else { [1, 2] };
        let mut transaction = target.begin().await;
        let request = WriteRequest { table: &t, key: &key, page: &page, rows: Some(&rows), mode };
        transaction.write(request).await.expect("the rows are written");
        transaction.commit(&StateChanges::default()).await.expect("the commit passes");
    }
    assert_eq!(support::ints(&target.rows(&t).await, 0), [1, 2, 3]);
}

#[tokio::test]
async fn generated_columns_are_left_to_the_engine() {
    let (_database, target) =
        open("CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, s INT AS (a * 2) STORED, v INT AS (a + 1))").await;
    let t = target.table("t").await;
    let row = |a: i64| vec![Value::Int(1), Value::Int(a)];
    target.write(&t, &[row(1)], WriteMode::Load).await.expect("loaded");
    assert_eq!(target.write(&t, &[row(1)], WriteMode::Upsert).await.expect("compared"), Some(vec![Outcome::Unchanged]));
    assert_eq!(target.write(&t, &[row(5)], WriteMode::Upsert).await.expect("updated"), Some(vec![Outcome::Updated]));
    assert_eq!(target.rows(&t).await, [[1, 5, 10, 6].map(Value::Int).to_vec()]);
}

#[tokio::test]
async fn a_row_that_a_trigger_ignores_or_takes_away_is_refused_by_name() {
    let (database, target) = open(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);
        CREATE TRIGGER \"no sevens\" BEFORE INSERT ON t WHEN new.n = 7 BEGIN SELECT RAISE(IGNORE); END;
        CREATE TRIGGER eights AFTER INSERT ON t WHEN new.n = 8 BEGIN DELETE FROM t WHERE id = new.id; END;
        CREATE TRIGGER doubled AFTER INSERT ON t WHEN new.n = 1 BEGIN UPDATE t SET n = 2 WHERE id = new.id; END",
    )
    .await;
    let t = target.table("t").await;
    for n in [7, 8] {
        for mode in [WriteMode::Load, WriteMode::Upsert, WriteMode::InsertMissing] {
            let error = target.refusal(&t, &[vec![Value::Int(1), Value::Int(3)], vec![Value::Int(2), Value::Int(n)]], mode).await;
            assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(1)), "{error}");
            assert!(error.to_string().contains("no sevens"), "{error}");
        }
    }
    target.write(&t, &[vec![Value::Int(1), Value::Int(1)]], WriteMode::Load).await.expect("an altered row stays");
    assert_eq!(count(&database, "t WHERE n = 2"), 1, "triggers run");
}

#[tokio::test]
async fn a_constraint_that_would_replace_rows_in_silence_refuses_them() {
    let (_database, target) = open(
        "CREATE TABLE t(id INTEGER PRIMARY KEY ON CONFLICT REPLACE, u TEXT UNIQUE ON CONFLICT IGNORE);
        INSERT INTO t VALUES (1, 'a')",
    )
    .await;
    let t = target.table("t").await;
    let error = target.refusal(&t, &[vec![Value::Int(1), text("b")]], WriteMode::Load).await;
    assert_eq!(error.kind(), ErrorKind::RowRejected);
    let error = target.refusal(&t, &[vec![Value::Int(2), text("a")]], WriteMode::Upsert).await;
    assert_eq!(error.kind(), ErrorKind::RowRejected);
    assert_eq!(target.rows(&t).await, [vec![Value::Int(1), text("a")]]);
}

#[tokio::test]
async fn a_cell_of_a_hundred_megabytes_passes() {
    let (database, target) = open("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)").await;
    let t = target.table("t").await;
    let row = vec![Value::Int(1), Value::Bytes(vec![7; 100 << 20].into())];
    target.write(&t, &[row], WriteMode::Load).await.expect("a large cell");
    assert_eq!(count(&database, "t WHERE length(b) = 104857600"), 1);
}

#[tokio::test]
async fn a_table_without_columns_holds_as_many_rows_as_its_source() {
    let (database, target) = open("").await;
    let void = TableSchema::new(TableName::new(None, "void"));
    target.create(std::slice::from_ref(&void)).await;
    let found = target.table("void").await;
    let mut empty = found.clone();
    empty.columns.clear();
    let rows = page(&empty, &[vec![], vec![]]);
    let mut transaction = target.begin().await;
    write(&mut *transaction, &found, &rows, WriteMode::Load).await.expect("rows of nothing");
    transaction.commit(&StateChanges::default()).await.expect("the commit passes");
    assert_eq!(count(&database, "void"), 2);
}
