//! Creating tables: SQLite's own to the letter, other engines' in a form that keeps every value.

use crate::support::target::Target;
use crate::support::{Database, find};
use migrate_core::schema::{Identity, TableSchema};
use migrate_core::sink::{CreateRequest, SchemaPlan, Sink};
use migrate_core::source::Source;

const SCRIPT: &str = "
CREATE TABLE \"Order Details\" (
  \"2B\" INTEGER PRIMARY KEY AUTOINCREMENT,
  \"year.key\" VARCHAR(20) NOT NULL DEFAULT 'it''s' COLLATE NOCASE,
  price NUMERIC(10,2) DEFAULT (1 + 1) CHECK (price >= 0),
  total REAL GENERATED ALWAYS AS (price * 2) STORED,
  half GENERATED ALWAYS AS (price / 2) VIRTUAL,
  made DATETIME DEFAULT CURRENT_TIMESTAMP,
  parent INTEGER,
  UNIQUE (\"year.key\", price),
  CONSTRAINT odd CHECK (parent <> 13),
  FOREIGN KEY (parent) REFERENCES \"Order Details\" (\"2B\") ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE clustered (a TEXT, b INT, c ANY, PRIMARY KEY (a, b)) WITHOUT ROWID, STRICT;
CREATE TABLE loose (x, y BLOB, z \"strange type!\");
CREATE TABLE text_key (id TEXT PRIMARY KEY, n INT REFERENCES clustered_parent(id));
CREATE TABLE clustered_parent (id INT PRIMARY KEY);
CREATE INDEX by_price ON \"Order Details\" (price DESC, \"year.key\" COLLATE BINARY) WHERE price > 10;
CREATE UNIQUE INDEX by_expression ON \"Order Details\" (lower(\"year.key\") || 'x');
CREATE TRIGGER t AFTER INSERT ON loose BEGIN SELECT 1; END;
CREATE VIEW v AS SELECT x FROM loose;
";

async fn copy_schema(source: &Database, target: &Target, tables: &[&str]) -> SchemaPlan {
    let schema = source.source().schema().await.expect("the schema is readable");
    let plan = |name: &&str| {
        let table = find(&schema, name);
        let request = CreateRequest { engine: "sqlite", database: &schema, table, name: &table.name };
        target.sink.plan_table(&request).expect("the table can be planned")
    };
    let plan = SchemaPlan { types: Vec::new(), tables: tables.iter().map(plan).collect() };
    target.sink.prepare(&plan, &target.fence).await.expect("created");
    target.sink.finish(&plan, &target.fence, &|_| {}).await.expect("completed");
    plan
}

/// What must be the same on both sides.
fn essence(mut table: TableSchema) -> TableSchema {
    table.row_estimate = None;
    table.size_bytes = None;
    table.triggers.clear();
    for index in &mut table.indexes {
        index.definition.clear();
    }
    table
}

#[tokio::test]
async fn a_sqlite_table_is_taken_over_to_the_letter() {
    let (source, copy) = (Database::new(SCRIPT), Database::new(""));
    let target = Target::open(&copy.path).await;
    let tables = ["Order Details", "clustered", "loose", "text_key", "clustered_parent"];
    let plan = copy_schema(&source, &target, &tables).await;
    let original = source.source().schema().await.expect("the schema is readable");
    let made = target.sink.schema().await.expect("the schema is readable");
    for (name, planned) in tables.iter().zip(&plan.tables) {
        assert_eq!(essence(find(&made, name).clone()), essence(find(&original, name).clone()), "{name}");
        assert_eq!(essence(planned.table.clone()), essence(find(&made, name).clone()), "the plan of {name}");
    }
    assert_eq!(plan.tables[2].notes, ["trigger t is not carried over"]);
    let sequence: i64 = copy
        .connect()
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'Order Details'", [], |r| r.get(0))
        .expect("a sequence");
    assert_eq!(sequence, 0, "an empty table numbers from the start");
    let kept = find(&made, "Order Details").columns[0].identity.clone();
    assert_eq!(kept, Some(Identity::RowId { autoincrement: true }));
}

#[tokio::test]
async fn a_view_becomes_a_plain_table_and_the_plan_says_so() {
    let (source, copy) = (Database::new(SCRIPT), Database::new(""));
    let target = Target::open(&copy.path).await;
    let plan = copy_schema(&source, &target, &["v"]).await;
    assert!(plan.tables[0].notes[0].contains("view"), "{:?}", plan.tables[0].notes);
    assert_eq!(target.table("v").await.columns.len(), 1);
}
