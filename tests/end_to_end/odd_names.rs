//! Names that need quoting, in every direction.

use migrate_tests::{Postgres, Project, Server, Sqlite, assert_same_rows, assert_same_sqlite_file, identifier, postgres_columns};

/// Table names; each table gets columns with all of these names as well.
const NAMES: &[&str] = &[
    "2B",
    "year.key",
    "Order Details",
    "it's",
    "say \"hi\"",
    "größe 名 👍",
    "select",
    "from",
    "a;b--c",
    "back\\slash",
    "%s {} $1 ?1 :x @y",
    "tab\there",
    " lead and trail ",
    "UPPER",
    "Upper",
    "[brackets]",
    "`ticks`",
    "/*c*/",
    "main",
    "rowid_",
    "user",
    "$$",
    "exactly sixty-three bytes long, which is as long as names can b",
];

fn sqlite(database: &Sqlite) {
    // SQLite's names are one whatever the letters' case: of those that differ by it alone one is left out.
    let names: Vec<&str> = NAMES.iter().copied().filter(|name| *name != "UPPER").collect();
    let columns: Vec<String> = names.iter().map(|name| format!("{} TEXT", identifier(name))).collect();
    for (i, name) in names.iter().enumerate() {
        let table = identifier(name);
        let key = identifier(names[i % names.len()]);
        let parent = identifier(names[i.saturating_sub(1)]);
        database.run(&format!(
            "CREATE TABLE {table} ({}, \"the id\" INTEGER, \"par'ent\" INTEGER REFERENCES {parent}, PRIMARY KEY (\"the id\"));\n\
             CREATE INDEX {} ON {table} ({key});\n\
             INSERT INTO {table} (\"the id\", {key}) VALUES (1, 'one'), (2, ''), (3, NULL);",
            columns.join(", "),
            identifier(&format!("ix {name}"))
        ));
    }
}

fn postgres(database: &Postgres) {
    let columns: Vec<String> = NAMES.iter().map(|name| format!("{} text", identifier(name))).collect();
    let mut sql = String::new();
    for (i, name) in NAMES.iter().enumerate() {
        let table = identifier(name);
        let key = identifier(NAMES[i % NAMES.len()]);
        let parent = identifier(NAMES[i.saturating_sub(1)]);
        sql.push_str(&format!(
            "CREATE TABLE {table} ({}, \"the id\" int PRIMARY KEY, \"par'ent\" int REFERENCES {parent}, CHECK ({key} <> '--'));\n\
             CREATE UNIQUE INDEX ON {table} ({key});\n\
             INSERT INTO {table} (\"the id\", {key}) VALUES (1, 'one'), (2, ''), (3, NULL);\n",
            columns.join(", ")
        ));
    }
    database.run(&sql);
}

#[test]
fn tables_and_columns_of_any_name_copy_from_sqlite() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    sqlite(&source);
    let copy = Sqlite::new(project.path().join("an odd & 'quoted' name.sqlite"));
    project.write_job(&source.url(), &copy.url(), "mode = \"replace\"\nentities = \"*\"\n");
    project.copy();
    project.copy();
    assert_same_sqlite_file(&source, &copy);

    let target = Postgres::new(Server::Second);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    project.copy();
    project.copy();
    for table in source.tables() {
        let table = identifier(&table);
        assert_same_rows((&source, &table), (&target, &table), &postgres_columns(&target, &table));
    }
}

#[test]
fn tables_and_columns_of_any_name_copy_from_postgresql() {
    let source = Postgres::new(Server::First);
    postgres(&source);
    let target = Postgres::new(Server::Second);
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    project.copy();
    for name in NAMES {
        let table = identifier(name);
        assert_same_rows((&source, &table), (&target, &table), &postgres_columns(&source, &table));
    }
}

#[test]
fn names_that_are_one_to_sqlite_are_refused_before_anything_is_written() {
    let source = Postgres::new(Server::First);
    source.run("CREATE TABLE \"UPPER\" (id int PRIMARY KEY); CREATE TABLE \"Upper\" (id int PRIMARY KEY); INSERT INTO \"Upper\" VALUES (1)");
    let project = Project::copying(&source.url(), "sqlite:target.sqlite");
    let refused = project.run(["run"]);
    assert!(matches!(refused.code, Some(1 | 2 | 5)), "{refused:?}");
    refused.says(&["upper"]);
    let target = Sqlite::new(project.path().join("target.sqlite"));
    assert!(!target.path().exists() || target.tables().is_empty());
}

#[test]
fn tables_without_rows_without_columns_and_without_keys_copy() {
    let source = Postgres::new(Server::Second);
    source.run(
        "CREATE TABLE empty (id serial PRIMARY KEY, v text); CREATE TABLE no_columns (); INSERT INTO no_columns DEFAULT VALUES; \
         CREATE TABLE no_key (a int, b text); INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (2, ''); \
         CREATE TABLE only_key (id uuid PRIMARY KEY); INSERT INTO only_key VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'); \
         CREATE TABLE generated (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED); \
         INSERT INTO generated (a) VALUES (1), (2), (NULL);",
    );
    let target = Postgres::new(Server::First);
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    let second = project.copy();
    for entity in second["entities"].as_array().expect("entities") {
        assert_eq!(entity["read"], entity["unchanged"], "{entity}");
    }
    for table in ["empty", "no_key", "only_key", "generated"] {
        assert_same_rows((&source, table), (&target, table), &postgres_columns(&source, table));
    }
    assert_eq!(target.count("SELECT count(*) FROM no_columns"), 1);
    // The next rows get numbers that are free, an empty table's its first.
    target.run("INSERT INTO empty (v) VALUES ('first'); INSERT INTO generated (a) VALUES (7)");
    assert_eq!(target.count("SELECT id FROM empty"), 1);
    assert_eq!(target.count("SELECT id FROM generated WHERE a = 7"), 4);
}

#[test]
fn tables_of_as_many_columns_as_sqlite_has_copy_change_and_verify() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    let columns = |count: usize| (0..count).map(|n| format!("c{n} TEXT")).collect::<Vec<_>>().join(", ");
    source.run(&format!(
        "CREATE TABLE numbered (id INTEGER PRIMARY KEY, {most});
         CREATE TABLE lettered (id TEXT PRIMARY KEY, {most});
         CREATE TABLE keyless ({all});
         INSERT INTO numbered (id, c0, c1998) VALUES (1, 'a', 'z'), (2, 'b', 'y');
         INSERT INTO lettered (id, c0) VALUES ('x', 'a'), (NULL, 'b'), ('z', 'c');
         INSERT INTO keyless (c0, c1999) VALUES ('a', 'z'), ('a', 'z'), ('b', NULL);",
        most = columns(1999),
        all = columns(2000),
    ));
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n");
    for change in [
        "",
        "UPDATE numbered SET c1998 = 'x' WHERE id = 2; UPDATE lettered SET c7 = 'd'; DELETE FROM lettered WHERE id = 'x';
         INSERT INTO lettered (id) VALUES ('y'); INSERT INTO keyless (c5) VALUES ('c'); DELETE FROM keyless WHERE c0 = 'b'",
    ] {
        source.run(change);
        project.copy();
        assert_same_sqlite_file(&source, &target);
        let _ = project.run(["verify"]).expect(0);
        let again = project.copy();
        let written =
            |name: &str| again["entities"].as_array().expect("entities").iter().filter_map(|e| e[name].as_u64()).sum::<u64>();
        assert_eq!(["inserted", "updated", "deleted"].map(written), [0, 0, 0], "{again}");
    }
}
