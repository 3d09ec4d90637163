//! Rows that were refused: listed, shown, sent again, dropped.

use migrate_tests::{Database, Engine, PAIRS, Postgres, Project, Server, Sqlite, crosswise};

fn refused() -> (Project, Sqlite, Postgres) {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, secret TEXT); INSERT INTO t VALUES (1, 1, 'x'), (2, 70000, 'hunter2'), (3, 80000, 'y')");
    target.run("CREATE TABLE t (id int PRIMARY KEY, n smallint, secret text)");
    project.write_job(&source.url(), &target.url(), "");
    let _ = project.run(["run"]).expect(3);
    (project, source, target)
}

#[test]
fn refused_rows_are_listed_with_their_reason_and_shown_whole_only_on_request() {
    let (project, _source, _target) = refused();
    let rows = project.run(["quarantine", "list", "--json"]).expect(0).json();
    let rows = rows["rows"].as_array().expect("a list");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["column"] == "n" && row["entity"] == "t"), "{rows:?}");
    let shown = project.run(["quarantine", "show", "--key", "2"]).expect(0).output();
    assert!(shown.contains("secret") && !shown.contains("hunter2") && !shown.contains("70000"), "{shown}");
    let shown = project.run(["quarantine", "show", "--key", "2", "--show-values"]).expect(0).output();
    assert!(shown.contains("hunter2") && shown.contains("70000"), "{shown}");
    project.run(["quarantine", "show", "--key", "9"]).expect(2).says(&["no refused row has this key"]);
}

#[test]
fn a_replay_sends_mended_rows_again_and_keeps_the_others() {
    let (project, source, target) = refused();
    source.run("UPDATE t SET n = 7 WHERE id = 2");
    let _ = project.run(["quarantine", "replay"]).expect(3);
    assert_eq!(target.count("SELECT count(*) FROM t WHERE id = 2 AND n = 7"), 1);
    let rows = project.run(["quarantine", "list", "--json"]).expect(0).json();
    assert_eq!(rows["rows"].as_array().expect("a list").len(), 1, "{rows}");
}

/// Rows of which three are refused at first: the second, one in the midst and the last.
fn refused_of_many(pair: (Engine, Engine), settings: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(pair.0, project.path(), "source");
    let target = Database::new(pair.1, project.path(), "target");
    source.run(
        "CREATE TABLE t (id integer PRIMARY KEY, n integer, v text);
         INSERT INTO t WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 5000) SELECT i, i % 7, 'v' || i FROM s;
         UPDATE t SET n = 70000 WHERE id IN (2, 2500, 5000)",
    );
    target.run("CREATE TABLE t (id integer PRIMARY KEY, n integer CHECK (n < 1000), v text)");
    project.write_job(&source.url(), &target.url(), settings);
    let run = project.run(["run", "--json"]).expect(3).json();
    assert_eq!(run["entities"][0]["quarantined"], 3, "{run}");
    (project, source, target)
}

fn counts(report: &serde_json::Value, names: [&str; 6]) -> [u64; 6] {
    names.map(|name| report["entities"][0][name].as_u64().expect("a count"))
}

#[test]
fn a_replay_writes_the_refused_rows_alone_and_leaves_all_other_changes_to_the_next_run() {
    const NAMES: [&str; 6] = ["read", "inserted", "updated", "unchanged", "quarantined", "deleted"];
    for (pair, mode) in crosswise(["replace", "update"]) {
        let (project, source, target) = refused_of_many(pair, &format!("mode = \"{mode}\"\ndeletes = \"hard\"\n"));
        source.run(
            "UPDATE t SET n = 1 WHERE id IN (2, 5000); UPDATE t SET v = 'changed' WHERE id IN (1, 2499);
             DELETE FROM t WHERE id IN (3, 2501, 4999); INSERT INTO t VALUES (0, 0, 'new'), (5001, 0, 'new')",
        );
        let replay = project.run(["quarantine", "replay", "--key", "2", "--json"]).expect(0).json();
        assert_eq!(counts(&replay, NAMES), [1, 1, 0, 0, 0, 0], "{pair:?} {mode}: {replay}");
        assert_eq!((target.count("t"), target.matching("t", "id = 2 AND n = 1")), (4998, 1), "{pair:?} {mode}");
        let replay = project.run(["quarantine", "replay", "--json"]).expect(3).json();
        assert_eq!(counts(&replay, NAMES), [2, 1, 0, 0, 1, 0], "{pair:?} {mode}: {replay}");
        assert_eq!((target.count("t"), target.matching("t", "v IN ('changed', 'new')")), (4999, 0), "{pair:?} {mode}");
        // One that is refused still, and then gone, is let go of.
        let replay = project.run(["quarantine", "replay", "--json"]).expect(3).json();
        assert_eq!(counts(&replay, NAMES), [1, 0, 0, 0, 1, 0], "{pair:?} {mode}: {replay}");
        source.run("DELETE FROM t WHERE id = 2500");
        let replay = project.run(["quarantine", "replay", "--json"]).expect(0).json();
        assert_eq!(counts(&replay, NAMES), [0, 0, 0, 0, 0, 0], "{pair:?} {mode}: {replay}");
        assert!(project.run(["quarantine", "list"]).expect(0).output().contains("No row is in quarantine"));
        let run = project.copy();
        assert_eq!(counts(&run, NAMES), [4998, 2, 2, 4994, 0, 3], "{pair:?} {mode}: {run}");
        target.assert_holds(&source, &["t"]);
        assert_eq!(counts(&project.copy(), NAMES), [4998, 0, 0, 4998, 0, 0], "P4, {pair:?} {mode}");
        // The ledger knows them as the job's own.
        source.run("DELETE FROM t WHERE id IN (2, 5000)");
        assert_eq!(counts(&project.copy(), NAMES), [4996, 0, 0, 4996, 0, 2], "{pair:?} {mode}");
    }
}

#[test]
fn a_replay_deletes_nothing_of_what_an_earlier_run_could_not_delete() {
    for pair in PAIRS {
        let (project, source, target) = refused_of_many(pair, "deletes = \"hard\"\n");
        target.run("CREATE TABLE others (t integer REFERENCES t (id)); INSERT INTO others VALUES (3)");
        source.run("DELETE FROM t WHERE id = 3");
        let held = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(
            (&held["entities"][0]["deleted"], &held["entities"][0]["conflicts"]),
            (&0.into(), &1.into()),
            "{pair:?}: {held}"
        );
        target.run("DELETE FROM others");
        source.run("UPDATE t SET n = 1 WHERE id = 2");
        let replay = project.run(["quarantine", "replay", "--key", "2", "--json"]).expect(0).json();
        assert_eq!(replay["entities"][0]["deleted"], 0, "{pair:?}: {replay}");
        assert_eq!((target.matching("t", "id = 3"), target.matching("t", "id = 2")), (1, 1), "{pair:?}");
        let run = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((&run["entities"][0]["deleted"], target.matching("t", "id = 3")), (&1.into(), 0), "{pair:?}: {run}");
    }
}

#[test]
fn a_replay_goes_by_the_job_as_it_is_now_and_the_next_run_makes_the_rest_so() {
    for pair in PAIRS {
        let (project, source, target) = refused_of_many(pair, "");
        // The job is changed instead of the source.
        let path = project.path().join("migrate.toml");
        let job = std::fs::read_to_string(&path).expect("a job file");

        let own = "\n[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"n\", constant = 5 }]\n";
        project.write("migrate.toml", &(job + own));
        let replay = project.run(["quarantine", "replay", "--json"]).expect(0).json();
        assert_eq!(replay["entities"][0]["inserted"], 3, "{pair:?}: {replay}");
        assert_eq!((target.count("t"), target.matching("t", "n = 5")), (5000, 717), "{pair:?}");
        let run = project.copy();
        assert_eq!((&run["entities"][0]["read"], &run["entities"][0]["inserted"]), (&5000.into(), &0.into()), "{pair:?}: {run}");
        assert_eq!(target.matching("t", "n = 5"), 5000, "{pair:?}");
        assert_eq!(project.copy()["entities"][0]["unchanged"], 5000, "P4, {pair:?}");
        drop(source);
    }
}

/// The counters of the first entity, with the exit code that is expected.
fn ended<const N: usize>(project: &Project, command: &[&str], code: i32, names: [&str; N]) -> [u64; N] {
    let report = project.run(command.iter().chain(&["--json"])).expect(code).json();
    names.map(|name| report["entities"][0][name].as_u64().expect("a count"))
}

#[test]
fn a_conflict_that_a_replay_has_found_is_reported_by_every_run_until_it_is_settled() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run("CREATE TABLE t (id integer PRIMARY KEY, n integer); INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)");
        target.run("CREATE TABLE t (id integer PRIMARY KEY, n integer UNIQUE); INSERT INTO t VALUES (99, 20)");
        project.write_job(&source.url(), &target.url(), "mode = \"update\"\n");
        project.copy();
        // Somebody else's row has the value, and lets it go; then somebody changes the row that was refused for it.
        source.run("UPDATE t SET n = 20 WHERE id = 2");
        assert_eq!(ended(&project, &["run"], 3, ["quarantined"]), [1], "{pair:?}");
        target.run("DELETE FROM t WHERE id = 99; UPDATE t SET n = 30 WHERE id = 2");
        let replay = ended(&project, &["quarantine", "replay"], 3, ["read", "conflicts", "quarantined"]);
        assert_eq!(replay, [1, 1, 0], "{pair:?}");
        for _ in 0..2 {
            assert_eq!(ended(&project, &["run"], 3, ["conflicts", "updated"]), [1, 0], "{pair:?}");
        }
        assert_eq!(target.matching("t", "id = 2 AND n = 30"), 1, "{pair:?}");
        target.run("UPDATE t SET n = 20 WHERE id = 2");
        for _ in 0..2 {
            assert_eq!(ended(&project, &["run"], 0, ["conflicts", "updated", "unchanged"]), [0, 0, 3], "{pair:?}");
        }
    }
}

#[test]
fn a_row_that_is_sent_again_gets_its_parent_by_the_replay_or_by_the_run_that_brings_it() {
    const NAMES: [&str; 4] = ["read", "inserted", "quarantined", "pending"];
    let choices = [("replace", true), ("update", true), ("update", false), ("replace", false), ("append", false)];
    for (pair, (mode, at_once)) in crosswise(choices) {
        let case = format!("{pair:?} {mode}, at once: {at_once}");
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run(
            "CREATE TABLE node (id integer PRIMARY KEY, n integer, parent integer);
             INSERT INTO node VALUES (1, 1, NULL), (5, 5, 9), (9, 9, 1), (12, 12, 1)",
        );
        target.run(
            "CREATE TABLE node (id integer PRIMARY KEY, n integer UNIQUE, parent integer REFERENCES node (id));
             INSERT INTO node VALUES (105, 5, NULL), (109, 9, NULL)",
        );
        project.write_job(&source.url(), &target.url(), &format!("mode = \"{mode}\"\n"));
        assert_eq!(ended(&project, &["run"], 3, NAMES), [4, 2, 2, 0], "{case}");
        target.run("DELETE FROM node WHERE id = 105");
        if at_once {
            target.run("DELETE FROM node WHERE id = 109");
            assert_eq!(ended(&project, &["quarantine", "replay"], 0, NAMES), [2, 2, 0, 0], "{case}");
        } else {
            assert_eq!(ended(&project, &["quarantine", "replay"], 3, NAMES), [2, 1, 1, 1], "{case}");
            assert_eq!(target.matching("node", "id = 5 AND parent IS NULL"), 1, "{case}");
            target.run("DELETE FROM node WHERE id = 109");
            assert_eq!(ended(&project, &["run"], 0, NAMES), [4, 1, 0, 0], "{case}");
        }
        source.assert_holds(&target, &["node"]);
        assert_eq!(ended(&project, &["run"], 0, ["inserted", "updated", "pending"]), [0, 0, 0], "P4, {case}");
    }
}

#[test]
fn a_replay_makes_nothing_of_tables_that_have_come_to_the_source_since() {
    let project = Project::new();
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id integer PRIMARY KEY, n integer); INSERT INTO t VALUES (1, 1), (2, 70000)");
    target.run("CREATE TABLE t (id integer PRIMARY KEY, n smallint)");
    project.write_job(&source.url(), &target.url(), "");
    let _ = project.run(["run"]).expect(3);
    source.run(
        "UPDATE t SET n = 2 WHERE id = 2; CREATE TYPE mood AS ENUM ('fine');
         CREATE TABLE other (id integer PRIMARY KEY, mood mood); INSERT INTO other VALUES (1, 'fine')",
    );
    let _ = project.run(["quarantine", "replay"]).expect(0);
    assert_eq!(target.count("SELECT count(*) FROM t"), 2);
    assert_eq!(target.count("SELECT count(*) FROM pg_class WHERE relname = 'other'"), 0);
    assert_eq!(target.count("SELECT count(*) FROM pg_type WHERE typname = 'mood'"), 0);
    project.copy();
    assert_eq!(target.count("SELECT count(*) FROM other WHERE mood = 'fine'"), 1);
}

#[test]
fn refused_rows_without_a_key_are_sent_again_by_a_run_only() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run("CREATE TABLE t (n integer); INSERT INTO t VALUES (1), (70000)");
    target.run("CREATE TABLE t (n smallint)");
    project.write_job(&source.url(), &target.url(), "");
    let _ = project.run(["run"]).expect(3);
    source.run("UPDATE t SET n = 2 WHERE n = 70000; INSERT INTO t VALUES (3)");
    project.run(["quarantine", "replay"]).expect(1).says(&["without a key", "entity t", "run the entity"]);
    assert_eq!(target.count("SELECT count(*) FROM t"), 1);
}

#[test]
fn dropped_rows_are_forgotten_until_they_are_refused_again() {
    let (project, _source, _target) = refused();
    assert_eq!(project.run(["quarantine", "drop", "--key", "3", "--json"]).expect(0).json()["dropped"], 1);
    assert_eq!(project.run(["quarantine", "drop", "--json"]).expect(0).json()["dropped"], 1);
    assert!(project.run(["quarantine", "list"]).expect(0).output().contains("No row is in quarantine"));
    project.run(["run"]).expect(3).says(&["2 rows were refused and are kept"]);
    assert!(project.run(["quarantine", "drop", "--key", "3"]).expect(0).output().contains("1 row was dropped"));
    let _ = project.run(["run"]).expect(3);
    assert_eq!(project.run(["quarantine", "list", "--json"]).expect(0).json()["rows"].as_array().expect("a list").len(), 2);
}

#[test]
fn an_entity_that_the_job_does_not_know_is_an_error_and_no_empty_quarantine() {
    let (project, _source, _target) = refused();
    for command in ["list", "show", "replay", "drop"] {
        project.run(["quarantine", command, "--entity", "nope"]).expect(2).says(&["no entity of this name", "nope"]);
    }
    assert_eq!(
        project.run(["quarantine", "list", "--entity", "t", "--json"]).expect(0).json()["rows"].as_array().map(Vec::len),
        Some(2)
    );
}
