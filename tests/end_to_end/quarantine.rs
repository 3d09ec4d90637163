//! Rows that were refused: listed, shown, sent again, dropped.

use migrate_tests::{Postgres, Project, Server, Sqlite};

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

#[test]
fn dropped_rows_are_forgotten_until_they_are_refused_again() {
    let (project, _source, _target) = refused();
    assert_eq!(project.run(["quarantine", "drop", "--key", "3", "--json"]).expect(0).json()["dropped"], 1);
    assert_eq!(project.run(["quarantine", "drop", "--json"]).expect(0).json()["dropped"], 1);
    assert!(project.run(["quarantine", "list"]).expect(0).output().contains("No row is in quarantine"));
    let _ = project.run(["run"]).expect(3);
    assert_eq!(project.run(["quarantine", "list", "--json"]).expect(0).json()["rows"].as_array().expect("a list").len(), 2);
}
