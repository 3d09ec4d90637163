//! What the schema of a SQLite database is read as.

use crate::support::{Database, column, find, fixture, names, unpacked};
use migrate_core::ErrorKind;
use migrate_core::schema::{ForeignKeyAction, Identity, TableKind};
use migrate_core::source::Source;
use migrate_core::value::{Affinity, DataType};
use migrate_sqlite::{SqliteConfig, SqliteSource};

async fn schema(script: &str) -> migrate_core::schema::DatabaseSchema {
    Database::new(script).source().schema().await.expect("the schema is readable")
}

#[tokio::test]
async fn odd_names_are_read_to_the_letter() {
    let script = r#"CREATE TABLE "2B" ("year.key" INTEGER PRIMARY KEY, [select] TEXT, `a"b` "odd, (type)", "c""d" "varchar(max)", "día" REAL);
        CREATE TABLE "Order Details" ("Order ID" INT REFERENCES "2b", "x;y" INT, PRIMARY KEY ("x;y", "Order ID"));
        CREATE VIEW "a view" AS SELECT "year.key" AS "k 1" FROM "2B";"#;
    let schema = schema(script).await;
    let listed: Vec<&str> = schema.tables.iter().map(|t| t.name.name.as_str()).collect();
    assert_eq!(listed, ["2B", "Order Details", "a view"]);
    let table = find(&schema, "2B");
    assert_eq!(names(table), ["year.key", "select", "a\"b", "c\"d", "día"]);
    assert_eq!(column(table, "a\"b").native_type, "\"odd, (type)\"");
    assert_eq!(column(table, "c\"d").native_type, "\"varchar(max)\"");
    let details = find(&schema, "Order Details");
    assert_eq!(details.primary_key.as_ref().expect("a key").columns, ["x;y", "Order ID"]);
    assert_eq!(details.foreign_keys[0].parent.name, "2B");
    assert_eq!(details.foreign_keys[0].parent_columns, ["year.key"]);
    assert_eq!(find(&schema, "a view").kind, TableKind::View);
    assert_eq!(names(find(&schema, "a view")), ["k 1"]);
}

#[tokio::test]
async fn a_rowid_alias_differs_from_other_primary_keys() {
    let schema = schema(
        "CREATE TABLE alias(id INTEGER PRIMARY KEY, x);
         CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT);
         CREATE TABLE plain(id INT PRIMARY KEY);
         CREATE TABLE descending(id INTEGER PRIMARY KEY DESC);
         CREATE TABLE table_level(id INTEGER, PRIMARY KEY (id));
         CREATE TABLE without(id INTEGER, b TEXT, PRIMARY KEY (b, id)) WITHOUT ROWID;
         CREATE TABLE strict(id TEXT PRIMARY KEY, v ANY) STRICT;
         CREATE TABLE legacy(id TEXT PRIMARY KEY);",
    )
    .await;
    let id = |table: &str| column(find(&schema, table), "id").clone();
    assert_eq!(id("alias").identity, Some(Identity::RowId { autoincrement: false }));
    assert_eq!(id("counted").identity, Some(Identity::RowId { autoincrement: true }));
    assert_eq!(id("table_level").identity, Some(Identity::RowId { autoincrement: false }));
    for (table, nullable) in [("plain", true), ("descending", true), ("without", false), ("strict", false), ("legacy", true)] {
        assert_eq!((id(table).identity, id(table).nullable), (None, nullable), "{table}");
    }
    assert!(!id("alias").nullable);
    assert_eq!(find(&schema, "without").options, ["WITHOUT ROWID"]);
    assert_eq!(find(&schema, "without").primary_key.as_ref().expect("a key").columns, ["b", "id"]);
    assert_eq!(find(&schema, "strict").options, ["STRICT"]);
    assert_eq!(id("strict").data_type, DataType::Dynamic { affinity: Affinity::StrictText });
    assert!(find(&schema, "counted").unique_keys.is_empty());
}

#[tokio::test]
async fn columns_carry_defaults_generated_expressions_and_collations() {
    let schema = schema(
        "CREATE TABLE t(a INT NOT NULL DEFAULT -1, b TEXT DEFAULT 'it''s' COLLATE NOCASE, c DEFAULT (1 + 2), d TEXT DEFAULT CURRENT_TIMESTAMP,
            total INT GENERATED ALWAYS AS (a * (2 + 1)) STORED, label TEXT AS (b || ')'), r TEXT COLLATE rtrim);",
    )
    .await;
    let table = find(&schema, "t");
    let default = |name: &str| column(table, name).default.clone();
    assert_eq!(default("a").as_deref(), Some("-1"));
    assert_eq!(default("b").as_deref(), Some("'it''s'"));
    assert_eq!(default("c").as_deref(), Some("1 + 2"));
    assert_eq!(default("d").as_deref(), Some("CURRENT_TIMESTAMP"));
    assert!(!column(table, "a").nullable && column(table, "b").nullable);
    let generated = |name: &str| column(table, name).generated.clone().map(|g| (g.expression, g.stored));
    assert_eq!(generated("total"), Some(("a * (2 + 1)".to_owned(), true)));
    assert_eq!(generated("label"), Some(("b || ')'".to_owned(), false)));
    assert_eq!(generated("a"), None);
    assert_eq!(column(table, "b").collation.as_deref(), Some("NOCASE"));
    assert_eq!(column(table, "r").collation.as_deref(), Some("rtrim"));
}

#[tokio::test]
async fn constraints_and_indexes_are_told_apart() {
    let schema = schema(
        "CREATE TABLE t(a INT UNIQUE, b TEXT, c REAL, CONSTRAINT bc UNIQUE (b, c), CONSTRAINT positive CHECK (a > 0), CHECK (length(b) < 10));
         CREATE INDEX plain ON t(b);
         CREATE UNIQUE INDEX part ON t(c DESC) WHERE a IS NOT NULL;
         CREATE INDEX expr ON t(lower(b) COLLATE NOCASE DESC, b COLLATE NOCASE);",
    )
    .await;
    let table = find(&schema, "t");
    let unique: Vec<(Option<&str>, Vec<String>)> =
        table.unique_keys.iter().map(|k| (k.name.as_deref(), k.columns.clone())).collect();
    assert_eq!(unique, [(None, vec!["a".to_owned()]), (Some("bc"), vec!["b".to_owned(), "c".to_owned()])]);
    let checks: Vec<(Option<&str>, &str)> = table.checks.iter().map(|c| (c.name.as_deref(), c.expression.as_str())).collect();
    assert_eq!(checks, [(Some("positive"), "a > 0"), (None, "length(b) < 10")]);
    let [plain, part, expr] = table.indexes.as_slice() else { panic!("three indexes, in the order of their making") };
    assert_eq!((plain.name.as_str(), plain.unique, plain.predicate.as_deref()), ("plain", false, None));
    assert_eq!((part.unique, part.predicate.as_deref(), part.parts[0].descending), (true, Some("a IS NOT NULL"), true));
    assert_eq!(expr.parts[0].expression.as_deref(), Some("lower(b)"));
    assert_eq!((expr.parts[0].column.as_deref(), expr.parts[0].collation.as_deref()), (None, Some("NOCASE")));
    assert_eq!((expr.parts[1].column.as_deref(), expr.parts[1].collation.as_deref()), (Some("b"), Some("NOCASE")));
    assert!(expr.definition.starts_with("CREATE INDEX expr"));
}

#[tokio::test]
async fn foreign_keys_keep_their_order_names_and_actions() {
    let schema = schema(
        "CREATE TABLE Parent(x INT, y INT, PRIMARY KEY (y, x));
         CREATE TABLE one(ID INTEGER PRIMARY KEY);
         CREATE TABLE child(a INT, b INT, c INT CONSTRAINT to_one REFERENCES ONE ON DELETE CASCADE ON UPDATE SET NULL,
            d INT REFERENCES one(id) DEFERRABLE INITIALLY DEFERRED, e INT REFERENCES gone(z), me INT REFERENCES child(a),
            CONSTRAINT both FOREIGN KEY (a, b) REFERENCES parent ON DELETE RESTRICT);",
    )
    .await;
    let keys = &find(&schema, "child").foreign_keys;
    let shown: Vec<(Option<&str>, String, String, String)> =
        keys.iter().map(|k| (k.name.as_deref(), k.columns.join(","), k.parent.to_string(), k.parent_columns.join(","))).collect();
    let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    let expected = [
        (Some("to_one"), text("c", "one", "ID")),
        (None, text("d", "one", "ID")),
        (None, text("e", "gone", "z")),
        (None, text("me", "child", "a")),
        (Some("both"), text("a,b", "Parent", "y,x")),
    ];
    assert_eq!(shown, expected.map(|(name, (a, b, c))| (name, a, b, c)));
    assert_eq!((keys[0].on_delete, keys[0].on_update), (ForeignKeyAction::Cascade, ForeignKeyAction::SetNull));
    assert_eq!((keys[1].deferrable, keys[1].initially_deferred, keys[1].on_delete), (true, true, ForeignKeyAction::NoAction));
    assert_eq!(keys[4].on_delete, ForeignKeyAction::Restrict);
    assert!(!keys[0].deferrable);
}

#[tokio::test]
async fn own_and_internal_tables_are_left_out() {
    let schema = schema(
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); CREATE TABLE _migrate_fence(a); CREATE TABLE _Migrate_Ledger(a);
         CREATE TABLE _migrate_notes(a);
         CREATE VIRTUAL TABLE notes USING fts5(title, body); ANALYZE;
         CREATE VIRTUAL TABLE places USING rtree(id, x0, x1);",
    )
    .await;
    let listed: Vec<(&str, TableKind)> = schema.tables.iter().map(|t| (t.name.name.as_str(), t.kind)).collect();
    let own = ("_migrate_notes", TableKind::Table);
    assert_eq!(listed, [own, ("notes", TableKind::Virtual), ("places", TableKind::Virtual), ("t", TableKind::Table)]);
    assert_eq!(names(find(&schema, "notes")), ["title", "body"]);
}

#[tokio::test]
async fn triggers_say_whether_a_write_fires_them() {
    let schema = schema(
        "CREATE TABLE t(a); CREATE TABLE log(x); CREATE VIEW v AS SELECT a FROM t;
         CREATE TRIGGER gone AFTER DELETE ON t BEGIN INSERT INTO log VALUES (1); END;
         CREATE TRIGGER \"new\" BEFORE INSERT ON T BEGIN INSERT INTO log VALUES (1); END;
         CREATE TRIGGER through INSTEAD OF UPDATE ON v BEGIN SELECT 1; END;",
    )
    .await;
    let triggers: Vec<(&str, bool)> = find(&schema, "t").triggers.iter().map(|t| (t.name.as_str(), t.fires_on_write)).collect();
    assert_eq!(triggers, [("gone", false), ("new", true)]);
    assert_eq!(find(&schema, "v").triggers.len(), 1);
}

#[tokio::test]
async fn a_view_that_cannot_be_read_does_not_hide_the_other_tables() {
    let schema = schema(
        "CREATE TABLE t(a); CREATE VIEW broken AS SELECT a FROM t; PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = 'CREATE VIEW broken AS SELECT a FROM nowhere' WHERE name = 'broken';",
    )
    .await;
    assert_eq!(names(find(&schema, "t")), ["a"]);
    let broken = find(&schema, "broken");
    assert!(broken.columns.is_empty() && !broken.write_obstacles.is_empty(), "{broken:?}");
}

#[tokio::test]
async fn a_malformed_schema_is_a_clear_error() {
    let database = Database::new(
        "CREATE TABLE t(a); PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE t(a' || char(39);",
    );
    let error = database.source().schema().await.expect_err("malformed");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains("malformed"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_not_utf8_is_a_clear_error() {
    // CREATE TABLE zz(bc\xff)
    let script = "CREATE TABLE t(a); CREATE TABLE zz(abc); PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = CAST(x'435245415445205441424C45207A7A286263FF29' AS TEXT) WHERE name = 'zz';";
    let error = Database::new(script).source().schema().await.expect_err("not UTF-8");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}

#[tokio::test]
async fn sizes_and_row_counts_of_a_small_file_are_exact() {
    let script = "CREATE TABLE t(a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (1000000); CREATE TABLE e(a);";
    let schema = schema(script).await;
    assert_eq!((find(&schema, "t").row_estimate, find(&schema, "e").row_estimate), (Some(2), Some(0)));
    assert!(find(&schema, "t").size_bytes.is_some_and(|bytes| bytes >= 512));
}

#[tokio::test]
async fn an_empty_file_is_an_empty_database() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("empty.db");
    std::fs::write(&path, []).expect("written");
    let source = SqliteSource::new(SqliteConfig::new(&path));
    assert!(source.schema().await.expect("an empty schema").tables.is_empty());
    source.open_snapshot().await.expect("an empty view");
}

#[tokio::test]
async fn chinook_is_read_whole() {
    let chinook = SqliteSource::new(SqliteConfig::new(fixture("examples/chinook/chinook.sqlite")));
    let schema = chinook.schema().await.expect("Chinook");
    assert_eq!(schema.tables.len(), 11);
    let playlist_track = find(&schema, "PlaylistTrack");
    assert_eq!(playlist_track.primary_key.as_ref().expect("a key").columns, ["PlaylistId", "TrackId"]);
    assert_eq!(playlist_track.foreign_keys.len(), 2);
    assert_eq!(playlist_track.row_estimate, Some(8715));
    let total = column(find(&schema, "Invoice"), "Total");
    assert_eq!(total.portable_type, DataType::Decimal { precision: Some(10), scale: Some(2) });
    assert_eq!(find(&schema, "Employee").foreign_keys[0].parent.name, "Employee");
}

#[tokio::test]
async fn sakila_is_read_whole() {
    let (_folder, path) = unpacked("tests/fixtures/sakila/sakila.sqlite.gz");
    let sakila = SqliteSource::new(SqliteConfig::new(path));
    let schema = sakila.schema().await.expect("Sakila");
    let count = |kind| schema.tables.iter().filter(|t| t.kind == kind).count();
    assert_eq!((count(TableKind::Table), count(TableKind::View)), (16, 5));
    let film = find(&schema, "film");
    assert_eq!(film.checks.len(), 2, "{:?}", film.checks);
    assert!(film.foreign_keys.iter().all(|k| k.parent.name == "language" && k.parent_columns == ["language_id"]));
    assert!(schema.tables.iter().filter(|t| t.kind == TableKind::View).all(|t| !t.columns.is_empty()));
}
