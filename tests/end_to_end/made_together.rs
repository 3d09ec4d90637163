//! Tables that the job makes for several entities.

use migrate_tests::{Database, Engine, PAIRS, Project};
use serde_json::{Value, json};

const SOURCE: &str = "
    CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE goals (id integer PRIMARY KEY, user_id integer NOT NULL REFERENCES users (id), title varchar(40) NOT NULL UNIQUE,
        CHECK (id > 0));
    CREATE TABLE sessions (id bigint PRIMARY KEY, minutes integer NOT NULL, title text, user_id integer NOT NULL REFERENCES users (id),
        goal_id integer REFERENCES goals (id), CHECK (id > 0), CHECK (minutes < 1000));
    CREATE TABLE milestones (id integer PRIMARY KEY, goal_id integer NOT NULL REFERENCES goals (id));
    CREATE INDEX sessions_minutes ON sessions (minutes);
    INSERT INTO users VALUES (1, 'ann'), (2, 'bob');
    INSERT INTO goals WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
        SELECT i, 1 + i % 2, 'goal ' || i FROM n;
    INSERT INTO sessions WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
        SELECT i, i % 50, 'session ' || i, 1 + i % 2, 1 + i % 1000 FROM n;
    INSERT INTO milestones VALUES (1, 7), (2, 8);";

const JOB: &str = "deletes = \"hard\"
    [[jobs.copy.entities]]
    source = \"goals\"
    target = \"sync_data\"
    columns = { set = { entity_type = \"goal\" } }
    [[jobs.copy.entities]]
    source = \"sessions\"
    target = \"sync_data\"
    transform = [{ column = \"entity_type\", constant = \"session\" }]
    [[jobs.copy.entities]]
    source = \"users\"
    [[jobs.copy.entities]]
    source = \"milestones\"
    ";

fn sum(report: &Value, counter: &str) -> u64 {
    report["entities"].as_array().expect("entities").iter().filter_map(|e| e[counter].as_u64()).sum()
}

struct Case {
    project: Project,
    source: Database,
    target: Database,
}

impl Case {
    fn new(pair: (Engine, Engine), job: &str) -> Self {
        let project = Project::new();
        let source = Database::new(pair.0, project.path(), "source");
        let target = Database::new(pair.1, project.path(), "target");
        source.run(SOURCE);
        project.write_job(&source.url(), &target.url(), job);
        Case { project, source, target }
    }

    fn of(&self, kind: &str) -> u64 {
        self.target.matching("sync_data", &format!("entity_type = '{kind}'"))
    }

    fn is_equal(&self) -> bool {
        self.project.run(["verify", "--json"]).expect(0).json()["equal"] == true
    }
}

#[test]
fn the_job_makes_one_table_for_all_entities_that_feed_it() {
    for pair in PAIRS {
        let case = Case::new(pair, JOB);
        let planned = case.project.run(["plan", "--json"]).expect(0).json();
        let tables = planned["schema"]["tables"].as_array().expect("tables");
        assert_eq!(tables.len(), 3, "{planned}");
        let made = tables.iter().find(|t| t["table"]["name"]["name"] == "sync_data").expect("the common table");
        assert_eq!(made["table"]["primary_key"]["columns"], json!(["entity_type", "id"]), "{made}");
        let parents: Vec<_> = made["table"]["foreign_keys"].as_array().expect("keys").iter().map(|key| &key["columns"]).collect();
        assert_eq!(parents, [&json!(["user_id"])], "{made}");
        let notes = made["notes"].to_string();
        for note in [
            "unique key (title) of goals is not carried over",
            "foreign key (goal_id) is not carried over: ",
            "column minutes allows NULL: rows of goals have no value for it",
        ] {
            assert!(planned.to_string().contains(note), "{note}: {notes}");
        }
        let hash = planned["hash"].as_str().expect("a hash").to_owned();
        let rehearsed = case.project.run(["plan", "--rehearse", "--json"]).expect(0).json();
        assert_eq!(rehearsed["hash"], planned["hash"]);
        let report = case.project.run(["run", "--json", "--plan", &hash]).expect(0).json();
        assert_eq!((sum(&report, "inserted"), case.of("goal"), case.of("session")), (2504, 1000, 1500), "{report}");
        assert_eq!(case.target.matching("sync_data", "minutes IS NULL"), 1000);
        assert!(case.is_equal());
        let again = case.project.copy();
        assert_eq!((sum(&again, "unchanged"), sum(&again, "read")), (2504, 2504), "P4 {pair:?} {again}");

        case.source.run(
            "DELETE FROM sessions WHERE id < 11; DELETE FROM sessions WHERE goal_id = 999; DELETE FROM goals WHERE id = 999; UPDATE goals SET title = 'new' WHERE id = 1;
             INSERT INTO goals VALUES (5000, 1, 'one more')",
        );
        let report = case.project.copy();
        assert_eq!((sum(&report, "deleted"), sum(&report, "updated"), sum(&report, "inserted")), (12, 1, 1), "{report}");
        assert_eq!((case.of("goal"), case.of("session")), (1000, 1489));
        assert!(case.is_equal());
    }
}

#[test]
fn a_killed_run_into_a_common_table_is_finished_by_the_next() {
    for pair in PAIRS {
        for commits in [2, 6, 10] {
            let case = Case::new(pair, JOB);
            let mut running = case.project.start(["--batch-size", "250"]);
            running.wait_for_commits(commits);
            let _ = running.kill();
            case.source
                .run("DELETE FROM sessions WHERE id IN (3, 1400); UPDATE goals SET title = title || '!' WHERE id IN (2, 990)");
            let report = case.project.copy();
            assert_eq!(sum(&report, "read"), 2502, "{report}");
            assert_eq!((case.of("goal"), case.of("session")), (1000, 1498), "{pair:?} {commits}");
            assert!(case.is_equal(), "{pair:?} {commits}");
            assert_eq!(sum(&case.project.copy(), "unchanged"), 2502, "P4 {pair:?} {commits}");
        }
    }
}

#[test]
fn a_common_table_is_made_whole_by_a_run_of_one_entity() {
    for pair in PAIRS {
        let case = Case::new(pair, JOB);
        for (entity, rows) in [("users", 2), ("sessions", 1500), ("goals", 1000)] {
            let report = case.project.run(["run", "--json", "--entity", entity]).expect(0).json();
            assert_eq!(sum(&report, "inserted"), rows, "{pair:?} {entity} {report}");
        }
        assert_eq!((case.of("goal"), case.of("session")), (1000, 1500));
        let report = case.project.copy();
        assert_eq!((sum(&report, "inserted"), sum(&report, "unchanged")), (2, 2502), "{report}");
        assert!(case.is_equal());
    }
}

#[test]
fn entities_that_cannot_share_a_new_table_are_refused_with_both_names() {
    let refused = |job: &str, says: &[&str]| {
        for pair in [PAIRS[0], PAIRS[3]] {
            let case = Case::new(pair, job);
            let refused = case.project.run(["run"]).expect(2);
            refused.says(&["\"goals\"", "\"sessions\"", "sync_data"]);
            refused.says(says);
        }
    };
    let constant = "columns = { set = { entity_type = \"goal\" } }";
    refused(&JOB.replace(constant, ""), &["nothing tells their rows apart"]);
    refused(&JOB.replace("\"goal\" }", "\"session\" }"), &["nothing tells their rows apart"]);
    let renamed = "columns = { set = { entity_type = \"goal\" }, rename = { title = \"minutes\" } }";
    refused(&JOB.replace(constant, renamed), &["column minutes is", "in one and integer in the other"]);
    let other_key = "columns = { set = { entity_type = \"goal\" }, rename = { id = \"goal\" } }";
    refused(&JOB.replace(constant, other_key), &["their keys are (goal) and (id)"]);
}
