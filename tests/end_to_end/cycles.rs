//! References that form cycles, into tables that exist and whose constraints are live.

use crate::kills::BATCH;
use migrate_tests::{Database, Engine, PAIRS, Project, Random, crosswise};
use serde_json::Value;

/// A department has a head, who is in some department, as everybody is, and may have a boss.
fn tables(database: &Database) {
    let [head, boss] = ["head integer", "boss integer"];
    let employee =
        "CREATE TABLE employee (id integer PRIMARY KEY, department integer NOT NULL REFERENCES department (id), name text";
    match database {
        Database::Postgres(_) => database.run(&format!(
            "CREATE TABLE department (id integer PRIMARY KEY, {head}); {employee}, {boss} REFERENCES employee (id));
             ALTER TABLE department ADD FOREIGN KEY (head) REFERENCES employee (id);"
        )),
        Database::Sqlite(_) => database.run(&format!(
            "CREATE TABLE department (id integer PRIMARY KEY, {head} REFERENCES employee (id));
             {employee}, {boss} REFERENCES employee (id));"
        )),
    }
}

/// The same without constraints, so that rows may come in any order and without their parents.
fn loose_tables(database: &Database) {
    database.run(
        "CREATE TABLE department (id integer PRIMARY KEY, head integer);
         CREATE TABLE employee (id integer PRIMARY KEY, department integer NOT NULL, name text, boss integer);",
    );
}

const DEPARTMENTS: u64 = 120;
const EMPLOYEES: u64 = 1200;

fn rows(random: &mut Random) -> String {
    let mut sql = String::new();
    for id in 1..=DEPARTMENTS {
        sql.push_str(&format!("INSERT INTO department VALUES ({id}, {});", 1 + random.below(EMPLOYEES)));
    }
    for id in 1..=EMPLOYEES {
        let boss = if id % 10 == 0 { "NULL".to_owned() } else { (1 + random.below(EMPLOYEES)).to_string() };
        sql.push_str(&format!("INSERT INTO employee VALUES ({id}, {}, 'e{id}', {boss});", 1 + random.below(DEPARTMENTS)));
    }
    sql
}

/// New heads and bosses, among them people that are new themselves and come later than those who refer to them.
const CHANGES: &str = "
    INSERT INTO employee VALUES (9001, 500, 'new', 9002), (9002, 7, 'newer', 9001);
    INSERT INTO department VALUES (500, 9002);
    UPDATE department SET head = 9001 WHERE id <= 20;
    UPDATE employee SET boss = 9002 WHERE id <= 50;
    UPDATE employee SET boss = NULL WHERE id > 1190 AND id < 9000;";

const SETTINGS: &str = "mode = \"replace\"\n";

fn sum(report: &Value, counter: &str) -> u64 {
    report["entities"].as_array().expect("entities").iter().filter_map(|e| e[counter].as_u64()).sum()
}

#[test]
fn rows_of_a_cycle_arrive_with_all_references_while_constraints_are_live() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        loose_tables(&source);
        source.run(&rows(&mut Random::seeded("cycles")));
        tables(&target);
        project.write_job(&source.url(), &target.url(), SETTINGS);
        let graph = project.run(["graph"]).expect(0).output();
        assert!(graph.contains("NULL until the parent is there"), "{graph}");

        let report = project.copy();
        assert_eq!((sum(&report, "inserted"), sum(&report, "pending")), (DEPARTMENTS + EMPLOYEES, 0), "{from:?} {to:?} {report}");
        target.assert_holds(&source, &["department", "employee"]);
        let again = project.copy();
        assert_eq!(sum(&again, "unchanged"), DEPARTMENTS + EMPLOYEES, "P4: {again}");

        source.run(CHANGES);
        let report = project.copy();
        assert_eq!((sum(&report, "inserted"), sum(&report, "pending")), (3, 0), "{from:?} {to:?} {report}");
        target.assert_holds(&source, &["department", "employee"]);
        let again = project.copy();
        assert_eq!(sum(&again, "unchanged"), DEPARTMENTS + EMPLOYEES + 3, "P4: {again}");
    }
}

#[test]
fn a_run_that_is_killed_anywhere_completes_the_references_when_it_goes_on() {
    for (from, to) in PAIRS {
        for commits in [1, 4, 7, 12] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            loose_tables(&source);
            source.run(&rows(&mut Random::seeded(&format!("cycles {commits}"))));
            tables(&target);
            project.write_job(&source.url(), &target.url(), SETTINGS);
            let mut running = project.start(BATCH);
            assert!(running.wait_for_commits(commits) || commits > 7, "there are more commits than {commits}");
            running.kill();
            source.run(CHANGES);
            let report = project.copy();
            assert_eq!(sum(&report, "pending"), 0, "{from:?} {to:?} {commits} {report}");
            target.assert_holds(&source, &["department", "employee"]);
            assert_eq!(sum(&project.copy(), "unchanged"), DEPARTMENTS + EMPLOYEES + 3, "P4");
        }
    }
}

#[test]
fn a_row_without_its_parent_waits_with_null_is_reported_and_is_completed_once_the_parent_is_there() {
    for ((from, to), mode) in crosswise(["replace", "append", "update"]) {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        loose_tables(&source);
        source.run(
            "INSERT INTO department VALUES (1, 2), (2, 77);
             INSERT INTO employee VALUES (1, 1, 'a', 2), (2, 2, 'b', NULL), (3, 1, 'c', 88), (4, 2, 'd', 4);",
        );
        tables(&target);
        project.write_job(&source.url(), &target.url(), &format!("orphans = \"allow\"\nmode = \"{mode}\"\n"));
        let run = project.run(["run", "--json"]).expect(3);
        run.says(&["the row with the key (3) waits for a parent"]);
        let report = run.json();
        assert_eq!((sum(&report, "inserted"), sum(&report, "pending")), (6, 2), "{from:?} {to:?} {mode} {report}");
        assert_eq!(target.matching("department", "id = 1 AND head = 2"), 1);
        assert_eq!(target.matching("employee", "id IN (1, 4) AND boss IS NOT NULL"), 2);
        assert_eq!(target.matching("employee", "id = 3 AND boss IS NULL"), 1);
        let waiting = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((sum(&waiting, "updated"), sum(&waiting, "pending")), (0, 2), "P4: {from:?} {to:?} {mode} {waiting}");
        source.run("INSERT INTO employee VALUES (77, 1, 'late', NULL), (88, 1, 'later', 77);");
        let report = project.copy();
        assert_eq!((sum(&report, "inserted"), sum(&report, "updated"), sum(&report, "pending")), (2, 2, 0), "{report}");
        target.assert_holds(&source, &["department", "employee"]);
    }
}

#[test]
fn rows_of_a_cycle_that_refer_to_one_another_are_deleted() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        loose_tables(&source);
        source.run(
            "INSERT INTO department VALUES (1, 1), (2, 3), (3, NULL);
             INSERT INTO employee VALUES (1, 1, 'a', 2), (2, 1, 'b', 1), (3, 2, 'c', NULL), (4, 3, 'd', 3);",
        );
        tables(&target);
        project.write_job(&source.url(), &target.url(), &format!("deletes = \"hard\"\n{}", SETTINGS));
        project.copy();
        target.assert_holds(&source, &["department", "employee"]);
        source.run("DELETE FROM employee WHERE id <= 3; DELETE FROM department WHERE id <= 2; UPDATE employee SET boss = NULL;");
        let report = project.copy();
        assert_eq!(sum(&report, "deleted"), 5, "{from:?} {to:?} {report}");
        target.assert_holds(&source, &["department", "employee"]);
    }
}

#[test]
fn a_cycle_of_a_table_that_is_there_and_one_that_the_job_creates_is_closed_by_the_same_run() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE projects (id integer PRIMARY KEY, xmlid text NOT NULL UNIQUE, task integer);
             CREATE TABLE tasks (id integer PRIMARY KEY, project integer NOT NULL REFERENCES projects (id));
             INSERT INTO projects VALUES (1, 'p1', 10), (2, 'p2', NULL); INSERT INTO tasks VALUES (10, 1), (11, 2)",
        );
        let id = match to {
            Engine::Postgres(_) => "integer GENERATED ALWAYS AS IDENTITY (START WITH 100) PRIMARY KEY",
            Engine::Sqlite => "INTEGER PRIMARY KEY",
        };
        target.run(&format!("CREATE TABLE projects (id {id}, xmlid text NOT NULL UNIQUE, task integer)"));
        if to == Engine::Sqlite {
            target.run("INSERT INTO projects VALUES (99, 'theirs', NULL)");
        }
        project.write_job(
            &source.url(),
            &target.url(),
            "mode = \"replace\"
             [[jobs.copy.entities]]
             source = \"projects\"
             key = [\"xmlid\"]
             generated = [\"id\"]
             references = [{ columns = [\"task\"], entity = \"tasks\", key = [\"id\"] }]
             [[jobs.copy.entities]]
             source = \"tasks\"
             generated = [\"id\"]\n",
        );
        let report = project.copy();
        assert_eq!((sum(&report, "inserted"), sum(&report, "pending")), (4, 0), "{from:?} {to:?} {report}");
        let bound = "xmlid = 'p1' AND task IN (SELECT id FROM tasks WHERE project = projects.id)";
        assert_eq!(target.matching("projects", bound), 1, "{from:?} {to:?}");
        assert_eq!(target.matching("projects", "id = 1"), 0, "ids are the target's");
        let again = project.copy();
        assert_eq!((sum(&again, "unchanged"), sum(&again, "updated")), (4, 0), "P4");
    }
}

#[test]
fn a_row_that_is_refused_once_it_is_complete_is_reported_and_verification_sees_it() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE e (id integer PRIMARY KEY, boss integer, code text UNIQUE);
             INSERT INTO e VALUES (1, 1, 'a'), (2, 1, 'b'), (3, 2, 'c');",
        );
        target.run(
            "CREATE TABLE e (id integer PRIMARY KEY, boss integer REFERENCES e (id), code text UNIQUE, \
             CONSTRAINT other CHECK (boss <> id))",
        );
        // Rows of others: no bulk load, each parent is looked for.
        target.run("INSERT INTO e VALUES (100, NULL, 'others')");
        project.write_job(&source.url(), &target.url(), SETTINGS);
        let run = project.run(["run", "--json"]).expect(3);
        let report = run.json();
        assert_eq!(sum(&report, "read"), 3, "{report}");
        assert_eq!(sum(&report, "inserted") + sum(&report, "quarantined"), 3, "{from:?} {to:?} {report}");
        // Whatever the target was made to hold, it is not said to be equal.
        let verified = project.run(["verify", "--json"]).json();
        let held = target.matching("e", "id = 1 AND boss IS NULL");
        assert_eq!(verified["entities"][0]["different"].as_u64(), Some(held), "{from:?} {to:?} {verified}");
        assert_eq!((sum(&report, "pending"), held), (1, 1), "{report}");
        let again = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((sum(&again, "unchanged"), sum(&again, "pending"), sum(&again, "quarantined")), (3, 1, 0), "{again}");
    }
}

#[test]
fn a_row_that_was_refused_is_not_let_in_by_halves_later() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE n (id integer PRIMARY KEY, c integer); INSERT INTO n VALUES (1, -1), (2, 2);");
        target.run("CREATE TABLE n (id integer PRIMARY KEY, c integer CONSTRAINT positive CHECK (c > 0))");
        project.write_job(&source.url(), &target.url(), &format!("orphans = \"allow\"\n{SETTINGS}"));
        assert_eq!(sum(&project.run(["run", "--json"]).expect(3).json(), "quarantined"), 1);
        // WHEN the table refers to itself from now on
        match &target {
            Database::Postgres(_) => target.run("ALTER TABLE n ADD FOREIGN KEY (c) REFERENCES n (id)"),
            Database::Sqlite(_) => target.run(
                "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'CONSTRAINT', 'REFERENCES n (id) CONSTRAINT') \
                 WHERE name = 'n'; PRAGMA writable_schema = RESET",
            ),
        }
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((sum(&report, "quarantined"), sum(&report, "inserted")), (1, 0), "{from:?} {to:?} {report}");
        assert_eq!(target.count("n"), 1);
    }
}
