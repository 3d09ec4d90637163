//! Tables without a key beside the rows of others.

use migrate_tests::{Database, PAIRS, Postgres, Project, Server, Sqlite};

const ROWS: &str = "INSERT INTO log WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                    SELECT i, 'a row of some length ' || i FROM n";

fn databases(pair: (migrate_tests::Engine, migrate_tests::Engine), project: &Project) -> (Database, Database) {
    let source = Database::new(pair.0, project.path(), "source");
    let target = Database::new(pair.1, project.path(), "target");
    source.run(&format!("CREATE TABLE log (n integer, v text); {ROWS}"));
    target.run("CREATE TABLE log (n integer, v text); INSERT INTO log VALUES (-1, 'precious')");
    (source, target)
}

#[test]
fn only_append_adds_to_the_rows_of_others_and_nothing_takes_them_away() {
    for pair in PAIRS {
        for mode in ["init", "replace", "update"] {
            let project = Project::new();
            let (source, target) = databases(pair, &project);
            project.write_job(&source.url(), &target.url(), &format!("mode = \"{mode}\"\n"));
            let _ = project.run(["run"]).expect(5);
            assert_eq!(target.count("log"), 1, "{mode}");
        }
        let project = Project::new();
        let (source, target) = databases(pair, &project);
        project.write_job(&source.url(), &target.url(), "mode = \"append\"\nbatch_bytes = 65536\n");
        // A part of them could not be told from the rest later.
        let _ = project.run(["run", "--limit", "1"]).expect(5);
        assert_eq!(target.count("log"), 1);
        assert_eq!(project.copy()["entities"][0]["inserted"], 20_000);
        assert_eq!(project.copy()["entities"][0]["skipped"], 20_000);
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_001, 1));
        // The job becomes one that would load anew.
        source.run("INSERT INTO log VALUES (0, 'new')");
        for mode in ["append", "replace", "update"] {
            project.write_job(&source.url(), &target.url(), &format!("mode = \"{mode}\"\n"));
            let _ = project.run(["run"]).expect(5);
            assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_001, 1), "{mode}");
        }
    }
}

#[test]
fn rows_that_others_have_added_since_are_not_taken_away() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = databases(pair, &project);
        target.run("DELETE FROM log");
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nbatch_bytes = 65536\n");
        assert_eq!(project.copy()["entities"][0]["inserted"], 20_000);
        source.run("INSERT INTO log VALUES (0, 'new')");
        assert_eq!(project.copy()["entities"][0]["inserted"], 20_001, "loaded anew");
        target.run("INSERT INTO log VALUES (-1, 'precious')");
        source.run("INSERT INTO log VALUES (0, 'newer')");
        project.run(["run"]).expect(5).says(&["rows of others"]);
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_002, 1));
    }
}

#[test]
fn a_killed_append_beside_the_rows_of_others_leaves_them_and_adds_all_or_nothing() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = databases(pair, &project);
        project.write_job(&source.url(), &target.url(), "mode = \"append\"\nbatch_bytes = 65536\n");
        let mut run = project.start(["--batch-size", "500"]);
        assert!(run.wait_for("counted"));
        run.kill();
        assert!([1, 20_001].contains(&target.count("log")), "{}", target.count("log"));
        assert_eq!(project.copy()["entities"][0]["read"], 20_000);
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_001, 1));
    }
}

#[test]
fn every_refused_row_is_kept() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run(
        "CREATE TABLE log (n, v TEXT); INSERT INTO log VALUES ('a1', 'x'), ('b2', 'y'), ('a1', 'x'), ('c3', 'z'), (5, 'fits')",
    );
    target.run("CREATE TABLE log (n INTEGER, v TEXT) STRICT");
    project.write_job(&source.url(), &target.url(), "max_quarantined = 10\n");
    let report = project.run(["run", "--json"]).expect(3).json();
    assert_eq!((&report["entities"][0]["quarantined"], &report["entities"][0]["inserted"]), (&4.into(), &1.into()), "{report}");
    let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
    assert_eq!(kept["rows"].as_array().map(Vec::len), Some(4), "{kept}");
    let shown = project.run(["quarantine", "show", "--key", "2", "--show-values", "--json"]).expect(0).output();
    assert!(shown.contains("b2") && !shown.contains("c3"), "{shown}");
    // Loaded anew, they are not kept twice.
    source.run("INSERT INTO log VALUES (6, 'fits too')");
    let _ = project.run(["run", "--json"]).expect(3);
    let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
    assert_eq!(kept["rows"].as_array().map(Vec::len), Some(4), "{kept}");
}

#[test]
fn another_filter_or_step_loads_the_own_rows_anew() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run(&format!("CREATE TABLE log (n integer, v text); {ROWS}"));
    let job = |below: u32| format!("mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"log\"\nwhere = \"n <= {below}\"\n");
    for below in [100, 300, 200] {
        project.write_job(&source.url(), &target.url(), &job(below));
        project.copy();
        assert_eq!(target.count("SELECT count(*) FROM log"), u64::from(below));
    }
}
