//! No special rights (P8): what an owner prepares once, a plain role uses afterwards.

use migrate_tests::{Postgres, Project, Server, assert_same_rows, identifier, postgres_columns};

#[test]
fn a_plain_writer_is_enough_once_an_owner_has_made_the_state_tables() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 1000) i");
    target.run(&format!(
        "DO $$ BEGIN CREATE ROLE plain_writer LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         CREATE TABLE t (id int PRIMARY KEY, v text); GRANT SELECT, INSERT, UPDATE ON t TO plain_writer; \
         REVOKE CREATE ON DATABASE {} FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        identifier(target.name())
    ));
    let writer = target.url_as("plain_writer", None);

    // GIVEN no state tables, THEN the error says who has to do what
    let project = Project::copying(&source.url(), &writer);
    let refused = project.run(["run"]).expect(1);
    refused.says(&["migrate target init"]);
    assert_eq!(target.count("SELECT count(*) FROM t"), 0);

    // WHEN an owner runs what `target init --print` prints
    let printed = project.run(["target", "init", "--print", "--writer", "plain_writer"]).expect(0).stdout;
    target.run(&printed);

    // THEN the plain role copies, updates and copies again
    project.copy();
    assert_same_rows((&source, "t"), (&target, "t"), &postgres_columns(&source, "t"));
    source.run("UPDATE t SET v = 'w' WHERE id <= 10");
    assert_eq!(project.copy()["entities"][0]["updated"], 10);
    assert_eq!(project.copy()["entities"][0]["unchanged"], 1000);
    assert_same_rows((&source, "t"), (&target, "t"), &postgres_columns(&source, "t"));
}

#[test]
fn a_role_that_owns_a_database_needs_nobody_else() {
    let (source, target) = (Postgres::new(Server::Second), Postgres::new(Server::First));
    source.run(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE parent (id serial PRIMARY KEY, m mood NOT NULL); \
         CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent); \
         INSERT INTO parent (m) VALUES ('good'), ('bad'); INSERT INTO child VALUES (1, 2), (2, NULL)",
    );
    target.run(&format!(
        "DO $$ BEGIN CREATE ROLE owns_a_database LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         ALTER DATABASE {} OWNER TO owns_a_database",
        identifier(target.name())
    ));
    let project = Project::copying(&source.url(), &target.url_as("owns_a_database", None));
    project.copy();
    project.copy();
    for table in ["parent", "child"] {
        assert_same_rows((&source, table), (&target, table), &postgres_columns(&source, table));
    }
    assert_eq!(target.count("SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = relowner WHERE relname IN ('parent', 'child') AND rolname = 'owns_a_database'"), 2);
}
