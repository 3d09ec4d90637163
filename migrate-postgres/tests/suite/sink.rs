//! Writing rows to PostgreSQL: COPY, upserts, triggers, and what is left behind when something goes wrong.

use crate::sink_support::{self, Database, canonical, fence, numbered, page, page_of, read, text, write_all};
use migrate_core::ErrorKind;
use migrate_core::sink::{Outcome, WriteMode, WriteRequest};
use migrate_core::source::PageRequest;
use migrate_core::state::{Checkpoint, Scope, StateChanges};
use migrate_core::value::{Key, Page, Value};

#[tokio::test]
async fn rows_that_triggers_swallow_or_redirect_are_told_apart_by_looking() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, name text, touched int DEFAULT 0);
             CREATE TABLE child () INHERITS (t);
             CREATE FUNCTION sift() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.name = 'swallow' THEN RETURN NULL; END IF;
                 NEW.touched = NEW.touched + 1; RETURN NEW; END $$;
             CREATE TRIGGER sift BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION sift()",
        )
        .await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let row = |id: i64, name: &str| vec![Value::Int(id), text(name), Value::Int(0)];
    let loaded = page(&table, &[row(1, "a"), row(2, "swallow"), row(3, "b")]);
    let outcomes = write_all(&sink, &fence, &table, &["id"], &loaded, WriteMode::Load).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Inserted, Outcome::Skipped, Outcome::Inserted]));
    let changed = page(&table, &[row(1, "swallow"), row(2, "c"), row(3, "d")]);
    let outcomes = write_all(&sink, &fence, &table, &["id"], &changed, WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Skipped, Outcome::Inserted, Outcome::Updated]));
    assert_eq!(database.query("SELECT id, name, touched FROM t ORDER BY id").await, ["1|a|1", "2|c|1", "3|d|1"]);
    let missing = page(&table, &[row(3, "e"), row(4, "f"), row(5, "swallow")]);
    let outcomes = write_all(&sink, &fence, &table, &["id"], &missing, WriteMode::InsertMissing).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Skipped, Outcome::Inserted, Outcome::Skipped]));
}

#[tokio::test]
async fn a_table_with_rules_is_written_by_statements() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE log (id int);
             CREATE RULE copy AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (NEW.id)",
        )
        .await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let outcomes = write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(0..3)), WriteMode::Load).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Inserted; 3]));
    let outcomes = write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(2..5)), WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Unchanged, Outcome::Inserted, Outcome::Inserted]));
    assert_eq!(database.query("SELECT count(*) FROM log").await, ["5"]);
}

#[tokio::test]
async fn generated_columns_are_left_out_and_identities_keep_the_sources_numbers() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
             CREATE TABLE n (k text PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY)",
        )
        .await;
    let (sink, table, numbered) = (database.sink(), database.table("t").await, database.table("n").await);
    let fence = fence(&sink).await;
    let rows = |first: i64| page(&table, &[vec![Value::Int(10), Value::Int(first)], vec![Value::Int(20), Value::Int(2)]]);
    write_all(&sink, &fence, &table, &["id"], &rows(1), WriteMode::Load).await.unwrap();
    let outcomes = write_all(&sink, &fence, &table, &["id"], &rows(5), WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Updated, Outcome::Unchanged]));
    assert_eq!(database.query("SELECT * FROM t ORDER BY id").await, ["10|5|10", "20|2|4"]);
    // A number that is no key cannot be overwritten: said, not passed over.
    let one = |id: i64| page(&numbered, &[vec![text("a"), Value::Int(id)]]);
    write_all(&sink, &fence, &numbered, &["k"], &one(7), WriteMode::Upsert).await.unwrap();
    write_all(&sink, &fence, &numbered, &["k"], &one(7), WriteMode::Upsert).await.unwrap();
    let error = write_all(&sink, &fence, &numbered, &["k"], &one(8), WriteMode::Upsert).await.unwrap_err();
    assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(0)), "{error:?}");
}

#[tokio::test]
async fn odd_names_are_written_in_every_mode() {
    let database = Database::new().await;
    database
        .run(
            r#"CREATE SCHEMA "year.key"; CREATE TABLE "year.key"."Order ""Details""; --" ("2B" int PRIMARY KEY, "select" text, "naïve
line" text, o text, t text, s text, c0 text)"#,
        )
        .await;
    let sink = database.sink();
    let schema = sink.schema().await.unwrap();
    let table = schema.tables.iter().find(|t| t.name.name.starts_with("Order")).unwrap();
    let fence = fence(&sink).await;
    let row = |n: i64, x: &str| std::iter::once(Value::Int(n)).chain((0..6).map(|_| text(x))).collect::<Vec<_>>();
    write_all(&sink, &fence, table, &["2B"], &page(table, &[row(1, "a")]), WriteMode::Load).await.unwrap();
    let outcomes =
        write_all(&sink, &fence, table, &["2B"], &page(table, &[row(1, "b"), row(2, "b")]), WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Updated, Outcome::Inserted]));
    let mut transaction = sink.begin(&fence).await.unwrap();
    assert_eq!(transaction.delete(table, &["2B".to_owned()], &[Key::from_values(&[Value::Int(1)])]).await.unwrap(), 1);
    assert_eq!(transaction.clear(table).await.unwrap(), 1);
    transaction.commit(&StateChanges::default()).await.unwrap();
}

#[tokio::test]
async fn keys_are_equal_as_the_target_compares_them() {
    let database = Database::new().await;
    database
        .run(
            "CREATE EXTENSION citext; CREATE SCHEMA elsewhere; ALTER EXTENSION citext SET SCHEMA elsewhere;
             CREATE TABLE c (k elsewhere.citext PRIMARY KEY, v int); INSERT INTO c VALUES ('Word', 1);
             CREATE TABLE n (k numeric PRIMARY KEY, v int); INSERT INTO n VALUES (1.0, 1);
             CREATE TABLE f (k float8 PRIMARY KEY, v int); INSERT INTO f VALUES (0.0, 1);
             CREATE TABLE b (k char(5) PRIMARY KEY, v int); INSERT INTO b VALUES ('x', 1)",
        )
        .await;
    let sink = database.sink();
    let fence = fence(&sink).await;
    let decimal =
        migrate_core::value::text::parse("1.00", &migrate_core::value::DataType::Decimal { precision: None, scale: None });
    let cases = [
        ("c", Value::Typed("WORD".into()), "WORD"),
        ("n", decimal.unwrap(), "1.00"),
        ("f", Value::Float(-0.0), "-0"),
        ("b", text("x    "), "x    "),
    ];
    for (name, key, printed) in cases {
        let table = database.table(name).await;
        let rows = page(&table, &[vec![key.clone(), Value::Int(2)]]);
        let outcomes = write_all(&sink, &fence, &table, &["k"], &rows, WriteMode::Upsert).await.unwrap();
        assert_eq!(outcomes, Some(vec![Outcome::Updated]), "{name}");
        assert_eq!(
            database.query(&format!("SELECT k::text, v FROM {name}")).await,
            [format!("{}|2", printed.trim_end())],
            "{name}"
        );
        let outcomes = write_all(&sink, &fence, &table, &["k"], &rows, WriteMode::Upsert).await.unwrap();
        assert_eq!(outcomes, Some(vec![Outcome::Unchanged]), "{name}");
        let mut transaction = sink.begin(&fence).await.unwrap();
        let deleted = transaction.delete(&table, &["k".to_owned()], &[Key::from_values(&[key])]).await.unwrap();
        assert_eq!(deleted, 1, "{name}");
        transaction.rollback().await.unwrap();
    }
    // Equal to the index, but not the row that was written last under this key.
    let (table, old) = (database.table("c").await, [Key::from_values(&[Value::Typed("Word".into())])]);
    let mut transaction = sink.begin(&fence).await.unwrap();
    let columns = ["k".to_owned(), "v".to_owned()];
    let read = transaction.read_rows(&PageRequest::new(&table, &columns, &columns[..1]), &old).await.unwrap();
    assert_eq!(read.row_count(), 1, "reading by key goes by the index");
    assert_eq!(transaction.delete(&table, &columns[..1], &old).await.unwrap(), 0, "deleting goes by the letter");
    transaction.rollback().await.unwrap();
    // Two rows of the source that are one row here: only one of them could be kept.
    let table = database.table("c").await;
    let rows = [vec![Value::Typed("one".into()), Value::Int(1)], vec![Value::Typed("ONE".into()), Value::Int(2)]];
    let error = write_all(&sink, &fence, &table, &["k"], &page(&table, &rows), WriteMode::Upsert).await.unwrap_err();
    assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(1)), "{error:?}");
}

#[tokio::test]
async fn an_upsert_needs_no_index_and_takes_null_for_a_key() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (NULL, 'old'), (1, 'old'), (2, 'row 2')").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let mut rows = numbered(1..4);
    rows.push(vec![Value::Null, text("new")]);
    let outcomes = write_all(&sink, &fence, &table, &["id"], &page(&table, &rows), WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Updated, Outcome::Unchanged, Outcome::Inserted, Outcome::Updated]));
    assert_eq!(database.query("SELECT * FROM t ORDER BY id").await, ["1|row 1", "2|row 2", "3|row 3", "∅|new"]);
}

#[tokio::test]
async fn two_rows_of_one_key_in_the_target_are_an_error_and_not_a_guess() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int, name text); INSERT INTO t VALUES (1, 'a'), (1, 'b')").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let error = write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(1..2)), WriteMode::Upsert).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error:?}");
    assert_eq!(database.query("SELECT name FROM t ORDER BY name").await, ["a", "b"]);
}

#[tokio::test]
async fn a_subset_of_columns_and_rows_is_written_and_the_rest_left_to_the_target() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text DEFAULT 'given', extra text DEFAULT 'kept')").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let rows = page_of(
        &table,
        &["name", "id"],
        &[vec![text("a"), Value::Int(1)], vec![text("b"), Value::Int(2)], vec![text("c"), Value::Int(3)]],
    );
    let key = ["id".to_owned()];
    let mut transaction = sink.begin(&fence).await.unwrap();
    for mode in [WriteMode::Load, WriteMode::Upsert] {
        let request = WriteRequest { table: &table, key: &key, page: &rows, rows: Some(&[0, 2]), mode };
        transaction.write(request).await.unwrap();
    }
    transaction.commit(&StateChanges::default()).await.unwrap();
    assert_eq!(database.query("SELECT * FROM t ORDER BY id").await, ["1|a|kept", "3|c|kept"]);
}

#[tokio::test]
async fn tables_without_columns_hold_rows_all_the_same() {
    let database = Database::new().await;
    database.run("CREATE TABLE nothing (); CREATE TABLE defaults (a int DEFAULT 7)").await;
    let sink = database.sink();
    let fence = fence(&sink).await;
    for name in ["nothing", "defaults"] {
        let table = database.table(name).await;
        let rows = page_of(&table, &[], &vec![Vec::new(); 3]);
        write_all(&sink, &fence, &table, &[], &rows, WriteMode::Load).await.unwrap();
        assert_eq!(database.query(&format!("SELECT count(*) FROM {name}")).await, ["3"]);
    }
}

#[tokio::test]
async fn a_cell_of_a_hundred_megabytes_passes_in_every_mode() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, body bytea); CREATE TABLE u (id int PRIMARY KEY, body bytea, tags text[])")
        .await;
    let sink = database.sink();
    let fence = fence(&sink).await;
    let table = database.table("t").await;
    let body = Value::Bytes(vec![0xa5; 100 << 20].into());
    let rows = page(&table, &[vec![Value::Int(1), body]]);
    write_all(&sink, &fence, &table, &["id"], &rows, WriteMode::Load).await.unwrap();
    let outcomes = write_all(&sink, &fence, &table, &["id"], &rows, WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Unchanged]));
    let raw = read(&sink, &table).await;
    database.run("TRUNCATE t").await;
    write_all(&sink, &fence, &table, &["id"], &raw[0], WriteMode::Load).await.unwrap();
    assert_eq!(
        database.query("SELECT length(body), md5(body) = md5(decode(repeat('a5', 100 << 20), 'hex')) FROM t").await,
        ["104857600|t"]
    );
}

#[tokio::test]
async fn row_level_security_is_obeyed_by_loads_and_refused_where_it_would_hide_rows() {
    let database = Database::new().await;
    let role = format!("writer_{}", database.name());
    database
        .run(&format!(
            "CREATE ROLE {role} LOGIN; CREATE TABLE t (id int PRIMARY KEY, name text); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON t FOR INSERT WITH CHECK (name <> 'row 9'); GRANT ALL ON t TO {role};
             GRANT USAGE ON SCHEMA migrate TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA migrate TO {role}"
        ))
        .await;
    let sink = sink_support::sink(&database.url_as(&role));
    let table = database.table("t").await;
    let fence = fence(&sink).await;
    write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(0..3)), WriteMode::Load).await.unwrap();
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["3"]);
    let error = write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(8..10)), WriteMode::Load).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    let error = write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(0..1)), WriteMode::Upsert).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["3"]);
    database.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn p9_no_value_is_in_the_error_of_a_refused_row() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, name text UNIQUE, n numeric(3,1), CHECK (name NOT LIKE '%checked%'));
             CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN IF NEW.name LIKE '%raise%' THEN RAISE 'this is %', NEW.name; END IF; RETURN NULL; END $$;
             CREATE TRIGGER no AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION no();
             INSERT INTO t VALUES (1, 'planted twice')",
        )
        .await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    for name in ["planted twice", "planted checked", "planted raise"] {
        for mode in [WriteMode::Load, WriteMode::Upsert] {
            let rows = page(&table, &[vec![Value::Int(2), text(name), Value::Null]]);
            let error = write_all(&sink, &fence, &table, &["id"], &rows, mode).await.unwrap_err();
            assert!(!format!("{error:?}").contains("planted"), "{error:?}");
            assert!(matches!(error.kind(), ErrorKind::RowRejected | ErrorKind::Constraint), "{error:?}");
        }
    }
}

#[tokio::test]
async fn p1_partitioned_and_inherited_tables_are_written_whole_and_alone() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE p (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (5) TO (10);
             CREATE TABLE parent (id int, name text); CREATE TABLE child () INHERITS (parent); INSERT INTO child VALUES (1, 'child''s')",
        )
        .await;
    let sink = database.sink();
    let fence = fence(&sink).await;
    let table = database.table("p").await;
    write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(0..10)), WriteMode::Load).await.unwrap();
    let changed = page(&table, &[vec![Value::Int(4), text("x")], vec![Value::Int(6), text("row 6")]]);
    let outcomes = write_all(&sink, &fence, &table, &["id"], &changed, WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Updated, Outcome::Unchanged]));
    assert_eq!(database.query("SELECT count(*) FROM p2").await, ["5"]);
    let table = database.table("parent").await;
    let outcomes = write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(1..2)), WriteMode::Upsert).await.unwrap();
    assert_eq!(outcomes, Some(vec![Outcome::Inserted]), "the child's row is not the parent's");
    let mut transaction = sink.begin(&fence).await.unwrap();
    assert_eq!(transaction.clear(&table).await.unwrap(), 1);
    transaction.commit(&StateChanges::default()).await.unwrap();
    assert_eq!(database.query("SELECT name FROM child").await, ["child's"]);
}

#[tokio::test]
async fn every_type_comes_through_every_way_to_the_wire() {
    let database = Database::new().await;
    let native = [
        ("bool", "true", "NULL", "false"),
        ("int2", "32767", "-32768", "0"),
        ("int4", "2147483647", "-2147483648", "0"),
        ("int8", "9223372036854775807", "-9223372036854775808", "0"),
        ("float4", "'NaN'", "'-0'", "1.17549435e-38"),
        ("float8", "'-Infinity'", "'-0'", "0.1 + 0.2"),
        ("numeric", "'NaN'", "'1e500'::numeric + 0.10", "-0.000"),
        ("numeric(12,2)", "'NaN'", "1234567890.10", "0"),
        ("text", "''", "E'tab\\tnl\\nbs\\\\ \\\\N 🚀'", "'\\.'"),
        ("varchar(9)", "'ü'", "'  x  '", "NULL"),
        ("char(4)", "'a'", "''", "NULL"),
        ("name", "'x'", "''", "NULL"),
        ("bytea", "'\\x00ff5c'", "''", "NULL"),
        ("date", "'infinity'", "'4713-01-01 BC'", "'5874897-12-31'"),
        ("time", "'24:00'", "'00:00:00.000001'", "NULL"),
        ("time(2)", "'01:02:03.45'", "'00:00'", "NULL"),
        ("timetz", "'24:00+15:59'", "'12:00:00.5-03:30'", "NULL"),
        ("timestamp", "'-infinity'", "'4713-01-01 00:00:00.000001 BC'", "'294276-12-31 23:59:59.999999'"),
        ("timestamptz", "'infinity'", "'2024-02-29 23:59:59.999999+05:45'", "NULL"),
        ("timestamptz(3)", "'2024-02-29 23:59:59.999+05:45'", "NULL", "NULL"),
        ("interval", "'1 mon -30 days 00:00:00.000001'", "'-178000000 years'", "'0'"),
        ("uuid", "'00000000-0000-0000-0000-000000000000'", "gen_random_uuid()", "NULL"),
        ("json", "'{\"a\" : 1, \"a\":2.50}'", "'null'", "NULL"),
        ("jsonb", "'{\"b\": [1e3, null], \"a\": \"\\u00e9\"}'", "'1.50'", "NULL"),
        ("mood", "'so''so'", "'sad'", "NULL"),
        ("positive", "1", "2147483647", "NULL"),
    ];
    let others = [
        ("int4[]", "'{{1,NULL},{3,4}}'", "'[2:3]={1,2}'", "'{}'"),
        ("text[]", "ARRAY['', NULL, 'NULL', E'\\\\ \" , { }']", "'{}'", "NULL"),
        ("int4range", "'[1,5)'", "'empty'", "'(,)'"),
        ("tstzrange", "'[2020-01-01,infinity)'", "'empty'", "NULL"),
        ("nummultirange", "'{[1.0,2.50),(3,)}'", "'{}'", "NULL"),
        ("inet", "'10.0.0.1/8'", "'::1'", "NULL"),
        ("cidr", "'10.0.0.0/8'", "'::/0'", "NULL"),
        ("macaddr", "'08:00:2b:01:02:03'", "NULL", "NULL"),
        ("bit(3)", "B'101'", "NULL", "NULL"),
        ("varbit", "B''", "B'1'", "NULL"),
        ("money", "'-92233720368547758.08'", "'12.34'", "NULL"),
        ("tsvector", "$$'a b':1A,2 'it''s':3$$", "''", "NULL"),
        ("tsquery", "'a & !b'", "NULL", "NULL"),
        ("point", "'(1e-300,-0)'", "'(NaN,Infinity)'", "NULL"),
        ("polygon", "'((0,0),(1,1),(2,0))'", "NULL", "NULL"),
        ("xml", "'<a>&lt;</a>'", "''", "NULL"),
        ("pg_lsn", "'16/B374D848'", "NULL", "NULL"),
        ("pair", "ROW(1, 'a,\"b')", "ROW(NULL, '')", "NULL"),
        ("mood[]", "ARRAY['sad', 'so''so']::mood[]", "NULL", "NULL"),
        ("hstore", "'a=>\"1\\\\ \\\"\", b=>NULL'", "''", "NULL"),
        ("citext", "'MiXed'", "''", "NULL"),
        ("oid", "4294967295", "0", "NULL"),
        ("\"char\"", "'x'", "''", "NULL"),
    ];
    let set_up = "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'so''so');
         CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text);";
    database.run(set_up).await;
    let sink = database.sink();
    let fence = fence(&sink).await;
    for (name, types) in [("native", native.as_slice()), ("other", others.as_slice())] {
        let columns: String = types.iter().enumerate().map(|(i, t)| format!(", c{i} {}", t.0)).collect();
        let row = |pick: fn(&(&str, &'static str, &'static str, &'static str)) -> &'static str| {
            types.iter().map(|t| format!(", {}", pick(t))).collect::<String>()
        };
        database
            .run(&format!(
                "CREATE TABLE {name} (id int PRIMARY KEY{columns}); CREATE TABLE {name}_copy (LIKE {name} INCLUDING ALL);
                 INSERT INTO {name} VALUES (1{}); INSERT INTO {name} VALUES (2{}); INSERT INTO {name} VALUES (3{});
                 INSERT INTO {name} (id) VALUES (4)",
                row(|t| t.1),
                row(|t| t.2),
                row(|t| t.3)
            ))
            .await;
        let (source, target) = (database.table(name).await, database.table(&format!("{name}_copy")).await);
        let raw = read(&sink, &source).await;
        assert_eq!(raw.len(), 1);
        for (way, rows) in [("raw", raw[0].clone()), ("values", canonical(&raw[0]))] {
            for mode in [WriteMode::Load, WriteMode::Upsert] {
                database.run(&format!("TRUNCATE {name}_copy")).await;
                write_all(&sink, &fence, &target, &["id"], &rows, mode)
                    .await
                    .unwrap_or_else(|e| panic!("{name} {way} {mode:?}: {e:?}"));
                let same = format!(
                    "SELECT count(*), count(*) FILTER (WHERE ROW(a.*)::record *= ROW(b.*)::record) FROM {name} a JOIN {name}_copy b USING (id)"
                );
                assert_eq!(database.query(&same).await, ["4|4"], "{name} {way} {mode:?}");
                let outcomes = write_all(&sink, &fence, &target, &["id"], &rows, WriteMode::Upsert).await.unwrap();
                assert_eq!(outcomes, Some(vec![Outcome::Unchanged; 4]), "{name} {way} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn p2_state_without_rows_and_rows_without_state_commit_alike() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let scope = Scope { job: "job".to_owned(), entity: "t".to_owned(), partition: 0 };
    let mut changes = StateChanges::default();
    changes.scope = Some(scope);
    changes.checkpoint = Some(Checkpoint { sequence: 1, ..Checkpoint::default() });
    sink.begin(&fence).await.unwrap().commit(&changes).await.unwrap();
    write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(0..2)), WriteMode::Load).await.unwrap();
    assert_eq!(sink.state().checkpoints("job", "t").await.unwrap()[0].1.sequence, 1);
    let mut lost = StateChanges::default();
    lost.checkpoint = Some(Checkpoint::default());
    let error = sink.begin(&fence).await.unwrap().commit(&lost).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
}

#[tokio::test]
async fn rows_are_chosen_in_any_partition_whatever_their_types_and_stay_where_they_are_meanwhile() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (n int, j json, p point) PARTITION BY LIST (n);
             CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t DEFAULT;
             INSERT INTO t SELECT i % 3, '{}', point(i % 3, 0) FROM generate_series(1, 30) i;
             INSERT INTO t VALUES (1, '{ }', NULL)",
        )
        .await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    assert!(sink.can_choose(&table));
    let columns: Vec<String> = ["p", "j", "n"].map(str::to_owned).to_vec();
    let request = PageRequest::new(&table, &columns, &[]).with_limits(1 << 20, 4);
    let mut transaction = sink.begin(&fence).await.unwrap();
    // Of each number two, whichever partition they are in.
    let mut left = [2, 2, 2];
    let mut choose = |page: &Page| {
        assert_eq!(page.columns().iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["p", "j", "n"]);
        let mut chosen = Vec::new();
        for (place, row) in (0..).zip(page.rows()) {
            let Value::Int(n) = row.value(2)? else { panic!("{row:?}") };
            if row.value(1)? == Value::Json("{}".into()) && left[n as usize] > 0 {
                left[n as usize] -= 1;
                chosen.push(place);
            }
        }
        Ok(chosen)
    };
    assert_eq!(transaction.delete_chosen(&request, &mut choose).await.unwrap(), 6);
    // Nobody else changes the table until the end.
    let held = "SELECT count(*) FROM pg_locks WHERE relation IN ('t'::regclass, 't1'::regclass, 't2'::regclass) \
                AND mode = 'ShareRowExclusiveLock' AND granted";
    assert_eq!(database.query(held).await, ["3"]);
    transaction.commit(&StateChanges::default()).await.unwrap();
    assert_eq!(
        database.query("SELECT n || ': ' || count(*) || ', ' || count(p) FROM t GROUP BY n ORDER BY n").await,
        ["0: 8, 8", "1: 9, 8", "2: 8, 8"]
    );
    // What is no table of rows with a place of their own is said to be none.
    database.run("CREATE VIEW v AS SELECT * FROM t").await;
    assert!(!sink.can_choose(&database.table("v").await));
}
