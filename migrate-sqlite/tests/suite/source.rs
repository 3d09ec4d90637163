//! Reading one consistent view of a SQLite database (P3, P6, P7).

use crate::support::{self, Database, ints, key, names, read, rows, table};
use migrate_core::filter::{Filter, Parameter};
use migrate_core::source::{PageRequest, Snapshot, SnapshotExt, Source};
use migrate_core::value::{DataType, Key, KeyRange, Value};
use migrate_core::{Error, ErrorKind};
use migrate_sqlite::{SqliteConfig, SqliteSource};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const NUMBERS: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(x) AS (SELECT -50 UNION ALL SELECT x + 1 FROM n WHERE x < 949) INSERT INTO t SELECT x, 'row ' || x FROM n;";

pub(crate) async fn open(source: &SqliteSource) -> Box<dyn Snapshot> {
    source.open_snapshot().await.expect("a view")
}

#[tokio::test]
async fn pages_follow_one_another_in_key_order_and_end_with_none() {
    let database = Database::new(NUMBERS);
    let source = database.source();
    let (table, id) = (table(&source, "t").await, key(&["id"]));
    let mut snapshot = open(&source).await;
    let all = read(snapshot.as_mut(), &table, &id).await;
    assert_eq!(ints(&all, 0), (-50..950).collect::<Vec<_>>());
    assert_eq!(snapshot.count_rows(&table, None).await.expect("a count"), 1000);

    let columns = names(&table);
    let request = PageRequest::new(&table, &columns, &id).with_limits(200, usize::MAX);
    let page = snapshot.read_page(&request).await.expect("a page");
    assert!(page.data().len() >= 200 && page.data().len() < 300, "a page ends at its limit: {page:?}");
    let page = snapshot.read_page(&request.clone().with_limits(1, 1)).await.expect("a page");
    assert_eq!(page.row_count(), 1, "a page holds at least one row");
}

#[tokio::test]
async fn every_range_holds_the_same_rows_as_a_query_does() {
    let script = "CREATE TABLE t(a TEXT, b REAL, c BLOB, PRIMARY KEY (b, a)) WITHOUT ROWID;
        WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x < 199)
        INSERT INTO t SELECT char(97 + x % 7) || x, (x % 11) / 2.0 - 2, zeroblob(x % 3) FROM n;";
    let database = Database::new(script);
    let source = database.source();
    // The key's columns are named in another order than the index has them.
    let (table, columns) = (table(&source, "t").await, key(&["c", "a", "b"]));
    let by = key(&["a", "b"]);
    let mut snapshot = open(&source).await;
    let request = PageRequest::new(&table, &columns, &by).with_limits(1 << 20, 13);
    let pages = snapshot.read_all(&request).await.expect("all rows");
    let all: Vec<_> = pages.iter().flat_map(rows).collect();
    assert_eq!(all.len(), 200);
    let keys: Vec<Key> = all.iter().map(|row| Key::from_values(&row[1..3])).collect();
    for (from, to) in [(0, 0), (3, 3), (0, 199), (17, 120), (198, 199)] {
        let range = KeyRange { after: Some(keys[from].clone()), up_to: Some(keys[to].clone()) };
        let pages = snapshot.read_all(&request.clone().with_range(range)).await.expect("a range");
        let found: Vec<_> = pages.iter().flat_map(rows).collect();
        assert_eq!(found, all[from + 1..=to.max(from)].to_vec(), "{from}..{to}");
    }
    let some = snapshot.read_rows(&request, &[keys[5].clone(), keys[100].clone()]).await.expect("two rows");
    assert_eq!(rows(&some), [all[5].clone(), all[100].clone()]);
    assert_eq!(some.next, None);
    let missing = Key::from_values(&[Value::Text("zz".into()), Value::Float(0.5)]);
    assert!(snapshot.read_rows(&request, &[missing]).await.expect("none").is_empty());
}

#[tokio::test]
async fn null_in_a_legacy_key_loses_no_row() {
    let script = "CREATE TABLE t(a TEXT, b INT, v INT, PRIMARY KEY (a, b));
        INSERT INTO t VALUES (NULL, NULL, 0), (NULL, 1, 1), (NULL, 2, 2), ('', NULL, 3), ('', -1, 4), ('x', NULL, 5), ('x', 7, 6), ('y', 0, 7);";
    let database = Database::new(script);
    let source = database.source();
    let (table, by) = (table(&source, "t").await, key(&["a", "b"]));
    let columns = names(&table);
    let mut snapshot = open(&source).await;
    let request = PageRequest::new(&table, &columns, &by).with_limits(1 << 20, 2);
    let pages = snapshot.read_all(&request).await.expect("all rows");
    let all: Vec<_> = pages.iter().flat_map(rows).collect();
    assert_eq!(ints(&all, 2), (0..8).collect::<Vec<_>>());
    let keys: Vec<Key> = all.iter().map(|row| Key::from_values(&row[..2])).collect();
    for from in 0..8 {
        for to in from..8 {
            let range = KeyRange { after: Some(keys[from].clone()), up_to: Some(keys[to].clone()) };
            // A view that has not seen the pages before answers the same.
            let mut fresh = open(&source).await;
            let pages = fresh.read_all(&request.clone().with_range(range)).await.expect("a range");
            let found: Vec<_> = pages.iter().flat_map(rows).collect();
            assert_eq!(found, all[from + 1..=to], "{from}..{to}");
        }
    }
    let found = snapshot.read_rows(&request, &keys).await.expect("all of them");
    assert_eq!(ints(&rows(&found), 2), (0..8).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_of_any_storage_class_and_collation_are_walked_through() {
    let script = "CREATE TABLE mixed(k PRIMARY KEY); INSERT INTO mixed VALUES (1), (-1.5), ('1'), ('a'), (x'00'), (x'61'), (9223372036854775807), (1e300), ('');
        CREATE TABLE folded(k TEXT COLLATE NOCASE PRIMARY KEY, v INT); INSERT INTO folded VALUES ('b', 2), ('A', 1), ('a ', 1), ('C', 3);
        CREATE TABLE index_folded(k TEXT NOT NULL, v INT); CREATE UNIQUE INDEX i ON index_folded(k COLLATE NOCASE DESC);
        INSERT INTO index_folded VALUES ('B', 2), ('a', 1), ('C', 3);";
    let database = Database::new(script);
    let source = database.source();
    let mut snapshot = open(&source).await;
    for (name, count) in [("mixed", 9), ("folded", 4), ("index_folded", 3)] {
        let (table, by) = (table(&source, name).await, key(&["k"]));
        let columns = names(&table);
        let request = PageRequest::new(&table, &columns, &by).with_limits(1, 1);
        let all: Vec<_> = snapshot.read_all(&request).await.expect(name).iter().flat_map(rows).collect();
        assert_eq!(all.len(), count, "{name}");
        for (i, row) in all.iter().enumerate() {
            let after = KeyRange { after: Some(Key::from_values(&row[..1])), up_to: None };
            let behind = read_in(&source, &request.clone().with_range(after)).await;
            assert_eq!(behind, all[i + 1..], "{name} behind row {i}");
        }
    }
}

async fn read_in(source: &SqliteSource, request: &PageRequest<'_>) -> Vec<Vec<Value<'static>>> {
    let pages = open(source).await.read_all(request).await.expect("a range");
    pages.iter().flat_map(rows).collect()
}

#[tokio::test]
async fn a_key_in_another_collations_index_is_ordered_without_it() {
    // The application that knows the collation is not here.
    let script = "CREATE TABLE t(k TEXT PRIMARY KEY, v INT); INSERT INTO t VALUES ('b', 1), ('aa', 2), ('c', 3);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = 'CREATE TABLE t(k TEXT COLLATE klingon PRIMARY KEY, v INT)' WHERE name = 't';";
    let database = Database::new(script);
    let source = database.source();
    let table = table(&source, "t").await;
    let all = read(open(&source).await.as_mut(), &table, &key(&["k"])).await;
    assert_eq!(ints(&all, 1), [2, 1, 3]);
}

#[tokio::test]
async fn tables_without_a_key_are_read_by_rowid_and_views_by_counting() {
    let script = "CREATE TABLE t(rowid TEXT, v INT); INSERT INTO t(_rowid_, v) VALUES (-5, 1), (3, 2), (9223372036854775807, 3);
        CREATE VIEW w AS SELECT v * 10 AS x FROM t ORDER BY v DESC; CREATE TABLE e(v);";
    let database = Database::new(script);
    let source = database.source();
    let mut snapshot = open(&source).await;
    for (name, column, expected) in [("t", 1, vec![1, 2, 3]), ("w", 0, vec![30, 20, 10]), ("e", 0, vec![])] {
        let table = table(&source, name).await;
        let columns = names(&table);
        let request = PageRequest::new(&table, &columns, &[]).with_limits(1, 1);
        let all: Vec<_> = snapshot.read_all(&request).await.expect(name).iter().flat_map(rows).collect();
        assert_eq!(ints(&all, column), expected, "{name}");
    }
    assert_eq!(snapshot.count_rows(&table(&source, "w").await, None).await.expect("a count"), 3);
}

#[tokio::test]
async fn a_filter_is_bound_and_holds_for_pages_counts_and_lookups() {
    let database = Database::new(NUMBERS);
    let source = database.source();
    let table = table(&source, "t").await;
    let parameters = BTreeMap::from([
        ("least".to_owned(), Parameter::Int(900)),
        ("text".to_owned(), Parameter::Text("row 901' OR 1=1 --".to_owned())),
        ("unused".to_owned(), Parameter::Bool(true)),
    ]);
    let filter = Filter::parse("id >= :least AND v <> :text -- a comment", &parameters).expect("a filter");
    let mut snapshot = open(&source).await;
    assert_eq!(snapshot.count_rows(&table, Some(&filter)).await.expect("a count"), 50);
    let (columns, id) = (names(&table), key(&["id"]));
    let request = PageRequest::new(&table, &columns, &id).with_filter(Some(&filter)).with_limits(1 << 20, 7);
    let all: Vec<_> = snapshot.read_all(&request).await.expect("rows").iter().flat_map(rows).collect();
    assert_eq!(ints(&all, 0), (900..950).collect::<Vec<_>>());
    let keys = [899, 900].map(|v| Key::from_values([&Value::Int(v)]));
    assert_eq!(snapshot.read_rows(&request, &keys).await.expect("one").row_count(), 1);
    let wrong = Filter::parse("nothing = 1", &BTreeMap::new()).expect("a filter");
    let error = snapshot.count_rows(&table, Some(&wrong)).await.expect_err("no such column");
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("nothing"), "{error}");
}

#[tokio::test]
async fn a_column_that_is_gone_is_an_error_and_never_its_name_as_text() {
    let database = Database::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 2)");
    let source = database.source();
    let table = table(&source, "t").await;
    database.connect().execute_batch("ALTER TABLE t DROP COLUMN v").expect("dropped");
    let (columns, id) = (names(&table), key(&["id"]));
    let mut snapshot = open(&source).await;
    let error = snapshot.read_page(&PageRequest::new(&table, &columns, &id)).await.expect_err("v is gone");
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
    assert_eq!(source.check_readable(&table).await.expect_err("v is gone").kind(), ErrorKind::Schema);
    let only_id = key(&["id"]);
    let page = snapshot.read_page(&PageRequest::new(&table, &only_id, &id)).await.expect("the view goes on");
    assert_eq!(page.row_count(), 1);
}

#[tokio::test]
async fn duplicate_keys_are_found_with_examples() {
    let script = "CREATE TABLE t(a TEXT COLLATE NOCASE, b INT); INSERT INTO t VALUES ('x', 1), ('X', 1), ('y', 1), (NULL, NULL), (NULL, NULL);";
    let database = Database::new(script);
    let source = database.source();
    let table = table(&source, "t").await;
    let columns = names(&table);
    let mut snapshot = open(&source).await;
    let by = key(&["b", "a"]);
    let found = snapshot.duplicate_keys(&PageRequest::new(&table, &columns, &by), 10).await.expect("an answer");
    assert_eq!(found.len(), 2);
    assert!(found.contains(&"NULL, NULL".to_owned()), "{found:?}");
    assert!(found.iter().any(|k| k.eq_ignore_ascii_case("1, x")), "{found:?}");
    assert_eq!(snapshot.duplicate_keys(&PageRequest::new(&table, &columns, &by), 1).await.expect("one").len(), 1);
}

pub(crate) async fn both_errors(config: SqliteConfig) -> Vec<Error> {
    let source = SqliteSource::new(config);
    vec![source.schema().await.expect_err("no schema"), source.open_snapshot().await.err().expect("no view")]
}

#[tokio::test]
async fn p11_what_is_no_database_is_said_plainly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let garbage = folder.path().join("garbage.db");
    let bytes: Vec<u8> = (0..8192u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&garbage, bytes).expect("written");
    let short = folder.path().join("short.db");
    std::fs::write(&short, "hello").expect("written");
    let missing = folder.path().join("missing.db");
    for (path, text) in [
        (garbage, "not a SQLite database"),
        (short, "not a SQLite database"),
        (folder.path().to_path_buf(), "a folder"),
        (missing.clone(), "no such SQLite database file"),
    ] {
        for error in both_errors(SqliteConfig::new(&path)).await {
            assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
            assert!(error.to_string().contains(text) && error.to_string().contains(path.to_str().expect("UTF-8")), "{error}");
        }
    }
    assert!(!missing.exists(), "a source creates nothing");
}

#[tokio::test]
async fn a_request_that_was_given_up_disturbs_no_later_one() {
    let database = Database::new(NUMBERS);
    let source = database.source();
    let (table, id) = (table(&source, "t").await, key(&["id"]));
    let columns = names(&table);
    let mut snapshot = open(&source).await;
    let mut request = PageRequest::new(&table, &columns, &id).with_limits(1 << 20, 100);
    let mut all = Vec::new();
    loop {
        // Each page is asked for twice; the first request is dropped after it was sent, with or without its answer.
        {
            let mut given_up = Box::pin(snapshot.read_page(&request));
            std::future::poll_fn(|context| {
                let _ = given_up.as_mut().poll(context);
                std::task::Poll::Ready(())
            })
            .await;
        }
        let page = snapshot.read_page(&request).await.expect("a page");
        all.extend(rows(&page));
        match page.next.clone() {
            Some(next) => request.range.after = Some(next),
            None => break,
        }
    }
    assert_eq!(ints(&all, 0), (-50..950).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_count_that_was_given_up_stops() {
    let script = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x');
        CREATE VIEW endless AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n WHERE x < 0;";
    let database = Database::new(script);
    let source = database.source();
    let (endless, table) = (table(&source, "endless").await, table(&source, "t").await);
    let mut snapshot = open(&source).await;
    let waited = tokio::time::timeout(Duration::from_millis(50), snapshot.count_rows(&endless, None)).await;
    assert!(waited.is_err(), "it cannot end by itself");
    assert_eq!(snapshot.count_rows(&table, None).await.expect("the view goes on"), 1);
    let columns = names(&endless);
    let request = PageRequest::new(&endless, &columns, &[]);
    let waited = tokio::time::timeout(Duration::from_millis(50), snapshot.read_page(&request)).await;
    assert!(waited.is_err(), "it cannot end by itself");
    drop(snapshot);
}

#[tokio::test]
async fn p6_huge_cells_pass_one_at_a_time() {
    let script = "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);
        INSERT INTO t VALUES (1, zeroblob(100000000)), (2, 'small'), (3, zeroblob(100000000)), (4, NULL);";
    let database = Database::new(script);
    let source = database.source();
    let (table, id) = (table(&source, "t").await, key(&["id"]));
    let columns = names(&table);
    let mut snapshot = open(&source).await;
    let mut request = PageRequest::new(&table, &columns, &id);
    let mut sizes = Vec::new();
    loop {
        let page = snapshot.read_page(&request).await.expect("a page");
        sizes.extend(page.rows().map(|row| row.data().len()));
        assert!(page.rows().filter(|row| row.data().len() > 1000).count() <= 1, "a page holds one huge row at most");
        match page.next.clone() {
            Some(next) => request.range.after = Some(next),
            None => break,
        }
    }
    assert_eq!(sizes.iter().map(|s| s / 1_000_000).collect::<Vec<_>>(), [100, 0, 100, 0]);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_read_and_refused_cell_by_cell() {
    let script = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, CAST(x'ff00' AS TEXT)), (2, 'a' || char(0) || 'b');";
    let database = Database::new(script);
    let source = database.source();
    let (table, id) = (table(&source, "t").await, key(&["id"]));
    let columns = names(&table);
    let page = open(&source).await.read_page(&PageRequest::new(&table, &columns, &id)).await.expect("a page");
    assert_eq!(page.row(0).value(1).expect_err("not UTF-8").kind(), ErrorKind::RowRejected);
    assert_eq!(page.row(0).cells().nth(1).flatten(), Some(&[3, 0xff, 0][..]));
    assert_eq!(page.row(1).value(1).expect("text"), Value::Text("a\0b".into()));
}

#[tokio::test]
async fn a_key_that_is_not_utf8_holds_nothing_up() {
    let script = "CREATE TABLE t(k TEXT PRIMARY KEY, v INT); INSERT INTO t VALUES ('a', 1), (CAST(x'ff' AS TEXT), 3), (CAST(x'62ff' AS TEXT), 2);";
    let database = Database::new(script);
    let source = database.source();
    let (table, by) = (table(&source, "t").await, key(&["k"]));
    let columns = names(&table);
    let request = PageRequest::new(&table, &columns, &by).with_limits(1, 1);
    let pages = open(&source).await.read_all(&request).await.expect("pages");
    let places: Vec<Value<'_>> = pages.iter().flat_map(|p| p.rows().map(|r| r.value(1).expect("an integer"))).collect();
    assert_eq!(places, [Value::Int(1), Value::Int(2), Value::Int(3)]);
}

#[tokio::test]
async fn cells_keep_their_own_type_whatever_the_column_says() {
    let script = "CREATE TABLE t(id INTEGER PRIMARY KEY, d DATE, n REAL, b REAL8_BLOB);
        INSERT INTO t VALUES (1, '2020-01-01', 1, -0.0), (2, 5, 'x', 'NaN'), (3, x'00', 9e999, 9007199254740993);";
    let database = Database::new(script);
    let source = database.source();
    let table = table(&source, "t").await;
    assert_eq!(support::column(&table, "b").data_type, DataType::Float64);
    let all = read(open(&source).await.as_mut(), &table, &key(&["id"])).await;
    assert_eq!(all[0][1..3], [Value::Text("2020-01-01".into()), Value::Float(1.0)]);
    assert!(matches!(all[0][3], Value::Float(v) if v.to_bits() == (-0.0f64).to_bits()));
    assert_eq!(all[1][1..], [Value::Int(5), Value::Text("x".into()), Value::Text("NaN".into())]);
    assert_eq!(all[2][1..], [Value::Bytes(b"\0".into()), Value::Float(f64::INFINITY), Value::Int(9_007_199_254_740_993)]);
}
