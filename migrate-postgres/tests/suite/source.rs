//! Reading rows from a real server.

use crate::source_support::{self, Database, error_of, filter, find, ints, key_of, names, own, read_all, values};
use migrate_core::ErrorKind;
use migrate_core::filter::Parameter;
use migrate_core::schema::{TableName, TableSchema};
use migrate_core::source::{PageRequest, Source};
use migrate_core::value::{Key, KeyRange, Value};
use migrate_postgres::{PostgresConfig, PostgresSource};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

/// A filter, its parameters, and the same condition written out.
type FilterCase<'a> = (&'a str, &'a [(&'a str, Parameter)], &'a str);

#[tokio::test]
async fn every_value_is_decoded_as_the_server_prints_it() {
    let database = Database::with(
        "SET timezone = 'Asia/Kolkata'; CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE pair AS (a int, b text); \
         CREATE DOMAIN whole AS numeric(5,0); \
         CREATE TABLE t (id int PRIMARY KEY, b bool, i2 int2, f4 float4, f8 float8, n numeric, c char(4), by bytea, d date, tm time, \
          tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid, j json, jb jsonb, e mood, w whole, arr int[], ine inet, \
          x xml, p pair, m money, bits bit(3)); \
         INSERT INTO t VALUES (1, true, -2, 'NaN', '-0', 'NaN', 'a', '\\x00ff', 'infinity', '24:00', '12:00+05:30', '-infinity', \
          '2020-01-01 00:00:00.000001+00', '1 mon -2 days 00:00:03', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\" :1}', '{\"a\" :1}', \
          'sad', 12, '{{1,NULL},{3,4}}', '10.0.0.1', '<a/>', ROW(NULL, NULL), '12.34', '101'), \
          (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
          NULL, NULL, NULL, NULL)",
    )
    .await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["id"]));
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let rows = values(&read_all(&mut *snapshot, &PageRequest::new(&table, &columns, &key)).await);
    let typed = |text: &'static str| Value::Typed(text.into());
    let first = &rows[0];
    assert_eq!(first[1..3], [Value::Bool(true), Value::Int(-2)]);
    assert!(matches!(first[3], Value::Float(f) if f.is_nan()));
    assert!(matches!(first[4], Value::Float(f) if f == 0.0 && f.is_sign_negative()));
    assert!(matches!(&first[5], Value::Decimal(d) if d.as_bytes() == [0, 0, 0, 0, 0xc0, 0, 0, 0]));
    assert_eq!(first[6..9], [Value::Text("a   ".into()), Value::Bytes([0u8, 0xff].as_slice().into()), Value::Date(i32::MAX)]);
    assert_eq!(first[9..11], [Value::Time(86_400_000_000), Value::TimeTz(43_200_000_000, -19_800)]);
    assert_eq!(first[11..13], [Value::Timestamp(i64::MIN), Value::TimestampTz(631_152_000_000_001)]);
    assert_eq!(first[13], Value::Interval { months: 1, days: -2, micros: 3_000_000 });
    assert!(matches!(first[14], Value::Uuid(u) if u[..2] == [0xa0, 0xee]));
    assert_eq!(first[15..18], [Value::Json("{\"a\" :1}".into()), Value::Jsonb("{\"a\": 1}".into()), Value::Text("sad".into())]);
    assert!(matches!(&first[18], Value::Decimal(d) if d.to_i64() == Some(12)));
    // An inet without its mask, as it is printed; a row of NULLs, which is not NULL.
    let rest = [typed("{{1,NULL},{3,4}}"), typed("10.0.0.1"), typed("<a/>"), typed("(,)"), typed("$12.34"), typed("101")];
    assert_eq!(first[19..], rest);
    assert!(rows[1][1..].iter().all(Value::is_null));
}

#[tokio::test]
async fn pages_keep_to_their_limits_and_only_the_last_has_no_next() {
    let database = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, repeat('x', 90) FROM generate_series(1, 1000) n; \
         CREATE TABLE empty (id int PRIMARY KEY)",
    )
    .await;
    let schema = database.schema().await;
    let (table, empty) = (find(&schema, "t"), find(&schema, "empty"));
    let (columns, key) = (names(&table), own(&["id"]));
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    for (max_bytes, max_rows) in
        [(usize::MAX, 1), (usize::MAX, 100), (usize::MAX, 333), (usize::MAX, 1000), (4096, usize::MAX), (1, 9)]
    {
        let request = PageRequest::new(&table, &columns, &key).with_limits(max_bytes, max_rows);
        let pages = read_all(&mut *snapshot, &request).await;
        assert_eq!(ints(&pages), (1..=1000).collect::<Vec<_>>());
        for page in &pages {
            assert!(page.row_count() >= 1 && page.row_count() <= max_rows);
            assert!(page.data().len() <= max_bytes || page.row_count() == 1, "{} bytes", page.data().len());
        }
        let expected = if max_rows == usize::MAX {
            1000usize.div_ceil(4096 / 104)
        } else {
            1000usize.div_ceil(if max_bytes == 1 { 1 } else { max_rows })
        };
        assert_eq!(pages.len(), expected);
    }
    let (columns, key) = (names(&empty), own(&["id"]));
    let page = snapshot.read_page(&PageRequest::new(&empty, &columns, &key)).await.expect("an empty page");
    assert!(page.is_empty() && page.next.is_none());
}

#[tokio::test]
async fn filters_are_pushed_down_with_their_parameters_bound() {
    let database = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, \"at it\" timestamptz, kind text, n numeric, ok bool, big int8, code text); \
         INSERT INTO t SELECT n, '2020-01-01+00'::timestamptz + n * interval '1 day', CASE WHEN n % 2 = 0 THEN 'it''s' ELSE E'a\\\\b' END, \
         n / 10.0, n % 3 = 0, n * 10000000000, n FROM generate_series(1, 100) n; \
         CREATE FUNCTION even(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 % 2 = 0'; \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public', current_database()); END $$",
    )
    .await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["id"]));
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let text = |t: &str| Parameter::Text(t.to_owned());
    let cases: &[FilterCase<'_>] = &[
        ("id < :max", &[("max", Parameter::Int(10))], "id < 10"),
        (
            "\"at it\" >= :since AND kind = :kind",
            &[("since", text("2020-03-01 00:00+00")), ("kind", text("it's"))],
            "\"at it\" >= '2020-03-01+00' AND kind = 'it''s'",
        ),
        ("kind = :kind", &[("kind", text("a\\b"))], "kind = E'a\\\\b'"),
        ("kind = :kind", &[("kind", text("'; DROP TABLE t; --"))], "false"),
        ("n = :n", &[("n", Parameter::Float(0.3))], "n = 0.3"),
        ("ok = :ok", &[("ok", Parameter::Bool(true))], "ok"),
        ("big > :big", &[("big", Parameter::Int(500_000_000_000))], "big > 500000000000"),
        ("\"at it\"::date = date '2020-01-05' + :days", &[("days", Parameter::Int(3))], "id = 7"),
        ("id = :a OR id = :A", &[("a", Parameter::Int(3)), ("A", Parameter::Int(4))], "id IN (3, 4)"),
        // A number, or a truth value, where the column is a text.
        ("code = :code AND id < :max", &[("code", Parameter::Int(42)), ("max", Parameter::Int(50))], "id = 42"),
        ("code IN (:a, :b)", &[("a", Parameter::Int(7)), ("b", text("8"))], "id IN (7, 8)"),
        ("id::varchar(9) = :code", &[("code", Parameter::Int(42))], "id = 42"),
        ("trim_scale(n)::text = :n", &[("n", Parameter::Float(0.5))], "n = 0.5"),
        ("ok::text = :ok", &[("ok", Parameter::Bool(true))], "ok"),
        ("coalesce(kind, :code) = :code", &[("code", Parameter::Int(42))], "false"),
        ("even(id) -- a function of the user's own, and a comment", &[], "id % 2 = 0"),
        ("id > 5 OR true", &[], "true"),
    ];
    for (sql, parameters, plain) in cases {
        let filter = filter(sql, parameters);
        let request = PageRequest::new(&table, &columns, &key).with_filter(Some(&filter));
        let expected =
            database.text(&format!("SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM t WHERE {plain}")).await;
        let found = ints(&read_all(&mut *snapshot, &request).await);
        assert_eq!(found.iter().map(i64::to_string).collect::<Vec<_>>().join(","), expected, "{sql}");
        assert_eq!(snapshot.count_rows(&table, Some(&filter)).await.expect("the count"), found.len() as u64, "{sql}");
        // With a range: an OR in the filter must not reach beyond it.
        let range = KeyRange { after: Some(key_of(&[Value::Int(50)])), up_to: Some(key_of(&[Value::Int(60)])) };
        let part = ints(&read_all(&mut *snapshot, &request.clone().with_range(range)).await);
        assert_eq!(part, found.iter().copied().filter(|id| (51..=60).contains(id)).collect::<Vec<_>>(), "{sql}");
        let wanted = [key_of(&[Value::Int(4)]), key_of(&[Value::Int(55)])];
        let by_key = snapshot.read_rows(&request, &wanted).await.expect("rows by key");
        assert_eq!(by_key.row_count(), found.iter().filter(|id| [4, 55].contains(id)).count(), "{sql}");
    }
    for wrong in ["no_such_column = 1", "id = ", "id = :x"] {
        let filter = filter(wrong, &[("x", text("no number"))]);
        let error = error_of(snapshot.count_rows(&table, Some(&filter))).await;
        assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
        assert!(!format!("{error:?}").contains("no number"), "{error:?}");
    }
    assert_eq!(snapshot.count_rows(&table, None).await.expect("an error before closes its session alone"), 100);
}

#[tokio::test]
async fn a_snapshot_and_its_forks_see_the_same_rows_whatever_is_written_meanwhile() {
    let database = Database::with("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)").await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["id"]));
    let request = PageRequest::new(&table, &columns, &key).with_limits(usize::MAX, 7);
    let mut first = database.source().open_snapshot().await.expect("a snapshot");
    let page = first.read_page(&request).await.expect("a page");
    database
        .run(
            "DELETE FROM t WHERE id % 2 = 0; INSERT INTO t SELECT generate_series(200, 300); UPDATE t SET id = -id WHERE id < 50",
        )
        .await;
    let mut fork = first.fork().await.expect("a fork");
    assert_eq!(ints(&read_all(&mut *fork, &request).await), (1..=100).collect::<Vec<_>>());
    assert_eq!(fork.position(), first.position());
    let rest = request.clone().with_range(KeyRange { after: page.next.clone(), up_to: None });
    assert_eq!(ints(&read_all(&mut *first, &rest).await), (8..=100).collect::<Vec<_>>());
    drop(first);
    assert_eq!(fork.count_rows(&table, None).await.expect("a fork outlives its origin"), 100);
    let mut later = database.source().open_snapshot().await.expect("a snapshot");
    assert_eq!(later.count_rows(&table, None).await.expect("the count"), 151);
    assert_ne!(later.position(), fork.position());
    assert!(later.position().0.contains("\"xmin\"") && later.position().0.contains("\"lsn\""), "{}", later.position());
}

#[tokio::test]
async fn a_request_that_does_not_go_on_starts_anew_and_a_smaller_page_is_no_reason_to_lose_rows() {
    let database = Database::with("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)").await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["id"]));
    let request = PageRequest::new(&table, &columns, &key).with_limits(usize::MAX, 10);
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let after = |id: i64| KeyRange { after: Some(key_of(&[Value::Int(id)])), up_to: None };
    let mut read = async |request: PageRequest<'_>| ints(&[snapshot.read_page(&request).await.expect("a page")]);
    assert_eq!(read(request.clone()).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(read(request.clone().with_range(after(10))).await, (11..=20).collect::<Vec<_>>());
    assert_eq!(read(request.clone().with_range(after(10))).await, (11..=20).collect::<Vec<_>>(), "the same again");
    assert_eq!(read(request.clone().with_range(after(20)).with_limits(usize::MAX, 3)).await, (21..=23).collect::<Vec<_>>());
    assert_eq!(read(request.clone().with_range(after(23))).await, (24..=33).collect::<Vec<_>>());
    assert_eq!(read(request.clone()).await, (1..=10).collect::<Vec<_>>(), "from the start");
    assert_eq!(read(request.with_range(after(95))).await, (96..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn tables_without_a_key_or_without_a_column_are_read_in_one_go() {
    let database = Database::with(
        "CREATE TABLE t (a int); INSERT INTO t SELECT n % 3 FROM generate_series(1, 100) n; \
         CREATE TABLE nothing (); INSERT INTO nothing SELECT FROM generate_series(1, 5)",
    )
    .await;
    let schema = database.schema().await;
    let (table, nothing) = (find(&schema, "t"), find(&schema, "nothing"));
    let columns = names(&table);
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let request = PageRequest::new(&table, &columns, &[]).with_limits(usize::MAX, 30);
    let pages = read_all(&mut *snapshot, &request).await;
    assert_eq!(pages.iter().map(|p| p.row_count()).collect::<Vec<_>>(), [30, 30, 30, 10]);
    assert_eq!(pages[1].next, Some(key_of(&[Value::Int(60)])));
    let middle = request.with_range(KeyRange { after: pages[0].next.clone(), up_to: None });
    assert_eq!(error_of(snapshot.read_page(&middle)).await.kind(), ErrorKind::Unsupported);
    let pages = read_all(&mut *snapshot, &PageRequest::new(&nothing, &[], &[]).with_limits(usize::MAX, 2)).await;
    assert_eq!(pages.iter().map(|p| p.row_count()).sum::<usize>(), 5);
    assert_eq!(snapshot.count_rows(&nothing, None).await.expect("the count"), 5);
}

#[tokio::test]
async fn partitions_are_read_through_their_parent_and_heirs_apart_from_theirs() {
    let database = Database::with(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (50); \
         CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p SELECT generate_series(1, 99); \
         CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (base); \
         INSERT INTO base VALUES (1), (2); INSERT INTO heir VALUES (3); CREATE VIEW v AS SELECT id * 2 AS id FROM base; \
         CREATE MATERIALIZED VIEW m AS SELECT * FROM p",
    )
    .await;
    let schema = database.schema().await;
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let key = own(&["id"]);
    let cases: [(&str, Vec<i64>); 7] = [
        ("p", (1..=99).collect()),
        ("p1", (1..=49).collect()),
        ("p2", (50..=99).collect()),
        ("base", vec![1, 2]),
        ("heir", vec![3]),
        ("v", vec![2, 4, 6]),
        ("m", (1..=99).collect()),
    ];
    for (name, expected) in cases {
        let table = find(&schema, name);
        let found = ints(&read_all(&mut *snapshot, &PageRequest::new(&table, &key, &key)).await);
        assert_eq!(found, expected, "{name}");
        assert_eq!(snapshot.count_rows(&table, None).await.expect("the count"), expected.len() as u64, "{name}");
        assert!(snapshot.duplicate_keys(&PageRequest::new(&table, &key, &key), 5).await.expect("a key").is_empty(), "{name}");
        snapshot.split_keys(&PageRequest::new(&table, &key, &key), 4).await.expect("cuts");
    }
}

#[tokio::test]
async fn rights_and_hidden_rows_are_found_before_anything_is_read() {
    let database = Database::with(
        "DO $$ BEGIN CREATE ROLE b_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         CREATE TABLE free (a int, b int); GRANT SELECT ON free TO b_reader; \
         CREATE TABLE part (a int, \"Se\"\"cret\" int); GRANT SELECT (a) ON part TO b_reader; CREATE TABLE closed (a int); \
         CREATE TABLE rows (a int); INSERT INTO rows VALUES (1), (2); GRANT SELECT ON rows TO b_reader; \
         ALTER TABLE rows ENABLE ROW LEVEL SECURITY; CREATE POLICY half ON rows USING (a = 1); \
         CREATE SCHEMA hidden; CREATE TABLE hidden.t (a int); GRANT SELECT ON hidden.t TO b_reader",
    )
    .await;
    let schema = database.schema().await;
    let source = source_support::source(&database.url_as("b_reader"));
    source.check_readable(&find(&schema, "free")).await.expect("it may be read");
    let mut partly = find(&schema, "part");
    let error = error_of(source.check_readable(&partly)).await;
    assert!(error.kind() == ErrorKind::Permission && error.to_string().contains("Se\"cret"), "{error}");
    partly.columns.truncate(1);
    source.check_readable(&partly).await.expect("the columns that are left may be read");
    for name in ["closed", "rows"] {
        let error = error_of(source.check_readable(&find(&schema, name))).await;
        assert!(error.kind() == ErrorKind::Permission && error.to_string().contains(&format!("public.{name}")), "{error}");
    }
    let hidden = schema.table(&TableName::new(Some("hidden"), "t"), None).expect("listed");
    assert_eq!(error_of(source.check_readable(hidden)).await.kind(), ErrorKind::Permission);
    assert_eq!(
        error_of(source.check_readable(&TableSchema::new(TableName::new(Some("public"), "gone")))).await.kind(),
        ErrorKind::Schema
    );
    let rows = find(&schema, "rows");
    let (columns, mut snapshot) = (names(&rows), source.open_snapshot().await.expect("a snapshot"));
    let error = error_of(snapshot.read_page(&PageRequest::new(&rows, &columns, &[]))).await;
    assert_eq!(error.kind(), ErrorKind::Permission, "half of the rows would be a lie: {error:?}");
    database.source().check_readable(&rows).await.expect("a superuser sees all rows");
}

#[tokio::test]
async fn a_table_or_column_that_is_gone_is_said_by_name() {
    let database = Database::with("CREATE TABLE t (id int PRIMARY KEY, a int); CREATE TABLE gone (id int PRIMARY KEY)").await;
    let schema = database.schema().await;
    let (table, gone, key) = (find(&schema, "t"), find(&schema, "gone"), own(&["id"]));
    database.run("DROP TABLE gone; ALTER TABLE t DROP COLUMN a").await;
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let error = error_of(snapshot.read_page(&PageRequest::new(&gone, &key, &key))).await;
    assert!(error.kind() == ErrorKind::Schema && error.to_string().contains("public.gone"), "{error}");
    let columns = names(&table);
    let error = error_of(snapshot.read_page(&PageRequest::new(&table, &columns, &key))).await;
    assert!(error.kind() == ErrorKind::Schema && error.to_string().contains("public.t"), "{error}");
    let misspelt = own(&["id", "aa"]);
    let error = error_of(snapshot.read_page(&PageRequest::new(&table, &misspelt, &key))).await;
    assert!(error.kind() == ErrorKind::Schema && error.to_string().contains("aa"), "{error}");
    assert_eq!(snapshot.count_rows(&table, None).await.expect("the snapshot lives on"), 0);
}

/// Polls a future until it has returned `Pending` so many times, then drops it; whether it ended before that.
async fn cancel_after<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if future.as_mut().poll(&mut context).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_call_anywhere_leaves_no_answer_behind_for_the_next() {
    let database = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 5000) n; \
         CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (-7)",
    )
    .await;
    let schema = database.schema().await;
    let (table, other) = (find(&schema, "t"), find(&schema, "other"));
    let (columns, key) = (names(&table), own(&["id"]));
    let request = PageRequest::new(&table, &columns, &key).with_limits(64 << 10, usize::MAX);
    let wanted: Vec<Key> = (1..=2000).map(|id| key_of(&[Value::Int(id)])).collect();
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let narrow = filter("a <> :no", &[("no", Parameter::Text("y".into()))]);
    let mut dropped = 0;
    for polls in 1..40 {
        let ended = match polls % 5 {
            0 => cancel_after(read_all(&mut *snapshot, &request), polls * polls).await,
            1 => cancel_after(snapshot.read_rows(&request, &wanted), polls * polls).await,
            2 => cancel_after(snapshot.count_rows(&table, Some(&narrow)), polls).await,
            3 => cancel_after(snapshot.split_keys(&request, 4), polls).await,
            _ => cancel_after(snapshot.read_page(&request.clone().with_filter(Some(&narrow))), polls).await,
        };
        dropped += usize::from(!ended);
        let single = own(&["id"]);
        assert_eq!(
            ints(&read_all(&mut *snapshot, &PageRequest::new(&other, &single, &single)).await),
            [-7],
            "after {polls} polls"
        );
        assert_eq!(snapshot.count_rows(&table, None).await.expect("the count"), 5000, "after {polls} polls");
        let page = snapshot.read_page(&request).await.expect("a page");
        assert_eq!(ints(&[page])[0], 1, "after {polls} polls");
    }
    assert!(dropped > 10, "only {dropped} calls were dropped half-way");
}

#[tokio::test]
async fn a_cell_of_100_megabytes_passes_alone_and_neighbours_keep_to_the_limit() {
    let database = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, a bytea); INSERT INTO t SELECT n, CASE WHEN n IN (3, 4) THEN \
         convert_to(repeat('0123456789', 10000000), 'UTF8') ELSE '\\x01' END FROM generate_series(1, 6) n",
    )
    .await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["id"]));
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let pages = read_all(&mut *snapshot, &PageRequest::new(&table, &columns, &key)).await;
    let sizes: Vec<_> = pages.iter().map(|p| (p.row_count(), p.data().len() > 1 << 20)).collect();
    assert_eq!(sizes, [(2, false), (1, true), (1, true), (2, false)]);
    assert!(matches!(pages[1].row(0).value(1), Ok(Value::Bytes(b)) if b.len() == 100_000_000 && b.ends_with(b"789")));
}

#[tokio::test]
async fn a_server_that_ends_the_session_is_a_lost_connection() {
    let database = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 50000) n",
    )
    .await;
    let table = database.table("t").await;
    let (columns, key) = (names(&table), own(&["id"]));
    let end = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    let mut request = PageRequest::new(&table, &columns, &key);
    let page = snapshot.read_page(&request).await.expect("a page");
    database.run(end).await;
    request.range.after = page.next;
    let error = loop {
        match snapshot.read_page(&request).await {
            Ok(page) => {
                assert!(page.next.is_some(), "the stream cannot have reached its end");
                request.range.after = page.next;
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error:?}");
    // The session that held the snapshot is gone as well, and with it the view.
    assert_eq!(error_of(snapshot.count_rows(&table, None)).await.kind(), ErrorKind::ConnectionLost);
    assert_eq!(error_of(snapshot.read_page(&request)).await.kind(), ErrorKind::ConnectionLost);
}

#[tokio::test]
async fn p9_what_cannot_be_opened_is_said_without_the_password() {
    let database =
        Database::with("DO $$ BEGIN CREATE ROLE b_locked NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$").await;
    let (_, host) = database.url.rsplit_once('@').expect("the url names a role");
    let (address, _) = host.split_once('/').expect("the url names a database");
    let cases = [
        (format!("postgres://b_locked:hunter2@{host}"), ErrorKind::Authentication),
        (format!("postgres://postgres:hunter2@{address}/no_such_database"), ErrorKind::Connection),
        ("postgres://postgres:hunter2@127.0.0.1:1/x".to_owned(), ErrorKind::Connection),
        ("postgres://postgres:hunter2@no-such-host.invalid/x".to_owned(), ErrorKind::Connection),
        (format!("postgres://postgres:hunter2@{host}?sslmode=require"), ErrorKind::Connection),
    ];
    for (url, kind) in cases {
        let config = PostgresConfig::from_url(&url).expect("the url is well formed");
        let error = error_of(PostgresSource::connect(config)).await;
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert!(error.to_string().contains("server"), "{error}");
    }
}

#[tokio::test]
async fn p9_a_value_that_a_query_fails_on_is_not_printed() {
    let database = Database::with(
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, '1'), (2, 'top secret'); \
         CREATE VIEW v AS SELECT id, a::int AS a FROM t; \
         CREATE FUNCTION f(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not %'', $1; END'; \
         CREATE VIEW w AS SELECT id, f(a) AS a FROM t",
    )
    .await;
    let schema = database.schema().await;
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot");
    for name in ["v", "w"] {
        let table = find(&schema, name);
        let columns = names(&table);
        let error = error_of(snapshot.read_page(&PageRequest::new(&table, &columns, &[]))).await;
        assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        assert!(error.to_string().contains(&format!("public.{name}")), "{error}");
    }
}
