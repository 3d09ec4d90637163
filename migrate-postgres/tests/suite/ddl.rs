//! Creating and completing tables: what is carried over, what is noted, and what happens when a step is done already.

use crate::sink_support::{self, Database, fence, page, sink, text, write_all};
use migrate_core::ErrorKind;
use migrate_core::schema::{
    Check, ColumnSchema, DatabaseSchema, ForeignKey, ForeignKeyAction, Identity, Index, IndexPart, TableName, TableSchema,
    UniqueKey,
};
use migrate_core::sink::{CreateRequest, SchemaPlan, Sink, TablePlan, WriteMode};
use migrate_core::value::{DataType, Value};
use std::sync::{Arc, Mutex};

fn plan(sink: &Arc<dyn Sink>, database: &DatabaseSchema, names: &[(&str, TableName)]) -> SchemaPlan {
    let mut plan = SchemaPlan { types: database.types.clone(), tables: Vec::new() };
    for (name, target) in names {
        let mut table = sink_support::find(database, name);
        for reference in &mut table.foreign_keys {
            if let Some((_, target)) = names.iter().find(|(n, _)| *n == reference.parent.name) {
                reference.parent = target.clone();
            }
        }
        let request = CreateRequest { engine: &database.engine, database, table: &table, name: target };
        plan.tables.push(sink.plan_table(&request).unwrap());
    }
    plan
}

fn public(name: &str) -> TableName {
    TableName::new(Some("public"), name)
}

async fn complete(sink: &Arc<dyn Sink>, plan: &SchemaPlan) -> Vec<String> {
    let fence = fence(sink).await;
    sink.prepare(plan, &fence).await.unwrap();
    let steps = Mutex::new(Vec::new());
    sink.finish(plan, &fence, &|step: &str| steps.lock().unwrap().push(step.to_owned())).await.unwrap();
    steps.into_inner().unwrap()
}

const SHOP: &str = r#"
    CREATE TYPE mood AS ENUM ('so''so', 'good');
    CREATE DOMAIN price AS numeric(10,2) DEFAULT 1.5 CHECK (VALUE >= 0);
    CREATE TYPE pair AS (a mood, b int[]);
    CREATE TYPE span AS RANGE (SUBTYPE = numeric);
    CREATE TABLE "Customer" (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        "Full Name" varchar(40) COLLATE "C" NOT NULL DEFAULT 'it''s',
        feeling mood DEFAULT 'good',
        tags text[] NOT NULL DEFAULT '{}',
        "both" pair, range span,
        born date CHECK (born > '1900-01-01'),
        CONSTRAINT named CHECK (length("Full Name") > 1 AND feeling <> 'so''so'::mood),
        UNIQUE (born, "Full Name"));
    COMMENT ON TABLE "Customer" IS 'people''s \ names';
    COMMENT ON COLUMN "Customer"."Full Name" IS 'both';
    CREATE INDEX lower_name ON "Customer" (lower("Full Name") DESC NULLS LAST) WHERE born IS NOT NULL;
    CREATE INDEX tag_index ON "Customer" USING gin (tags);
    CREATE TABLE orders (
        id serial PRIMARY KEY, customer bigint NOT NULL REFERENCES "Customer" ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
        parent int, cost price NOT NULL, twice numeric GENERATED ALWAYS AS (cost * 2) STORED, at timestamptz(3) DEFAULT now(),
        CONSTRAINT up FOREIGN KEY (parent) REFERENCES orders (id) ON UPDATE SET NULL,
        CONSTRAINT one UNIQUE (customer, at) DEFERRABLE);
    CREATE UNIQUE INDEX "Odd ""index" ON orders (parent DESC, id) INCLUDE (at);
"#;

#[tokio::test]
async fn a_schema_of_the_same_engine_comes_out_as_it_went_in() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run(SHOP).await;
    let (source, sink) = (from.sink().as_source().schema().await.unwrap(), to.sink());
    let plan = plan(&sink, &source, &[("Customer", public("Customer")), ("orders", public("orders"))]);
    // The children first: references are added after all keys.
    let mut turned = plan.clone();
    turned.tables.reverse();
    complete(&sink, &turned).await;
    let found = sink.schema().await.unwrap();
    assert_eq!(found.types, source.types);
    for wanted in &source.tables {
        let mut wanted = wanted.clone();
        let mut table = sink_support::find(&found, &wanted.name.name);
        for side in [&mut wanted, &mut table] {
            (side.row_estimate, side.size_bytes) = (None, None);
            side.indexes.sort_by(|a, b| a.name.cmp(&b.name));
            side.checks.sort_by(|a, b| a.expression.cmp(&b.expression));
            side.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
        }
        if wanted.name.name == "orders" {
            // The one thing that is carried over otherwise, and said to be.
            assert!(matches!(wanted.columns[0].identity, Some(Identity::Sequence { .. })));
            (wanted.columns[0].identity, wanted.columns[0].default) = (Some(Identity::ByDefault), None);
            let notes = &plan.tables[1].notes;
            assert!(notes.len() == 1 && notes[0].contains("IDENTITY"), "{notes:?}");
        } else {
            assert_eq!(plan.tables[0].notes, Vec::<String>::new());
        }
        assert_eq!(table, wanted);
        // What was planned is what introspection finds.
        let planned = &plan.table(&table.name).unwrap().table;
        let types = |t: &TableSchema| t.columns.iter().map(|c| (c.data_type.clone(), c.native_type.clone())).collect::<Vec<_>>();
        assert_eq!(types(planned), types(&table));
    }
    assert!(sink.state().unfinished_tables("job").await.unwrap().is_empty());
}

#[tokio::test]
async fn tables_can_be_copied_beside_themselves_under_other_names() {
    let database = Database::new().await;
    database.run(SHOP).await;
    let sink = database.sink();
    let source = sink.as_source().schema().await.unwrap();
    let other = TableName::new(Some("Other schema"), "Customer");
    let plan = plan(&sink, &source, &[("Customer", other), ("orders", public("orders_copy"))]);
    complete(&sink, &plan).await;
    let found = sink.schema().await.unwrap();
    let copy = sink_support::find(&found, "orders_copy");
    assert_eq!(copy.primary_key.as_ref().unwrap().columns, ["id"]);
    assert_eq!(copy.foreign_keys.len(), 2);
    assert!(copy.foreign_keys.iter().any(|f| f.parent.schema.as_deref() == Some("Other schema")));
    assert!(copy.foreign_keys.iter().any(|f| f.parent == copy.name));
    // The names of indexes are taken in the schema, so they get others, and a second run finds them.
    assert_eq!(copy.indexes.len(), 1);
    assert_eq!(copy.indexes[0].name, "Odd \"index_1");
    assert_eq!(copy.unique_keys.len(), 1);
    complete(&sink, &plan).await;
    assert_eq!(sink_support::find(&sink.schema().await.unwrap(), "orders_copy").indexes.len(), 1);
}

#[tokio::test]
async fn what_stays_behind_is_noted_and_not_needed() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run(
        "CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'; CREATE SEQUENCE shared;
         CREATE COLLATION german FROM \"C\";
         CREATE TABLE p (id int PRIMARY KEY, a int DEFAULT f(1), b int GENERATED ALWAYS AS (f(id)) STORED, c int CHECK (f(c) > 0),
             d int DEFAULT nextval('shared'), e text DEFAULT ('n' || nextval('shared')), g text COLLATE german) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p DEFAULT; CREATE INDEX fi ON p (f(a)); CREATE INDEX gi ON p (g);
         CREATE TABLE base (x int); CREATE TABLE heir (y int) INHERITS (base);
         CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER tr BEFORE INSERT ON heir FOR EACH ROW EXECUTE FUNCTION tr(); ALTER TABLE heir ENABLE ROW LEVEL SECURITY;
         CREATE VIEW v AS SELECT id, a + 1 AS b FROM p",
    )
    .await;
    let source = from.sink().as_source().schema().await.unwrap();
    let sink = to.sink();
    let plan = plan(&sink, &source, &[("p", public("p")), ("heir", public("heir")), ("v", public("v"))]);
    complete(&sink, &plan).await;
    let notes = plan.tables[0].notes.join("\n");
    for part in
        ["partitioned", "public.f", "column \"a\"", "column \"b\"", "check", "column \"d\"", "column \"e\"", "german", "index fi"]
    {
        assert!(notes.contains(part), "{part} in\n{notes}");
    }
    let heir = plan.tables[1].notes.join("\n");
    for part in ["inherit", "trigger tr", "row"] {
        assert!(heir.contains(part), "{part} in\n{heir}");
    }
    assert_eq!(to.query("SELECT relkind FROM pg_class WHERE relname IN ('p', 'heir', 'v')").await, ["r", "r", "r"]);
    assert_eq!(to.table("heir").await.columns.len(), 2);
    assert_eq!(to.table("p").await.indexes.len(), 1, "the index on g has nothing to do with f");
}

#[tokio::test]
async fn extensions_are_created_where_they_can_be_and_named_where_they_cannot() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE t (a ext.citext PRIMARY KEY)").await;
    let source = from.sink().as_source().schema().await.unwrap();
    let sink = to.sink();
    let mut plan = plan(&sink, &source, &[("t", public("t"))]);
    complete(&sink, &plan).await;
    assert_eq!(to.table("t").await.columns[0].native_type, "ext.citext");
    let migrate_core::schema::TypeKind::Extension { extension } = &mut plan.types[0].kind else { panic!("{:?}", plan.types) };
    *extension = "no such extension".to_owned();
    let error = sink.prepare(&plan, &fence(&sink).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    assert!(error.to_string().contains("no such extension"), "{error}");
}

fn column(name: &str, portable: DataType) -> ColumnSchema {
    ColumnSchema {
        name: name.to_owned(),
        data_type: portable.clone(),
        native_type: "ANYTHING".to_owned(),
        portable_type: portable,
        nullable: true,
        default: None,
        generated: None,
        identity: None,
        numbering: None,
        collation: None,
        comment: None,
    }
}

fn key(columns: &[&str]) -> UniqueKey {
    UniqueKey::new(columns.iter().copied())
}

fn reference(columns: &[&str], parent: &str, parent_columns: &[&str]) -> ForeignKey {
    ForeignKey {
        name: None,
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        parent: TableName::new(None, parent),
        parent_columns: parent_columns.iter().map(|c| (*c).to_owned()).collect(),
        on_delete: ForeignKeyAction::Cascade,
        on_update: ForeignKeyAction::NoAction,
        match_full: false,
        deferrable: false,
        initially_deferred: false,
        validated: true,
    }
}

fn index(name: &str, columns: &[&str], unique: bool) -> Index {
    let part = |c: &&str| IndexPart { column: Some((*c).to_owned()), expression: None, descending: true, collation: None };
    Index {
        name: name.to_owned(),
        unique,
        method: String::new(),
        parts: columns.iter().map(part).collect(),
        predicate: None,
        definition: "CREATE INDEX in sqlite".to_owned(),
        extensions: Vec::new(),
    }
}

fn sqlite(tables: Vec<TableSchema>) -> DatabaseSchema {
    DatabaseSchema { engine: "sqlite".to_owned(), version: "3".to_owned(), tables, types: Vec::new() }
}

/// Albums of a SQLite file, with whatever one may hold.
fn albums() -> DatabaseSchema {
    let mut artists = TableSchema::new(TableName::new(None, "Artist"));
    artists.columns = vec![column("ArtistId", DataType::Int64), column("Name", DataType::TEXT)];
    artists.columns[0].identity = Some(Identity::RowId { autoincrement: true });
    artists.primary_key = Some(key(&["ArtistId"]));
    let mut albums = TableSchema::new(TableName::new(None, "Album"));
    let long = "a rather long name of a column ".repeat(4);
    albums.columns = vec![
        column("AlbumId", DataType::TEXT),
        column("ArtistId", DataType::Int64),
        column("xmin", DataType::Decimal { precision: Some(10), scale: Some(2) }),
        column("", DataType::Bool),
        column(&long, DataType::Json),
        column("made", DataType::Timestamp { precision: None }),
        column("kind", DataType::Enum { name: "kind".to_owned(), labels: vec!["a".to_owned(), "it's".to_owned()] }),
        column("any", DataType::Other { name: "inet".to_owned() }),
    ];
    albums.columns[2].default = Some("0".to_owned());
    albums.columns[3].default = Some("1".to_owned());
    albums.columns[5].default = Some("CURRENT_TIMESTAMP".to_owned());
    albums.columns[7].default = Some("(hex(1))".to_owned());
    albums.columns[0].collation = Some("NOCASE".to_owned());
    albums.primary_key = Some(key(&["AlbumId"]));
    albums.unique_keys = vec![key(&["ArtistId", "AlbumId"])];
    albums.foreign_keys = vec![
        reference(&["ArtistId"], "Artist", &[]),
        reference(&["AlbumId"], "Artist", &["ArtistId"]),
        reference(&["ArtistId"], "Artist", &["Name"]),
    ];
    albums.checks = vec![Check::new(Some("positive".to_owned()), "xmin >= 0"), Check::new(None, "AlbumId LIKE 'a%'")];
    albums.indexes = vec![index("Artist", &["ArtistId", "AlbumId"], false), index("on_json", &[&long], false)];
    sqlite(vec![artists, albums])
}

#[tokio::test]
async fn a_table_of_another_engine_gets_types_defaults_and_keys_or_a_note() {
    let database = Database::new().await;
    let sink = database.sink();
    let source = albums();
    let mut tables = SchemaPlan::default();
    for table in &source.tables {
        let name = public(&table.name.name);
        let mut table = table.clone();
        table.foreign_keys.iter_mut().for_each(|f| f.parent.schema = Some("public".to_owned()));
        tables
            .tables
            .push(sink.plan_table(&CreateRequest { engine: "sqlite", database: &source, table: &table, name: &name }).unwrap());
    }
    complete(&sink, &tables).await;
    let album = database.table("Album").await;
    let types: Vec<&str> = album.columns.iter().map(|c| c.native_type.as_str()).collect();
    let wanted = ["text", "bigint", "numeric(10,2)", "boolean", "json", "timestamp without time zone", "text", "inet"];
    assert_eq!(types, wanted);
    for (planned, found) in tables.tables[1].table.columns.iter().zip(&album.columns) {
        assert_eq!((&planned.name, &planned.data_type), (&found.name, &found.data_type));
    }
    assert_eq!((album.columns[2].name.as_str(), album.columns[3].name.as_str()), ("xmin_", "column_4"));
    assert_eq!(album.primary_key.as_ref().unwrap().columns, ["AlbumId"]);
    assert_eq!(album.foreign_keys.len(), 1);
    assert_eq!(album.checks.len(), 2, "{:?}", album.checks);
    assert_eq!(album.indexes.len(), 1);
    assert_eq!(album.indexes[0].name, "Artist_1", "a table has the index's name");
    assert!(album.indexes[0].parts[0].descending);
    let notes = tables.tables[1].notes.join("\n");
    for part in
        ["xmin_", "column_4", "NOCASE", "hex(1)", "LIKE", "AlbumId) is not carried over", "no key of", "on_json", "enumeration"]
    {
        assert!(notes.contains(part), "{part} in\n{notes}");
    }
    database
        .run("INSERT INTO \"Artist\" (\"Name\") VALUES ('x'); INSERT INTO \"Album\" (\"AlbumId\", kind) VALUES ('a', 'it''s')")
        .await;
    assert_eq!(database.query("SELECT xmin_, column_4, made IS NOT NULL, \"any\" FROM \"Album\"").await, ["0.00|t|t|∅"]);
}

#[tokio::test]
async fn an_interrupted_completion_goes_on_where_it_was() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run(SHOP).await;
    let source = from.sink().as_source().schema().await.unwrap();
    let sink = to.sink();
    let plan = plan(&sink, &source, &[("Customer", public("Customer")), ("orders", public("orders"))]);
    let held = fence(&sink).await;
    sink.prepare(&plan, &held).await.unwrap();
    assert_eq!(sink.state().unfinished_tables("job").await.unwrap().len(), 2);
    assert_eq!(sink.state().unfinished_tables("job").await.unwrap()[0].plan, plan.tables[0]);
    // GIVEN what a run leaves behind that is killed between an index and its constraint, and after one reference
    sink.build_keys(&plan, &held).await.unwrap();
    to.run(
        "ALTER TABLE \"Customer\" DROP CONSTRAINT \"Customer_pkey\"; ALTER TABLE orders DROP CONSTRAINT one;
         CREATE UNIQUE INDEX one ON orders (customer, at); CREATE INDEX lower_name ON \"Customer\" (born)",
    )
    .await;
    let steps = Mutex::new(Vec::new());
    sink.finish(&plan, &held, &|step: &str| steps.lock().unwrap().push(step.to_owned())).await.unwrap();
    let steps = steps.into_inner().unwrap().join("\n");
    // THEN what is there is not made again
    assert!(
        steps.contains("primary key Customer_pkey") && !steps.contains("unique key one") && !steps.contains("lower_name"),
        "{steps}"
    );
    let found = sink.schema().await.unwrap();
    assert_eq!(sink_support::find(&found, "orders").unique_keys.len(), 1);
    assert_eq!(sink_support::find(&found, "orders").foreign_keys.len(), 2);
    assert!(sink.state().unfinished_tables("job").await.unwrap().is_empty());
}

#[tokio::test]
async fn sequences_go_on_behind_the_rows_whichever_way_they_count() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE up (id int GENERATED BY DEFAULT AS IDENTITY, n text); CREATE TABLE empty (id serial, n text);
             CREATE TABLE down (id int GENERATED ALWAYS AS IDENTITY (INCREMENT -2 START -1), n text);
             CREATE TABLE below (id bigint GENERATED BY DEFAULT AS IDENTITY, n text); CREATE SEQUENCE \"odd seq\";
             CREATE TABLE shared (id numeric DEFAULT nextval('\"odd seq\"'), n text); SELECT setval('\"odd seq\"', 500);
             CREATE TABLE full_ (id smallint GENERATED BY DEFAULT AS IDENTITY, n text)",
        )
        .await;
    let sink = database.sink();
    let held = fence(&sink).await;
    let rows = [
        ("up", vec![7, 3]),
        ("empty", vec![]),
        ("down", vec![-9, -4]),
        ("below", vec![-5, -6]),
        ("shared", vec![]),
        ("full_", vec![32767]),
    ];
    let mut plan = SchemaPlan::default();
    for (name, ids) in rows {
        let table = database.table(name).await;
        let rows: Vec<_> = ids.into_iter().map(|id| vec![Value::Int(id), text("x")]).collect();
        write_all(&sink, &held, &table, &[], &page(&table, &rows), WriteMode::Load).await.unwrap();
        plan.tables.push(TablePlan { table, create: false, added: Vec::new(), notes: Vec::new() });
    }
    for _ in 0..2 {
        sink.finish(&plan, &held, &|_: &str| {}).await.unwrap();
    }
    database.run("INSERT INTO up (n) VALUES ('y'); INSERT INTO empty (n) VALUES ('y'); INSERT INTO down (n) VALUES ('y'); INSERT INTO below (n) VALUES ('y'); INSERT INTO shared (n) VALUES ('y')").await;
    let next = "SELECT (SELECT id FROM up WHERE n = 'y'), (SELECT id FROM empty), (SELECT id FROM down WHERE n = 'y'), (SELECT id FROM below WHERE n = 'y'), (SELECT id FROM shared)";
    assert_eq!(database.query(next).await, ["8|1|-11|1|501"]);
}

#[tokio::test]
async fn rows_that_break_a_constraint_stop_the_end_and_are_counted_and_named() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run(
        "CREATE TABLE parent (id int PRIMARY KEY, n text UNIQUE);
         CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent, CONSTRAINT self FOREIGN KEY (parent) REFERENCES child)",
    )
    .await;
    let source = from.sink().as_source().schema().await.unwrap();
    let sink = to.sink();
    let mut plan = plan(&sink, &source, &[("parent", public("parent")), ("child", public("child"))]);
    let held = fence(&sink).await;
    sink.prepare(&plan, &held).await.unwrap();
    to.run("INSERT INTO parent SELECT i, 'n' || i FROM generate_series(1, 3) i; INSERT INTO child SELECT i, i FROM generate_series(1, 12) i").await;
    let error = sink.finish(&plan, &held, &|_: &str| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Constraint, "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with("9 rows") && message.contains("child_parent_fkey") && message.contains("(4)"), "{message}");
    assert_eq!(message.matches("(1").count(), 0, "{message}");
    // A repaired table is finished by the same call.
    to.run("UPDATE child SET parent = NULL WHERE parent > 3").await;
    sink.finish(&plan, &held, &|_: &str| {}).await.unwrap();
    // Duplicates likewise.
    to.run("DROP TABLE child; DROP TABLE parent").await;
    plan.tables.truncate(1);
    sink.prepare(&plan, &held).await.unwrap();
    to.run("INSERT INTO parent VALUES (1, 'a'), (1, 'b'), (2, 'c'), (3, 'd'), (3, 'e'), (3, 'f')").await;
    let error = sink.finish(&plan, &held, &|_: &str| {}).await.unwrap_err();
    let message = error.to_string();
    assert!(
        error.kind() == ErrorKind::Constraint && message.starts_with("5 rows") && message.contains("parent_pkey"),
        "{message}"
    );
}

#[tokio::test]
async fn a_table_that_is_not_this_jobs_is_not_taken_for_one_it_has_begun() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let source = from.sink().as_source().schema().await.unwrap();
    let sink = to.sink();
    let plan = plan(&sink, &source, &[("t", public("t"))]);
    to.run("CREATE TABLE t (id int, other text)").await;
    let error = sink.prepare(&plan, &fence(&sink).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema, "{error:?}");
}

#[tokio::test]
async fn p8_tables_are_created_by_a_role_with_a_schema_of_its_own() {
    let (from, to) = (Database::bare().await, Database::new().await);
    from.run(SHOP).await;
    let role = format!("maker_{}", to.name());
    to.run(&format!(
        "CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}; GRANT CREATE ON SCHEMA public TO {role};
         GRANT USAGE ON SCHEMA migrate TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA migrate TO {role}"
    ))
    .await;
    let source = from.sink().as_source().schema().await.unwrap();
    let sink = sink(&to.url_as(&role));
    let own = |name: &str| TableName::new(Some("own"), name);
    let plan = plan(&sink, &source, &[("Customer", own("Customer")), ("orders", own("orders"))]);
    sink.check_creatable().await.unwrap();
    complete(&sink, &plan).await;
    assert_eq!(to.query("SELECT count(*) FROM pg_constraint WHERE connamespace = 'own'::regnamespace").await.len(), 1);
    to.run(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn an_index_that_a_value_is_too_long_for_is_left_out_and_said_to_be() {
    let database = Database::new().await;
    let sink = database.sink();
    let mut table = TableSchema::new(TableName::new(None, "notes"));
    table.columns = vec![column("id", DataType::Int64), column("body", DataType::TEXT)];
    table.primary_key = Some(key(&["id"]));
    table.indexes = vec![index("by_body", &["body"], false)];
    let source = sqlite(vec![table.clone()]);
    let name = public("notes");
    let planned = sink.plan_table(&CreateRequest { engine: "sqlite", database: &source, table: &table, name: &name }).unwrap();
    let plan = SchemaPlan { types: Vec::new(), tables: vec![planned] };
    let held = fence(&sink).await;
    sink.prepare(&plan, &held).await.unwrap();
    // Too random to be compressed below a third of a page.
    database.run("INSERT INTO notes SELECT 1, string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 500)").await;
    let steps = Mutex::new(Vec::new());
    sink.finish(&plan, &held, &|step: &str| steps.lock().unwrap().push(step.to_owned())).await.unwrap();
    assert!(steps.into_inner().unwrap().iter().any(|s| s.contains("by_body is left out")));
    assert!(sink.state().unfinished_tables("job").await.unwrap().is_empty());
}
