//! Targets that hold the data already are taken into a job's care without touching a row.

use migrate_tests::{Database, Engine, PAIRS, Project, Sqlite};

const ROWS: &str = "
    CREATE TABLE t (id integer PRIMARY KEY, v text);
    INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, 'v' || i FROM n;";

#[test]
fn rows_are_remembered_and_none_is_touched_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(ROWS);
        target.run(ROWS);
        target.run(
            "UPDATE t SET v = 'other' WHERE id IN (7, 105); DELETE FROM t WHERE id IN (8, 5000); INSERT INTO t VALUES (9999, 'extra')",
        );
        project.write_job(&source.url(), &target.url(), "deletes = \"hard\"\n");
        let adopted = project.run(["adopt", "--json"]).expect(0).json();
        let entity = &adopted["entities"][0];
        let counts = ["read", "adopted", "different", "missing"].map(|count| entity[count].as_u64().expect("a count"));
        assert_eq!(counts, [5000, 4996, 2, 2], "{from:?} to {to:?}: {adopted}");
        assert_eq!(target.count("t"), 4999, "{from:?} to {to:?}");
        // What was adopted is the job's own, also where it differs: rows that the source loses go, those of others stay.
        source.run("DELETE FROM t WHERE id BETWEEN 100 AND 109");
        let run = project.copy();
        let entity = &run["entities"][0];
        let counts = ["inserted", "updated", "unchanged", "deleted"].map(|count| entity[count].as_u64().expect("a count"));
        assert_eq!(counts, [2, 1, 4987, 10], "{from:?} to {to:?}: {run}");
        target.run("DELETE FROM t WHERE id = 9999");
        target.assert_holds(&source, &["t"]);
        assert_eq!(project.copy()["entities"][0]["unchanged"], 4990, "P4");
    }
}

#[test]
fn in_mode_update_the_next_run_writes_what_the_adoption_found_different_and_its_plan_says_so() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        let rows = "CREATE TABLE t (id integer PRIMARY KEY, n text, k text);
             INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x'), (4, 'd', 'x'), (5, 'e', 'x'), (6, 'f', 'x');";
        source.run(rows);
        target.run(rows);
        target.run("UPDATE t SET n = 'older' WHERE id = 4; DELETE FROM t WHERE id = 5");
        project.write_job(&source.url(), &target.url(), "mode = \"update\"\non_conflict = \"report\"\n");
        // Adopting once more finds the same.
        for _ in 0..2 {
            let adopted = project.run(["adopt", "--json"]).expect(0).json();
            let entity = &adopted["entities"][0];
            let counts = ["adopted", "different", "missing"].map(|count| entity[count].as_u64().expect("a count"));
            assert_eq!(counts, [4, 1, 1], "{from:?} to {to:?}: {adopted}");
        }
        // What the target's users do from here on is theirs.
        target.run("UPDATE t SET k = 'edited' WHERE id IN (2, 4)");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let run = project.run(["run", "--json", "--plan", plan["hash"].as_str().expect("a hash")]).expect(0).json();
        for (counter, expected) in [("inserted", 1), ("updated", 1), ("unchanged", 4), ("conflicts", 0)] {
            assert_eq!(plan["changes"][0][counter], expected, "{from:?} to {to:?}, planned {counter}: {plan}");
            assert_eq!(run["entities"][0][counter], expected, "{from:?} to {to:?}, {counter}: {run}");
        }
        target.run("UPDATE t SET k = 'x' WHERE id IN (2, 4) AND k = 'edited'");
        target.assert_holds(&source, &["t"]);
        assert_eq!(project.copy()["entities"][0]["unchanged"], 6, "P4");
    }
}

#[test]
fn a_target_without_the_table_has_nothing_to_adopt() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run(ROWS);
    target.run("CREATE TABLE other (id integer)");
    project.write_job(&source.url(), &target.url(), "");
    project.run(["adopt"]).expect(2).says(&["no such table", "entity t"]);
}

#[test]
fn a_ledger_in_the_format_of_an_older_version_is_made_anew_and_not_misread() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run(ROWS);
    project.write_job(&source.url(), &target.url(), "deletes = \"hard\"\n");
    project.copy();
    // WHEN blocks are in another format, whose version made another fingerprint
    target.run(
        "UPDATE _migrate_ledger SET format = 1, keys = x'ffff', checksums = x'00';
         UPDATE _migrate_checkpoint SET checkpoint = json_set(checkpoint, '$.fingerprint', 'of an older version')",
    );
    source.run("UPDATE t SET v = 'new' WHERE id = 5");
    let run = project.copy();
    let entity = &run["entities"][0];
    assert_eq!((&entity["updated"], &entity["unchanged"]), (&1.into(), &4999.into()), "{run}");
    source.run("DELETE FROM t WHERE id = 6");
    assert_eq!(project.copy()["entities"][0]["deleted"], 1, "it is known again");
}
