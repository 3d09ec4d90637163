//! Finding what has changed by the transactions that wrote the rows, and everything that speaks against it.

use migrate_tests::{Database, PAIRS, Postgres, Project, Run, Server};

const CHANGES: &str = "only rows that changed since the last run are read";

pub(crate) const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, v text, u integer UNIQUE);
    INSERT INTO t SELECT i, 'row ' || i, i FROM generate_series(1, 5000) i;";

pub(crate) struct Setup {
    pub(crate) project: Project,
    pub(crate) source: Postgres,
    pub(crate) target: Database,
}

impl Setup {
    pub(crate) fn new(to: migrate_tests::Engine, settings: &str, sql: &str) -> Self {
        let project = Project::new();
        let source = Postgres::new(Server::First);
        let target = Database::new(to, project.path(), "target");
        source.run(sql);
        project.write_job(&source.url(), &target.url(), settings);
        project.copy();
        Setup { project, source, target }
    }

    pub(crate) fn run(&self) -> Run {
        self.project.run(["run", "--json"]).expect(0)
    }

    /// Whether a run has read the changes alone; asserts that the target equals the source afterwards.
    fn by_changes(&self, what: &str) -> (bool, serde_json::Value) {
        let run = self.run();
        let report = run.json();
        let verified = self.project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(verified["equal"], true, "{what}: {verified}");
        let (changes, all) = (run.stderr.contains(CHANGES), run.stderr.contains("all rows are read"));
        assert!(changes != all, "{what}: {}", run.stderr);
        (changes, report["entities"][0].clone())
    }
}

pub(crate) fn counts(entity: &serde_json::Value) -> [u64; 5] {
    ["read", "inserted", "updated", "unchanged", "deleted"].map(|name| entity[name].as_u64().expect("a number"))
}

#[test]
fn every_change_is_found_in_every_mode_and_unchanged_rows_are_not_read() {
    for (_, to) in &PAIRS[..2] {
        for mode in ["replace", "update"] {
            let setup = Setup::new(*to, &format!("mode = \"{mode}\"\ndeletes = \"hard\"\n"), TABLE);
            let (by_changes, entity) = setup.by_changes("nothing changed");
            assert!(by_changes, "{mode}");
            assert_eq!(counts(&entity), [5000, 0, 0, 5000, 0], "{mode}");
            setup.source.run(
                "UPDATE t SET v = 'changed' WHERE id % 100 = 0; DELETE FROM t WHERE id % 500 = 1; INSERT INTO t VALUES (-5, 'new', -5), (9999, 'new', 9999);
                 BEGIN; UPDATE t SET u = -u - 10000 WHERE id IN (7, 8); UPDATE t SET u = 15 - id WHERE id IN (7, 8); COMMIT;
                 UPDATE t SET id = 7777 WHERE id = 42; DELETE FROM t WHERE id = 3000; INSERT INTO t VALUES (3000, 'again', 3000);",
            );
            let (by_changes, entity) = setup.by_changes("changes");
            assert!(by_changes, "{mode}");
            assert_eq!(counts(&entity), [4992, 3, 52, 4937, 11], "{mode}");
            assert_eq!(counts(&setup.by_changes("again").1), [4992, 0, 0, 4992, 0], "P4 {mode}");
        }
    }
}

#[test]
fn transactions_that_were_open_across_the_last_snapshot_are_seen_whole() {
    for (_, to) in &PAIRS[..2] {
        let setup = Setup::new(*to, "deletes = \"hard\"\n", TABLE);
        let mut open = setup.source.session();
        // Its numbers are taken before the snapshot, its rows are seen after it only; those of its subtransactions are younger.
        open.run(
            "BEGIN; UPDATE t SET v = 'long' WHERE id = 10; SAVEPOINT a; UPDATE t SET v = 'sub' WHERE id = 11; RELEASE a;
                  SAVEPOINT b; UPDATE t SET v = 'undone' WHERE id = 12; ROLLBACK TO b; DELETE FROM t WHERE id = 13",
        );
        setup.source.run("UPDATE t SET v = 'meanwhile' WHERE id = 20");
        assert_eq!(counts(&setup.by_changes("while it is open").1), [5000, 0, 1, 4999, 0]);
        open.run("UPDATE t SET v = 'later' WHERE id = 14; COMMIT");
        let (by_changes, entity) = setup.by_changes("once it is over");
        assert!(by_changes);
        assert_eq!(counts(&entity), [4999, 0, 3, 4996, 1]);
    }
}

#[test]
fn whatever_changes_rows_without_writing_them_makes_all_of_them_be_read() {
    let labels = "CREATE TYPE mood AS ENUM ('sad', 'glad'); ALTER TABLE t ADD m mood NOT NULL DEFAULT 'sad'";
    let parted = "CREATE TABLE t (id integer, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (3000); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 2000) i;
        CREATE TABLE t2 (id integer PRIMARY KEY, v text); INSERT INTO t2 SELECT i, 'old ' || i FROM generate_series(3000, 3100) i";
    for (name, before, change) in [
        ("a column with a default", TABLE, "ALTER TABLE t DROP COLUMN v; ALTER TABLE t ADD v text DEFAULT 'same for all'"),
        ("a label renamed", &format!("{TABLE} {labels}"), "ALTER TYPE mood RENAME VALUE 'sad' TO 'sorry'"),
        ("a table written anew", TABLE, "VACUUM FULL t"),
        ("a column of another type", TABLE, "ALTER TABLE t ALTER u TYPE bigint"),
        ("a partition attached", parted, "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (3000) TO (4000)"),
        ("the newest row gone", TABLE, "DELETE FROM t WHERE id = 5000"),
    ] {
        let setup = Setup::new(PAIRS[0].1, "deletes = \"hard\"\ndrift = \"ignore\"\n", before);
        assert!(setup.by_changes(name).0, "{name}: nothing changed yet");
        if name == "a label renamed" {
            setup.target.run("ALTER TYPE mood RENAME VALUE 'sad' TO 'sorry'");
        }
        setup.source.run(change);
        let (by_changes, entity) = setup.by_changes(name);
        assert!(!by_changes, "{name}: {entity}");
        assert!(setup.by_changes(name).0, "{name}: known again");
    }
}

#[test]
fn a_source_that_is_older_than_what_was_read_before_stops_the_run() {
    let setup = Setup::new(PAIRS[0].1, "", TABLE);
    // As if it had been read from a primary that this standby has not caught up with.
    let state = |sql: &str| setup.target.run(sql);
    state(
        "UPDATE migrate.checkpoint SET content = jsonb_set(content::jsonb, '{synced,landmark}', to_jsonb(regexp_replace(
         content::jsonb #>> '{synced,landmark}', '\"lsn\":[0-9]+', '\"lsn\":9000000000000000000')))",
    );
    setup.source.run("UPDATE t SET v = 'x' WHERE id = 1");
    setup.project.run(["run"]).expect(5).says(&["older than what was read of it before"]);
    assert_eq!(setup.target.matching("t", "v = 'x'"), 0);
    let _ = setup.project.run(["run", "--strategy", "full"]).expect(0);
    assert_eq!(setup.target.matching("t", "v = 'x'"), 1);
    assert_eq!(setup.run().json()["entities"][0]["unchanged"], 5000);
}

#[test]
fn another_version_of_the_program_reads_all_rows() {
    let setup = Setup::new(PAIRS[0].1, "", TABLE);
    setup.target.run("UPDATE migrate.checkpoint SET content = jsonb_set(content::jsonb, '{synced,version}', '\"0.0.0\"')");
    setup.run().says(&["all rows are read, as the last run was that of another version"]);
    assert!(setup.by_changes("known again").0);
}

#[test]
fn a_witness_that_is_older_than_it_was_makes_all_rows_be_read() {
    let setup = Setup::new(PAIRS[0].1, "", TABLE);
    setup.target.run(
        "UPDATE migrate.checkpoint SET content = jsonb_set(content::jsonb, '{synced,landmark}', to_jsonb(regexp_replace(
         content::jsonb #>> '{synced,landmark}', '(\"witness\":\\[\"[^\"]*\",)([0-9]+)', '\\12000000000')))",
    );
    setup.run().says(&["a row that was read before is older than it was"]);
    assert!(setup.by_changes("known again").0);
}

#[test]
fn a_table_that_was_emptied_dropped_or_restored_is_compared_as_a_whole() {
    for (name, change) in [
        ("emptied", "TRUNCATE t; INSERT INTO t SELECT i, 'other ' || i, i FROM generate_series(1, 5000) i"),
        (
            "dropped",
            "DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, v text, u integer UNIQUE); INSERT INTO t SELECT i, 'other ' || i, i FROM generate_series(1, 4000) i",
        ),
    ] {
        let setup = Setup::new(PAIRS[0].1, "deletes = \"hard\"\n", TABLE);
        setup.source.run(change);
        let (by_changes, entity) = setup.by_changes(name);
        assert!(!by_changes, "{name}: {entity}");
    }
}

#[test]
fn tables_that_cannot_tell_their_changes_are_read_as_a_whole() {
    let types = "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN pairs AS pair;
        CREATE TABLE t (id integer PRIMARY KEY, v text, c regclass, d money, e pairs, f pair[]); INSERT INTO t VALUES (1, 'a', 'pg_class', 1, (1,'x'), '{}')";
    for column in ["c", "d", "e", "f"] {
        let settings = format!(
            "[[jobs.copy.entities]]\nsource = \"t\"\ncolumns = {{ exclude = {:?} }}\n",
            ["c", "d", "e", "f"].iter().filter(|c| **c != column).collect::<Vec<_>>()
        );
        let setup = Setup::new(PAIRS[1].1, &settings, types);
        let run = setup.run();
        run.says(&["all rows are read", &format!("column {column}")]);
    }
    let view = "CREATE TABLE base (id integer PRIMARY KEY, v text); INSERT INTO base VALUES (1, 'a'); CREATE VIEW t AS SELECT * FROM base";
    let setup = Setup::new(PAIRS[1].1, "[[jobs.copy.entities]]\nsource = \"t\"\nkey = [\"id\"]\n", view);
    setup.source.run("UPDATE base SET v = 'b'");
    assert!(!setup.by_changes("a view").0);
}

#[test]
fn partitions_filters_composite_and_text_keys_know_their_changes() {
    for (name, sql, settings, change, expected) in [
        (
            "partitions",
            "CREATE TABLE t (id integer, v text, PRIMARY KEY (id)) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE p1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 3000) i",
            "",
            "UPDATE t SET v = 'x' WHERE id = 5; DELETE FROM t WHERE id = 6",
            [2999, 0, 1, 2998, 1],
        ),
        (
            "a filter",
            TABLE,
            "[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"u <= 4000\"\n",
            "UPDATE t SET u = 90000 WHERE id = 5; UPDATE t SET u = -1 WHERE id = 4999; UPDATE t SET v = 'x' WHERE id IN (7, 4500)",
            [4000, 1, 1, 3998, 0],
        ),
        (
            "composite",
            "CREATE TABLE t (a text, b uuid, c numeric, v text, PRIMARY KEY (a, b, c));
             INSERT INTO t SELECT 'a ' || i % 7, md5(i::text)::uuid, i / 10.0, 'row ' || i FROM generate_series(1, 3000) i",
            "",
            "UPDATE t SET v = 'x' WHERE c = 5.5; UPDATE t SET a = 'it''s' WHERE c = 6; DELETE FROM t WHERE c = 7",
            [2999, 1, 1, 2997, 2],
        ),
    ] {
        let setup = Setup::new(PAIRS[0].1, &format!("deletes = \"hard\"\n{settings}"), sql);
        setup.source.run(change);
        let (by_changes, entity) = setup.by_changes(name);
        assert!(by_changes, "{name}");
        assert_eq!(counts(&entity), expected, "{name}");
    }
}

#[test]
fn refused_rows_and_rows_without_their_parents_are_looked_at_though_they_do_not_change() {
    let setup = Setup::new(PAIRS[1].1, "max_quarantined = 10\n", TABLE);
    // WHEN a row is refused as it is now, and later not
    setup.target.run("CREATE TRIGGER no BEFORE UPDATE ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END");
    setup.source.run("UPDATE t SET v = 'bad' WHERE id = 9");
    for _time in 0..2 {
        let report = setup.project.run(["run", "--json"]).expect(3).json();
        assert_eq!(report["entities"][0]["quarantined"], 1, "{report}");
    }
    setup.target.run("DROP TRIGGER no");
    let (_, entity) = setup.by_changes("let in");
    assert_eq!(counts(&entity), [5000, 0, 1, 4999, 0]);
}

#[test]
fn the_strategy_can_be_chosen_and_all_rows_are_read_from_time_to_time() {
    let setup = Setup::new(PAIRS[0].1, "strategy = \"full\"\n", TABLE);
    assert!(!setup.run().stderr.contains(CHANGES), "full");
    setup.project.run(["run", "--strategy", "xmin", "--json"]).expect(0).says(&[CHANGES]);
    setup.project.write_job(&setup.source.url(), &setup.target.url(), "scrub_days = 0\n");
    setup.run().says(&["all rows are read, as they were not for long"]);
    setup.project.run(["run", "--strategy", "guess"]).expect(2).says(&["auto", "full", "xmin"]);
}

#[test]
fn changes_that_were_skipped_are_written_once_the_mode_is_another() {
    let setup = Setup::new(PAIRS[0].1, "mode = \"append\"\n", TABLE);
    setup.source.run("UPDATE t SET v = 'skipped' WHERE id = 77");
    for _time in 0..2 {
        assert_eq!(setup.run().json()["entities"][0]["skipped"], 5000);
    }
    setup.project.write_job(&setup.source.url(), &setup.target.url(), "");
    let (by_changes, entity) = setup.by_changes("replace");
    assert!(!by_changes);
    assert_eq!(counts(&entity), [5000, 0, 1, 4999, 0]);
    assert!(setup.by_changes("known again").0);
}

#[test]
fn a_run_that_was_killed_is_gone_on_with_and_misses_nothing() {
    let setup = Setup::new(PAIRS[0].1, "deletes = \"hard\"\n", TABLE);
    setup.source.run("UPDATE t SET v = 'one' WHERE id % 3 = 0; DELETE FROM t WHERE id % 97 = 0");
    let mut run = setup.project.start(["--batch-size", "20"]);
    assert!(run.wait_for_commits(2));
    run.kill();
    setup.source.run(
        "UPDATE t SET v = 'two' WHERE id % 5 = 0; INSERT INTO t VALUES (6000, 'new', 6000); DELETE FROM t WHERE id % 89 = 0",
    );
    let (_, entity) = setup.by_changes("killed");
    assert_eq!(entity["read"].as_u64(), Some(setup.source.count("SELECT count(*) FROM t")));
    let (by_changes, entity) = setup.by_changes("afterwards");
    assert!(by_changes && entity["unchanged"] == entity["read"], "{entity}");
}

#[test]
fn a_limited_run_or_one_of_another_entity_advances_nothing() {
    let two = format!("{TABLE} CREATE TABLE other (id integer PRIMARY KEY)");
    let setup = Setup::new(PAIRS[0].1, "", &two);
    setup.source.run("UPDATE t SET v = 'x' WHERE id IN (1, 4999)");
    let _ = setup.project.run(["run", "--limit", "10"]).expect(0);
    let _ = setup.project.run(["run", "--entity", "other"]).expect(0);
    let report = setup.run().json();
    let entity = report["entities"].as_array().expect("entities").iter().find(|e| e["name"] == "t").expect("t").clone();
    assert_eq!(counts(&entity), [5000, 0, 1, 4999, 0]);
}
