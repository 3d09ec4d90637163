//! Reading ranges of keys: cut where the server cuts them, found through the index, and each row once.

use crate::source_support::{Database, error_of, filter, find, key_of, names, own, read_all, values};
use migrate_core::ErrorKind;
use migrate_core::source::{PageRequest, Source};
use migrate_core::value::{Key, KeyRange, Value};

/// Reads a table in every pair of ranges that its own keys cut, and by key, and compares with what SQL says.
async fn walk_in_ranges(make: &str, key: &[&str], order: &str) {
    let database = Database::with(make).await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(key));
    let places: Vec<usize> = key.iter().map(|k| columns.iter().position(|c| c == k).expect("a column")).collect();
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let request = PageRequest::new(&table, &columns, &key);
    let all = values(&read_all(&mut *snapshot, &request).await);
    let listed = database.text(&format!("SELECT string_agg(place::text, ',' ORDER BY {order}) FROM t")).await;
    let at = columns.iter().position(|c| c == "place").expect("every table here has it");
    let place = |row: &Vec<Value<'_>>| match row[at] {
        Value::Int(place) => place.to_string(),
        ref other => panic!("no integer: {other:?}"),
    };
    assert_eq!(all.iter().map(place).collect::<Vec<_>>().join(","), listed, "in the server's order");
    let keys: Vec<Key> = all.iter().map(|row| Key::from_values(places.iter().map(|p| &row[*p]))).collect();
    for from in 0..=keys.len() {
        for to in from..keys.len() {
            let after = from.checked_sub(1).map(|i| keys[i].clone());
            let range = KeyRange { after, up_to: Some(keys[to].clone()) };
            let found = values(&read_all(&mut *snapshot, &request.clone().with_range(range).with_limits(1, usize::MAX)).await);
            assert_eq!(found.len(), to + 1 - from, "{make}: {from}..={to}");
            assert!(found.iter().map(place).eq(all[from..=to].iter().map(place)), "{make}: {from}..={to}");
        }
    }
    let wanted: Vec<Key> = keys.iter().step_by(2).cloned().chain([keys[0].clone()]).collect();
    let page = snapshot.read_rows(&request, &wanted).await.expect("rows by key");
    assert!(page.next.is_none());
    let mut found: Vec<String> = values(&[page]).iter().map(place).collect();
    let mut expected: Vec<String> = all.iter().step_by(2).map(place).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{make}: a key asked for twice gives one row");
}

#[tokio::test]
async fn ranges_of_integer_keys_are_cut_where_the_server_cuts_them() {
    let rows = "INSERT INTO t SELECT k, row_number() OVER () FROM unnest";
    for (column, list) in [("int2", "'{-32768,-1,0,1,32767}'"), ("int8", "'{-9223372036854775808,-5,0,7,9223372036854775807}'")] {
        let make = format!("CREATE TABLE t (\"Odd Key\" {column} PRIMARY KEY, place int); {rows}({list}::{column}[]) k");
        walk_in_ranges(&make, &["Odd Key"], "\"Odd Key\"").await;
    }
}

#[tokio::test]
async fn ranges_of_text_keys_are_cut_in_their_own_collation() {
    let list = "ARRAY['a', 'B', 'é', '', 'z''z', 'back\\slash', 'Z', '🎈', 'a b', 'a-b']";
    for column in ["text COLLATE \"C\"", "text COLLATE \"en-x-icu\"", "varchar(10)", "char(10)", "name", "bpchar"] {
        let make = format!(
            "CREATE TABLE t (k {column} PRIMARY KEY, place int); INSERT INTO t SELECT k, row_number() OVER () FROM unnest({list}) k"
        );
        walk_in_ranges(&make, &["k"], "k").await;
    }
}

#[tokio::test]
async fn ranges_of_every_other_kind_of_key_are_cut_where_the_server_cuts_them() {
    let cases = [
        (
            "uuid",
            "ARRAY['00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ffffffff-ffff-ffff-ffff-ffffffffffff']",
        ),
        ("timestamp", "ARRAY['-infinity', '0044-03-15 12:00:00 BC', '1999-12-31 23:59:59.999999', '2000-01-01', 'infinity']"),
        (
            "timestamptz",
            "ARRAY['-infinity', '0044-03-15 12:00:00+00 BC', '1999-12-31 23:59:59.999999+00', '2020-01-01 00:00:00.5+00', 'infinity']",
        ),
        ("date", "ARRAY['-infinity', '4713-01-01 BC', '2000-01-01', '5874897-12-31', 'infinity']"),
        ("time", "ARRAY['00:00', '12:34:56.789012', '24:00']"),
        ("numeric", "ARRAY['-Infinity', '-12345678901234567890.5', '-1.50', '0', '0.00001', '1e30', 'Infinity', 'NaN']"),
        ("numeric(10,2)", "ARRAY['-1.50', '0', '1.00', '12345678.91']"),
        ("float8", "ARRAY['-Infinity', '-1e300', '-0', '1e-320', '0.1', '1', '9007199254740993', '1e300', 'Infinity', 'NaN']"),
        ("float4", "ARRAY['-Infinity', '-0', '0.1', '16777217', '3e38', 'NaN']"),
        ("bytea", "ARRAY['', '\\x00', '\\x5c27', '\\xff']"),
        ("boolean", "ARRAY['f', 't']"),
        ("interval", "ARRAY['-1 mon', '00:00:00', '1 day 00:00:00.000001', '29 days', '1 mon 1 day']"),
        ("inet", "ARRAY['10.0.0.1', '10.0.0.1/8', '::1']"),
        ("mood", "ARRAY['sad', 'it''s', 'aa']"),
        ("int[]", "ARRAY['{}', '{1,2}', '{2}', '{NULL}']"),
        ("int4range", "ARRAY['empty', '[1,5)', '(,3)']"),
        ("whole", "ARRAY['-3', '0', '14']"),
        ("ext.citext", "ARRAY['a', 'B', 'c']"),
    ];
    for (column, list) in cases {
        let make = format!(
            "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TYPE mood AS ENUM ('sad', 'it''s', 'aa'); \
             CREATE DOMAIN whole AS int; CREATE TABLE t (k {column} PRIMARY KEY, place int); \
             INSERT INTO t SELECT k::{column}, row_number() OVER () FROM unnest({list}) k"
        );
        let order = if column == "ext.citext" { "lower(k::text)" } else { "k" };
        walk_in_ranges(&make, &["k"], order).await;
    }
}

#[tokio::test]
async fn ranges_of_composite_keys_are_cut_as_rows() {
    let make = "CREATE TABLE t (place int, \"year.key\" int, b text COLLATE \"C\", c date, PRIMARY KEY (b, \"year.key\", c)); \
         INSERT INTO t SELECT row_number() OVER (), y, b, d FROM unnest(ARRAY[-1, 0, 2]) y, unnest(ARRAY['x', '', 'X''']) b, \
         unnest(ARRAY['2020-01-01', '-infinity']::date[]) d";
    walk_in_ranges(make, &["b", "year.key", "c"], "b, \"year.key\", c").await;
}

#[tokio::test]
async fn a_page_that_starts_in_the_middle_is_found_through_the_index() {
    let database = Database::with(
        "CREATE TABLE t (a int, b text, pad text, PRIMARY KEY (a, b)); \
         INSERT INTO t SELECT n / 10, 'b' || n, repeat('x', 200) FROM generate_series(1, 50000) n; ANALYZE",
    )
    .await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["a", "b"]));
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let after = key_of(&[Value::Int(4_990), Value::Text("b4".into())]);
    let range = KeyRange { after: Some(after), up_to: None };
    let request = PageRequest::new(&table, &columns, &key).with_range(range).with_limits(1 << 10, usize::MAX);
    snapshot.read_page(&request).await.expect("a page");
    // The stream waits for its reader, so the server still says what it runs.
    let copy =
        database.text("SELECT query FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'").await;
    let select = copy.strip_prefix("COPY (").and_then(|q| q.strip_suffix(") TO STDOUT (FORMAT BINARY)")).expect("a COPY");
    let plan = database.lines(&format!("EXPLAIN {select}")).await;
    assert!(plan.contains("Index Cond: (ROW(a, b)") && !plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn keys_that_are_not_unique_or_hold_null_are_named() {
    let database = Database::with(
        "CREATE TABLE t (a text, b int, c int); INSERT INTO t VALUES ('x', 1, 1), ('x', 1, 2), ('x', 2, 3), ('y', 1, NULL)",
    )
    .await;
    let table = database.table("t").await;
    let columns = names(&table);
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let (twice, once, null) = (own(&["a", "b"]), own(&["a", "b", "c"]), own(&["c"]));
    let found = snapshot.duplicate_keys(&PageRequest::new(&table, &columns, &twice), 5).await.expect("examples");
    assert_eq!(found, ["x, 1"]);
    for key in [&once, &null] {
        let request = PageRequest::new(&table, &columns, key);
        let error = error_of(snapshot.duplicate_keys(&request, 5)).await;
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.to_string().contains("column c") && error.to_string().contains("public.t"), "{error}");
        assert_eq!(error_of(snapshot.read_page(&request)).await.kind(), ErrorKind::Schema, "nor is such a key read by");
    }
    let whole = filter("c IS NOT NULL", &[]);
    let request = PageRequest::new(&table, &columns, &once).with_filter(Some(&whole));
    assert!(snapshot.duplicate_keys(&request, 5).await.expect("under the filter it is a key").is_empty());
    assert_eq!(read_all(&mut *snapshot, &request).await[0].row_count(), 3);
}

#[tokio::test]
async fn cuts_make_ranges_of_about_the_same_size_that_hold_every_row_once() {
    let database = Database::with(
        "CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small SELECT generate_series(-50, 49); \
         CREATE TABLE large (a uuid DEFAULT gen_random_uuid(), b int, pad text DEFAULT repeat('x', 700), PRIMARY KEY (a, b)); \
         INSERT INTO large (b) SELECT generate_series(1, 30000); CREATE TABLE few (id int PRIMARY KEY); INSERT INTO few VALUES (1), (2); \
         CREATE TABLE none (id int PRIMARY KEY); ANALYZE",
    )
    .await;
    let schema = database.schema().await;
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    for (name, rows, key, cuts) in [
        ("small", 100, vec!["id"], 3..4),
        ("large", 30_000, vec!["a", "b"], 3..4),
        ("few", 2, vec!["id"], 0..2),
        ("none", 0, vec!["id"], 0..1),
    ] {
        let (table, key) = (find(&schema, name), own(&key));
        let request = PageRequest::new(&table, &key, &key);
        let found = snapshot.split_keys(&request, 4).await.expect("cuts");
        assert!(cuts.contains(&found.len()), "{name}: {} cuts", found.len());
        let bounds: Vec<Option<Key>> = std::iter::once(None).chain(found.into_iter().map(Some)).chain([None]).collect();
        let mut sum = 0;
        for pair in bounds.windows(2) {
            let range = KeyRange { after: pair[0].clone(), up_to: pair[1].clone() };
            let part: usize =
                read_all(&mut *snapshot, &request.clone().with_range(range)).await.iter().map(|p| p.row_count()).sum();
            assert!(rows < 100 || (part > rows / 8 && part < rows / 2), "{name}: {part} of {rows}");
            sum += part;
        }
        assert_eq!(sum, rows, "{name}");
    }
}
