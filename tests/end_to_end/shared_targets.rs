//! Several entities that feed one table, and rows of which the target makes one.

use migrate_tests::{Database, PAIRS, Postgres, Project, Server, Sqlite};
use serde_json::Value;

const SOURCE: &str = "
    CREATE TABLE goals (id text PRIMARY KEY, title text);
    CREATE TABLE sessions (id text PRIMARY KEY, title text, minutes integer);
    INSERT INTO goals WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT 'g' || i, 'goal ' || i FROM n;
    INSERT INTO sessions WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
        SELECT 's' || i, 'session ' || i, i % 50 FROM n;";

const TARGET: &str =
    "CREATE TABLE sync_data (id varchar(40) PRIMARY KEY, entity_type varchar(20) NOT NULL, title text, minutes integer);
    INSERT INTO sync_data VALUES ('x1', 'other', 'somebody else''s', 1);";

const JOB: &str = "deletes = \"hard\"
    [[jobs.copy.entities]]
    source = \"goals\"
    target = \"sync_data\"
    columns = { set = { entity_type = \"goal\" } }
    [[jobs.copy.entities]]
    source = \"sessions\"
    target = \"sync_data\"
    transform = [{ column = \"entity_type\", constant = \"session\" }]
    ";

fn sum(report: &Value, counter: &str) -> u64 {
    report["entities"].as_array().expect("entities").iter().filter_map(|e| e[counter].as_u64()).sum()
}

#[test]
fn entities_that_feed_one_table_keep_to_their_own_rows() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(SOURCE);
        target.run(TARGET);
        project.write_job(&source.url(), &target.url(), JOB);
        assert_eq!(sum(&project.copy(), "inserted"), 2500);
        let of = |kind: &str| target.matching("sync_data", &format!("entity_type = '{kind}'"));
        assert_eq!((of("goal"), of("session"), of("other")), (1000, 1500, 1));
        assert_eq!(sum(&project.copy(), "unchanged"), 2500, "P4");
        let verified = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(verified["equal"], true, "{verified}");

        source.run("DELETE FROM goals WHERE id LIKE 'g9%'; UPDATE sessions SET minutes = 99 WHERE id = 's7'; INSERT INTO goals VALUES ('new', 'n');");
        let report = project.copy();
        assert_eq!((sum(&report, "deleted"), sum(&report, "updated"), sum(&report, "inserted")), (111, 1, 1), "{report}");
        assert_eq!((of("goal"), of("session"), of("other")), (890, 1500, 1));
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true);

        // WHEN a row of one takes the key of another's
        source.run("INSERT INTO sessions VALUES ('g1', 'a session under the key of a goal', 1)");
        let run = project.run(["run"]).expect(1);
        run.says(&["one row of the target", "g1"]);
    }
}

#[test]
fn entities_whose_rows_cannot_be_told_apart_are_refused() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run(SOURCE);
    let plain = JOB.replace("columns = { set = { entity_type = \"goal\" } }", "");
    project.write_job(&source.url(), &target.url(), JOB);
    project.run(["run"]).expect(2).says(&["sync_data", "not there yet"]);
    target.run(&TARGET.replace("NOT NULL", "DEFAULT ''"));
    project.write_job(&source.url(), &target.url(), &plain);
    project.run(["run"]).expect(2).says(&["sync_data", "nothing tells their rows apart"]);
    assert_eq!(target.count("SELECT count(*) FROM sync_data"), 1);
}

#[test]
fn rows_of_which_the_target_makes_one_fail_the_run_however_many_others_it_holds() {
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run(&format!(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER); INSERT INTO t VALUES ('{uuid}', 1), ('{}', 2)",
        uuid.to_uppercase()
    ));
    // Others' rows: by their number alone nothing would be missing.
    target.run(
        "CREATE TABLE t (k uuid PRIMARY KEY, v int); INSERT INTO t SELECT gen_random_uuid(), i FROM generate_series(1, 50) i",
    );
    // One page, and one page a row: both ways of finding out.
    for batch in ["1000", "1"] {
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n");
        let run = project.run(["run", "--batch-size", batch]);
        assert_ne!(run.code, Some(0), "{}", run.output());
        assert!(run.output().contains("one row") || run.output().contains("refused"), "{}", run.output());
    }
}
