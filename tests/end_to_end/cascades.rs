//! ON DELETE CASCADE, SET NULL and SET DEFAULT of the target: no row goes, or changes, that the source has not lost.

use migrate_tests::{Database, Engine, Project, Server, crosswise};
use serde_json::{Value, json};

const ENGINES: [Engine; 2] = [Engine::Sqlite, Engine::Postgres(Server::Second)];
const ACTIONS: [&str; 3] = ["CASCADE", "SET NULL", "SET DEFAULT"];

fn target(action: &str) -> String {
    format!(
        "CREATE TABLE team (id integer PRIMARY KEY, code text UNIQUE, boss integer);
         CREATE TABLE member (id integer PRIMARY KEY, team integer DEFAULT 1 REFERENCES team (id) ON DELETE {action}, v integer CHECK (v < 100));
         CREATE TABLE note (id integer PRIMARY KEY, member integer REFERENCES member (id) ON DELETE {action})"
    )
}

/// The same without references: what the source does not hold together is for it alone.
const SOURCE: &str = "CREATE TABLE team (id integer PRIMARY KEY, code text UNIQUE, boss integer);
    CREATE TABLE member (id integer PRIMARY KEY, team integer, v integer);
    CREATE TABLE note (id integer PRIMARY KEY, member integer);
    INSERT INTO team VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', NULL);
    INSERT INTO member VALUES (1, 1, 1), (2, 2, 2), (3, 2, 3), (4, 3, 4);
    INSERT INTO note VALUES (1, 1), (2, 2), (3, 3), (4, 4);";

const JOB: &str = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n";

fn counters(report: &Value, name: &str) -> Value {
    let entities = report["entities"].as_array().expect("entities");
    let of = |entity: &str| entities.iter().find(|e| e["name"] == entity).map_or(&Value::Null, |e| &e[name]);
    json!([of("team"), of("member"), of("note")])
}

fn ready(from: Engine, to: Engine, action: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let (source, sink) = (Database::new(from, project.path(), "a"), Database::new(to, project.path(), "b"));
    source.run(SOURCE);
    sink.run(&target(action));
    project.write_job(&source.url(), &sink.url(), JOB);
    project.copy();
    (project, source, sink)
}

#[test]
fn rows_that_go_with_their_parents_are_deleted_and_counted_once() {
    for ((from, to), action) in crosswise(ACTIONS) {
        let (project, source, sink) = ready(from, to, action);
        source.run("DELETE FROM note WHERE member IN (2, 3); DELETE FROM member WHERE team = 2; DELETE FROM team WHERE id = 2");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let planned: u64 = plan["changes"].as_array().expect("changes").iter().filter_map(|e| e["deleted"].as_u64()).sum();
        assert_eq!(planned, 5, "{from:?} to {to:?} {action}: {plan}");
        assert_eq!(counters(&project.copy(), "deleted"), json!([1, 2, 2]), "{from:?} to {to:?} {action}");
        assert_eq!([sink.count("team"), sink.count("member"), sink.count("note")], [2, 2, 2]);
        assert_eq!(counters(&project.copy(), "deleted"), json!([0, 0, 0]), "P4");
    }
}

#[test]
fn a_row_whose_children_the_source_still_has_stays_with_them_until_they_are_gone() {
    for engine in ENGINES {
        for action in ACTIONS {
            let (project, source, sink) = ready(Engine::Sqlite, engine, action);
            source.run("DELETE FROM team WHERE id = 2");
            project.write_job(&source.url(), &sink.url(), &format!("orphans = \"allow\"\n{JOB}"));
            for _ in 0..2 {
                let report = project.run(["run", "--json"]).expect(3).json();
                assert_eq!(counters(&report, "deleted"), json!([0, 0, 0]), "{engine:?} {action} {report}");
                assert_eq!(counters(&report, "conflicts"), json!([1, 0, 0]), "{engine:?} {action} {report}");
                assert_eq!(sink.matching("member", "team = 2"), 2, "{engine:?} {action}");
                assert_eq!(sink.count("note"), 4);
            }
            source.run(
                "DELETE FROM member WHERE id = 2; DELETE FROM note WHERE member = 2; UPDATE member SET team = 1 WHERE id = 3",
            );
            let report = project.copy();
            assert_eq!(counters(&report, "deleted"), json!([1, 1, 1]), "{engine:?} {action} {report}");
            assert_eq!((sink.matching("member", "id = 3 AND team = 1"), sink.count("note")), (1, 3), "{engine:?} {action}");
            assert_eq!(counters(&project.copy(), "unchanged"), json!([2, 3, 3]), "P4");
        }
    }
}

#[test]
fn a_child_that_has_moved_on_survives_also_where_its_move_is_refused_or_not_part_of_the_run() {
    for engine in ENGINES {
        for action in ACTIONS {
            let (project, source, sink) = ready(Engine::Sqlite, engine, action);
            // One moves and is refused for what else has changed, the other moves.
            source.run("UPDATE member SET team = 1, v = 100 WHERE id = 2; UPDATE member SET team = 3 WHERE id = 3; DELETE FROM team WHERE id = 2");
            let report = project.run(["run", "--json", "--entity", "team"]).expect(3).json();
            assert_eq!(report["entities"][0]["conflicts"], 1, "{engine:?} {action} {report}");
            assert_eq!(sink.matching("member", "team = 2"), 2, "{engine:?} {action}");
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(counters(&report, "quarantined"), json!([0, 1, 0]), "{engine:?} {action} {report}");
            assert_eq!(counters(&report, "conflicts"), json!([1, 0, 0]), "{engine:?} {action} {report}");
            assert_eq!([sink.matching("member", "id = 2 AND team = 2"), sink.matching("member", "id = 3 AND team = 3")], [1, 1]);
            assert_eq!(sink.count("note"), 4, "{engine:?} {action}");
            source.run("UPDATE member SET v = 2 WHERE id = 2");
            assert_eq!(counters(&project.copy(), "deleted"), json!([1, 0, 0]), "{engine:?} {action}");
            assert_eq!((sink.count("team"), sink.count("member"), sink.count("note")), (2, 4, 4), "{engine:?} {action}");
        }
    }
}

#[test]
fn rows_of_tables_beyond_the_job_hold_what_they_refer_to_and_the_plan_says_so() {
    for engine in ENGINES {
        for action in ACTIONS {
            let (project, source, sink) = ready(Engine::Sqlite, engine, action);
            // By another unique key than the one that the job goes by.
            sink.run(&format!("CREATE TABLE door (code text REFERENCES team (code) ON DELETE {action})"));
            sink.run("INSERT INTO door VALUES ('b')");
            source.run("DELETE FROM note; DELETE FROM member; DELETE FROM team WHERE id > 1");
            let plan = project.run(["plan", "--json"]).expect(0).json();
            let team = plan["changes"].as_array().expect("changes").iter().find(|e| e["name"] == "team").expect("the entity");
            assert_eq!((&team["deleted"], &team["conflicts"]), (&json!(1), &json!(1)), "{engine:?} {action} {plan}");
            let text = project.run(["plan"]).expect(0).stdout;
            assert!(text.contains("door refers to it by (code) ON DELETE"), "{text}");
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(counters(&report, "deleted"), json!([1, 4, 4]), "{engine:?} {action} {report}");
            assert_eq!((sink.matching("door", "code = 'b'"), sink.matching("team", "id = 2")), (1, 1), "{engine:?} {action}");
            sink.run("DELETE FROM door");
            assert_eq!(counters(&project.copy(), "deleted"), json!([1, 0, 0]), "{engine:?} {action}");
        }
    }
}

#[test]
fn rows_of_one_table_that_refer_to_one_another_go_whatever_their_order_and_are_counted_once() {
    for engine in ENGINES {
        for action in ["CASCADE", "SET NULL"] {
            let project = Project::new();
            let (source, sink) = (Database::new(Engine::Sqlite, project.path(), "a"), Database::new(engine, project.path(), "b"));
            source.run("CREATE TABLE t (id integer PRIMARY KEY, up integer)");
            // Chains up and down, longer than what is deleted at once, and rings.
            source.run(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
                 INSERT INTO t SELECT i, CASE WHEN i IN (2500, 2501) THEN NULL WHEN i < 2500 THEN i + 1 WHEN i <= 5000 THEN i - 1
                     WHEN i % 2 = 0 THEN i - 1 ELSE i + 1 END FROM n",
            );
            sink.run(&format!("CREATE TABLE t (id integer PRIMARY KEY, up integer REFERENCES t (id) ON DELETE {action})"));
            sink.run("CREATE INDEX t_up ON t (up)");
            project.write_job(&source.url(), &sink.url(), JOB);
            project.copy();
            source.run("DELETE FROM t WHERE id <= 4000 OR id BETWEEN 5001 AND 5500");
            source.run("UPDATE t SET up = NULL WHERE up NOT IN (SELECT id FROM t)");
            let report = project.copy();
            assert_eq!(report["entities"][0]["deleted"], 4500, "{engine:?} {action} {report}");
            assert_eq!(sink.count("t"), 1500, "{engine:?} {action}");
            let again = project.copy();
            assert_eq!((&again["entities"][0]["unchanged"], &again["entities"][0]["deleted"]), (&json!(1500), &json!(0)), "P4");
        }
    }
}
