//! Tests of whole plans; the parts are tested beside themselves.

use super::*;
use migrate_core::schema::*;
use migrate_core::value::DataType;

pub(super) fn column(name: &str, data_type: DataType) -> ColumnSchema {
    ColumnSchema {
        name: name.to_owned(),
        native_type: data_type.to_string(),
        portable_type: data_type.clone(),
        data_type,
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

fn plan(engine: &str, table: &TableSchema, name: &str) -> Result<TablePlan> {
    let database = DatabaseSchema { engine: engine.to_owned(), tables: vec![table.clone()], ..DatabaseSchema::default() };
    plan_table(&CreateRequest { engine, database: &database, table, name: &TableName::new(None, name) })
}

fn film() -> TableSchema {
    let mut table = TableSchema::new(TableName::new(Some("public"), "film"));
    table.columns = vec![
        column("id", DataType::Int32),
        column("2B \"odd\"", DataType::Text { max_chars: Some(20) }),
        column("price", DataType::Decimal { precision: Some(10), scale: Some(2) }),
        column("mood", DataType::Enum { name: "mood".into(), labels: vec!["sad".into(), "it's ok".into()] }),
        column("tags", DataType::Other { name: "text[]".into() }),
    ];
    table.columns[0].default = Some("nextval('film_id_seq'::regclass)".into());
    table.columns[0].identity = Some(Identity::Sequence { name: "film_id_seq".into() });
    table.primary_key = Some(key(&["id"]));
    table.unique_keys = vec![UniqueKey { name: Some("film_key".into()), ..key(&["2B \"odd\""]) }];
    table.checks =
        vec![Check::new(Some("positive".into()), "(id > 0)"), Check::new(Some("tagged".into()), "(cardinality(tags) > 0)")];
    table.foreign_keys = vec![ForeignKey {
        name: Some("film_self".into()),
        columns: vec!["id".into()],
        parent: TableName::new(Some("public"), "film"),
        parent_columns: vec!["id".into()],
        on_delete: ForeignKeyAction::Cascade,
        on_update: ForeignKeyAction::NoAction,
        match_full: false,
        deferrable: true,
        initially_deferred: true,
        validated: true,
    }];
    table.comment = Some("films".into());
    table
}

#[test]
fn a_postgresql_table_keeps_keys_checks_references_and_enumerations() {
    let plan = plan("postgresql", &film(), "film").expect("can be planned");
    let sql = create_table(&plan.table);
    for part in [
        "\"id\" INTEGER PRIMARY KEY NOT NULL",
        "\"2B \"\"odd\"\"\" VARCHAR_TEXT(20)",
        "\"price\" NUMERIC_TEXT(10,2)",
        "CONSTRAINT \"positive\" CHECK ((\"id\" > 0))",
        "CHECK (\"mood\" IN ('sad', 'it''s ok'))",
        "CONSTRAINT \"film_self\" FOREIGN KEY (\"id\") REFERENCES \"film\" (\"id\") ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
    ] {
        assert!(sql.contains(part), "{part} is missing in {sql}");
    }
    assert_eq!(plan.table.indexes[0].definition, "CREATE UNIQUE INDEX \"film_key\" ON \"film\" (\"2B \"\"odd\"\"\")");
    let notes = plan.notes.join("\n");
    assert!(notes.contains("check tagged is not carried over"), "{notes}");
    assert!(notes.contains("1 comment(s)"), "{notes}");
    rusqlite::Connection::open_in_memory().expect("opens").execute_batch(&sql).expect("SQLite takes the statement");
}

#[test]
fn a_table_without_columns_gets_a_placeholder() {
    let table = TableSchema::new(TableName::new(None, "void"));
    let plan = plan("postgresql", &table, "void").expect("can be planned");
    rusqlite::Connection::open_in_memory().expect("opens").execute_batch(&create_table(&plan.table)).expect("SQLite takes it");
    assert!(plan.notes[0].contains(PLACEHOLDER_COLUMN), "{:?}", plan.notes);
}

#[test]
fn names_that_sqlite_or_this_library_keeps_are_refused() {
    for name in ["sqlite_stat9", "SQLite_x", "_migrate_ledger"] {
        let error = plan("postgresql", &film(), name).expect_err("a reserved name");
        assert_eq!(error.kind(), ErrorKind::Schema);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn columns_that_differ_by_case_only_are_refused() {
    let mut table = film();
    table.columns.push(column("ID", DataType::Int32));
    let error = plan("postgresql", &table, "film").expect_err("two columns are one to SQLite");
    assert!(error.to_string().contains("column ID"), "{error}");
}

#[test]
fn what_mentions_a_column_that_is_left_out_is_noted() {
    let mut original = TableSchema::new(TableName::new(None, "t"));
    original.columns = vec![column("a", DataType::TEXT), column("b", DataType::TEXT), column("sum", DataType::TEXT)];
    original.columns[2].generated = Some(Generated { expression: "a || \"B\"".into(), stored: true });
    original.checks = vec![Check::new(None, "b > 'x'"), Check::new(None, "a <> 'b'")];
    original.primary_key = Some(key(&["a", "b"]));
    let mut table = original.clone();
    table.columns.remove(1);
    let database = DatabaseSchema { engine: "sqlite".into(), tables: vec![original], ..DatabaseSchema::default() };
    let name = TableName::new(None, "t");
    let plan =
        plan_table(&CreateRequest { engine: "sqlite", database: &database, table: &table, name: &name }).expect("can be planned");
    assert_eq!(plan.table.checks.len(), 1, "the check on a stays");
    assert!(plan.table.primary_key.is_none());
    assert!(plan.table.columns[1].generated.is_none());
    assert_eq!(plan.notes.len(), 3, "{:?}", plan.notes);
}

#[test]
fn defaults_of_sqlite_stay_to_the_letter() {
    let mut table = TableSchema::new(TableName::new(None, "t"));
    for (name, default) in
        [("a", "\"text\""), ("b", "-1"), ("c", "datetime('now')"), ("d", "X'00'"), ("e", "CURRENT_TIMESTAMP"), ("f", "(1)")]
    {
        let mut column = column(name, DataType::TEXT);
        column.native_type = "TEXT".into();
        column.default = Some(default.to_owned());
        table.columns.push(column);
    }
    let plan = plan("sqlite", &table, "t").expect("can be planned");
    let sql = create_table(&plan.table);
    rusqlite::Connection::open_in_memory().expect("opens").execute_batch(&sql).expect("SQLite takes the statement");
    assert!(sql.contains("DEFAULT \"text\"") && sql.contains("DEFAULT (datetime('now'))"), "{sql}");
}
