//! Real databases in every direction, compared row by row by what the engines themselves print.

use migrate_tests::{
    Difference, Fixture, Postgres, Project, Rows, Server, Sqlite, assert_same_rows, assert_same_sqlite_file, identifier,
    postgres_columns, row_counts,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// The rows that each entity read, by the source's table without its schema.
fn read(report: &Value) -> BTreeMap<String, u64> {
    numbers(report, "read")
}

fn numbers(report: &Value, name: &str) -> BTreeMap<String, u64> {
    let entities = report["entities"].as_array().expect("entities");
    let table = |entity: &Value| {
        let source = entity["source"].as_str().expect("a source");
        source.strip_prefix("public.").unwrap_or(source).to_owned()
    };
    entities.iter().map(|entity| (table(entity), entity[name].as_u64().expect("a number"))).collect()
}

fn total(report: &Value, name: &str) -> u64 {
    numbers(report, name).values().sum()
}

/// Copies, checks the counts against those of the data's authors, and copies again, which must write nothing (P4).
fn copy_twice(project: &Project, expected: &BTreeMap<String, u64>) {
    let first = project.copy_inline();
    assert_eq!(first["status"], "succeeded", "{first}");
    assert_eq!(&read(&first), expected);
    assert_eq!(total(&first, "inserted"), expected.values().sum::<u64>(), "{first}");

    let second = project.copy_inline();
    assert_eq!(second["status"], "succeeded", "{second}");
    assert_eq!(&read(&second), expected);
    assert_eq!(total(&second, "unchanged"), expected.values().sum::<u64>(), "{second}");
    for counter in ["inserted", "updated", "deleted", "quarantined", "skipped"] {
        assert_eq!(total(&second, counter), 0, "{counter} of a second run: {second}");
    }
}

/// The tables of PostgreSQL that a copy moves: leaf partitions go through their parent.
fn postgres_tables(database: &Postgres) -> Vec<String> {
    let rows = database.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1",
    );
    rows.into_iter().map(|mut row| row.remove(0).expect("a name")).collect()
}

fn expected_of_postgres(fixture: Fixture, database: &Postgres) -> BTreeMap<String, u64> {
    let tables = postgres_tables(database);
    row_counts(fixture, "pg").into_iter().filter(|(table, _)| tables.contains(table)).collect()
}

/// `ONLY`, as a parent of inheritance would print its children's rows too; a partitioned table has none of its own.
fn only(database: &Postgres, table: &str) -> String {
    let partitioned =
        database.count(&format!("SELECT count(*) FROM pg_class WHERE oid = '{table}'::regclass AND relkind = 'p'")) == 1;
    if partitioned { identifier(table) } else { format!("ONLY {}", identifier(table)) }
}

fn assert_same_postgres(source: &Postgres, target: &Postgres) {
    for table in postgres_tables(source) {
        let columns = postgres_columns(source, &table);
        // Both are PostgreSQL: no rule is needed, each cell must print the same.
        let columns: Vec<_> = columns.into_iter().map(|(name, _)| (name, String::new())).collect();
        assert_same_rows((source, &only(source, &table)), (target, &only(target, &table)), &columns);
    }
}

fn assert_same_across(postgres: &Postgres, sqlite: &Sqlite) {
    for table in postgres_tables(postgres) {
        let columns = postgres_columns(postgres, &table);
        assert_same_rows((postgres, &only(postgres, &table)), (sqlite, &identifier(&table)), &columns);
    }
}

fn assert_same_definitions(source: &Postgres, target: &Postgres) {
    // A partitioned table becomes a plain one, with the same columns and keys but not always the same foreign keys.
    let same = |row: &&Vec<Option<String>>| row[0].as_deref() != Some("payment");
    let printed = |database: &Postgres| definitions(database).iter().filter(same).map(|row| format!("{row:?}")).collect();
    let difference = Difference::between("definitions", printed(source), printed(target));
    assert!(difference.is_empty(), "{difference}");
}

/// What the catalogs say of tables, in the server's own words. A default from a sequence of the column's own (serial) is the same
/// as an identity.
fn definitions(database: &Postgres) -> Vec<Vec<Option<String>>> {
    database.rows(
        "SELECT c.relname, 'column', a.attnum::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, \
            CASE WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' THEN 'numbered' WHEN a.attidentity <> '' THEN 'numbered' \
                ELSE pg_get_expr(d.adbin, d.adrelid) END, a.attgenerated::text, NULL \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition \
         UNION ALL SELECT c.relname, 'constraint', NULL, o.conname::text, pg_get_constraintdef(o.oid), NULL, NULL, NULL, NULL \
         FROM pg_class c JOIN pg_constraint o ON o.conrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition \
         UNION ALL SELECT c.relname, 'index', NULL, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), NULL, NULL, NULL, NULL \
         FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition \
         ORDER BY 1, 2, 3, 4",
    )
}

#[test]
fn chinook_from_sqlite_to_sqlite_keeps_every_cell_and_its_storage_class() {
    let project = Project::new();
    let source = Fixture::Chinook.sqlite(project.path());
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");

    copy_twice(&project, &row_counts(Fixture::Chinook, "sqlite"));

    assert_same_sqlite_file(&source, &target);
    // The declarations come along to the letter, keys and foreign keys with them.
    let catalog = "SELECT m.name, p.* FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE '\\_migrate%' ESCAPE '\\' \
                   AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, p.cid";
    assert_eq!(source.rows(catalog), target.rows(catalog));
    let references = "SELECT m.name, p.\"table\", p.\"from\", p.\"to\", p.on_update, p.on_delete FROM sqlite_schema m, pragma_foreign_key_list(m.name) p \
                      WHERE m.type = 'table' ORDER BY m.name, p.\"from\"";
    assert_eq!(source.rows(references), target.rows(references));
    assert_eq!(target.rows("PRAGMA foreign_key_check").len(), 0);
    assert_eq!(target.texts("PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn chinook_from_sqlite_to_postgresql_equals_its_authors_own_load_into_postgresql() {
    let project = Project::new();
    let source = Fixture::Chinook.sqlite(project.path());
    let target = Postgres::new(Server::Second);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");

    copy_twice(&project, &row_counts(Fixture::Chinook, "sqlite"));

    for table in source.tables() {
        let quoted = identifier(&table);
        assert_same_rows((&source, &quoted), (&target, &quoted), &postgres_columns(&target, &quoted));
    }
    // The authors publish the same rows for PostgreSQL, under names in lower case with underscores.
    let upstream = Fixture::Chinook.postgres(Server::First);
    // One customer's blank got lost on their side.
    upstream.run("UPDATE customer SET city = 'Edinburgh ' WHERE customer_id = 54; UPDATE invoice SET billing_city = 'Edinburgh ' WHERE customer_id = 54");
    for table in postgres_tables(&upstream) {
        let ours = table.split('_').map(capitalised).collect::<String>();
        let theirs = upstream.printed(&table, &postgres_columns(&upstream, &table));
        let columns: Vec<(String, String)> = postgres_columns(&upstream, &table)
            .into_iter()
            .map(|(name, kind)| (name.split('_').map(capitalised).collect(), kind))
            .collect();
        let difference = Difference::between(&table, theirs, target.printed(&identifier(&ours), &columns));
        assert!(difference.is_empty(), "{difference}");
    }
    // Types that say what the columns hold, and the keys.
    let kinds: BTreeMap<_, _> = postgres_columns(&target, "\"Invoice\"").into_iter().collect();
    assert_eq!(kinds["InvoiceDate"], "timestamp");
    assert_eq!(kinds["Total"], "numeric");
    let keys = |kind: &str| {
        target.count(&format!(
            "SELECT count(*) FROM pg_constraint WHERE contype = '{kind}' AND connamespace = 'public'::regnamespace"
        ))
    };
    assert_eq!((keys("p"), keys("f")), (11, 11));
    assert_eq!(target.count("SELECT count(*) FROM pg_constraint WHERE NOT convalidated"), 0);
}

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

#[test]
fn chinook_from_postgresql_to_sqlite_and_back_returns_the_same_rows() {
    let source = Fixture::Chinook.postgres(Server::First);
    let expected = expected_of_postgres(Fixture::Chinook, &source);
    let project = Project::new();
    let between = Sqlite::new(project.path().join("between.sqlite"));
    project.write_job(&source.url(), &between.url(), "mode = \"replace\"\nentities = \"*\"\n");
    copy_twice(&project, &expected);
    assert_same_across(&source, &between);
    assert_eq!(between.rows("PRAGMA foreign_key_check").len(), 0);

    let back = Postgres::new(Server::Second);
    let project = Project::copying(&between.url(), &back.url());
    copy_twice(&project, &expected);
    assert_same_postgres(&source, &back);
}

#[test]
fn chinook_from_postgresql_to_postgresql_keeps_rows_types_keys_and_indexes() {
    let source = Fixture::Chinook.postgres(Server::First);
    let target = Postgres::new(Server::Second);
    let project = Project::copying(&source.url(), &target.url());
    copy_twice(&project, &expected_of_postgres(Fixture::Chinook, &source));
    assert_same_postgres(&source, &target);
    assert_same_definitions(&source, &target);
}

#[test]
fn pagila_3_from_postgresql_to_postgresql_keeps_rows_types_keys_and_indexes() {
    let source = Fixture::Pagila3.postgres(Server::First);
    let target = Postgres::new(Server::Second);
    let project = Project::copying(&source.url(), &target.url());
    copy_twice(&project, &expected_of_postgres(Fixture::Pagila3, &source));
    assert_same_postgres(&source, &target);
    assert_same_definitions(&source, &target);
    // The next row gets a number that is free.
    let next = |database: &Postgres| database.count("SELECT nextval('public.actor_actor_id_seq')");
    assert_eq!(next(&source), next(&target));
}

#[test]
fn pagila_3_through_sqlite_and_back_returns_the_same_rows_and_types() {
    let source = Fixture::Pagila3.postgres(Server::Second);
    let expected = expected_of_postgres(Fixture::Pagila3, &source);
    let project = Project::new();
    let between = Sqlite::new(project.path().join("between.sqlite"));
    project.write_job(&source.url(), &between.url(), "mode = \"replace\"\nentities = \"*\"\n");
    copy_twice(&project, &expected);
    assert_same_across(&source, &between);

    let back = Postgres::new(Server::First);
    let project = Project::copying(&between.url(), &back.url());
    copy_twice(&project, &expected);
    assert_same_postgres(&source, &back);
    // SQLite has no enums of a name, and its own type for a number that is the primary key.
    let changed = |table: &str, column: &str| column == "rating" || column == format!("{table}_id");
    for table in postgres_tables(&source) {
        let of = |database: &Postgres| {
            let columns = postgres_columns(database, &table).into_iter();
            columns.filter(|(column, _)| !changed(&table, column)).collect::<Vec<_>>()
        };
        assert_eq!(of(&source), of(&back), "{table}");
    }
}

#[test]
fn pagila_3_into_its_own_schema_fires_the_triggers_and_writes_nothing_twice() {
    let source = Fixture::Pagila3.postgres(Server::First);
    let target = Fixture::Pagila3.postgres(Server::Second);
    // The order frees the children first; the triggers and the partitions stay.
    target.run("TRUNCATE actor, address, category, city, country, customer, film, film_actor, film_category, inventory, language, payment, rental, staff, store CASCADE");
    let project = Project::copying(&source.url(), &target.url());
    copy_twice(&project, &expected_of_postgres(Fixture::Pagila3, &source));
    assert_same_postgres(&source, &target);
}

#[test]
fn pagila_0_10_with_inheritance_and_a_cycle_copies_to_postgresql() {
    let source = Fixture::Pagila0.postgres(Server::First);
    let target = Postgres::new(Server::Second);
    let project = Project::copying(&source.url(), &target.url());
    copy_twice(&project, &expected_of_postgres(Fixture::Pagila0, &source));
    assert_same_postgres(&source, &target);
    let references = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(source.count(references), target.count(references));
}

#[test]
fn pagila_0_10_with_inheritance_and_a_cycle_copies_to_sqlite() {
    let source = Fixture::Pagila0.postgres(Server::Second);
    let project = Project::new();
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    copy_twice(&project, &expected_of_postgres(Fixture::Pagila0, &source));
    assert_same_across(&source, &target);
    assert_eq!(target.rows("PRAGMA foreign_key_check").len(), 0);
}

#[test]
fn sakila_with_a_cycle_and_mixed_storage_classes_copies_to_sqlite() {
    let project = Project::new();
    let source = Fixture::Sakila.sqlite(project.path());
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    copy_twice(&project, &row_counts(Fixture::Sakila, "sqlite"));
    assert_same_sqlite_file(&source, &target);
    assert_eq!(target.rows("PRAGMA foreign_key_check").len(), 0);
    let indexes = "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' AND tbl_name NOT LIKE '\\_migrate%' ESCAPE '\\' ORDER BY 1, 2";
    assert_eq!(source.rows(indexes), target.rows(indexes));
}

#[test]
fn sakila_with_a_cycle_and_mixed_storage_classes_copies_to_postgresql() {
    let project = Project::new();
    let source = Fixture::Sakila.sqlite(project.path());
    let target = Postgres::new(Server::Second);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    copy_twice(&project, &row_counts(Fixture::Sakila, "sqlite"));
    for table in source.tables() {
        assert_same_rows((&source, &identifier(&table)), (&target, &identifier(&table)), &postgres_columns(&target, &table));
    }
    let references = target.count("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated");
    assert_eq!(references, 22);
}
