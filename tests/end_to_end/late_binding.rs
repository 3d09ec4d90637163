//! References that form cycles in tables that exist: rows that are refused, wait, or are gone, over several runs.

use migrate_tests::{Database, Engine, PAIRS, Project, Random, Run, crosswise};
use serde_json::Value;

/// A department has a head, who is in some department, as everybody is, and may have a boss. Constraints are live, but for the source.
fn tables(database: &Database, live: bool) {
    let refers = |table: &str| if live { format!(" REFERENCES {table} (id)") } else { String::new() };
    let check = if live { " CONSTRAINT short CHECK (length(name) < 6)" } else { "" };
    // Only SQLite takes a reference to a table that is yet to come.
    let (head, later) = match database {
        Database::Postgres(_) => (String::new(), live),
        Database::Sqlite(_) => (refers("employee"), false),
    };
    database.run(&format!(
        "CREATE TABLE department (id integer PRIMARY KEY, head integer{head}, name text{check});
         CREATE TABLE employee (id integer PRIMARY KEY, department integer NOT NULL{}, boss integer{});",
        refers("department"),
        refers("employee"),
    ));
    if later {
        database.run("ALTER TABLE department ADD FOREIGN KEY (head) REFERENCES employee (id)");
    }
}

fn both(from: Engine, to: Engine, settings: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(to, project.path(), "target");
    tables(&source, false);
    tables(&target, true);
    project.write_job(&source.url(), &target.url(), settings);
    (project, source, target)
}

/// The sums of these counters, and P1.
fn sums<const N: usize>(report: &Value, counters: [&str; N]) -> [u64; N] {
    let entities = report["entities"].as_array().expect("entities");
    for entity in entities {
        let settled = ["inserted", "updated", "unchanged", "skipped", "filtered", "quarantined"].map(|c| entity[c].as_u64());
        assert_eq!(entity["read"].as_u64(), settled.into_iter().sum(), "P1: {entity}");
    }
    counters.map(|counter| entities.iter().filter_map(|entity| entity[counter].as_u64()).sum())
}

fn run(project: &Project) -> Run {
    project.run(["run", "--json"])
}

#[test]
fn in_mode_update_new_parents_of_rows_that_were_synced_before_arrive_in_every_direction() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, "mode = \"update\"\n");
        source.run("INSERT INTO department VALUES (1, 2, 'a'); INSERT INTO employee VALUES (2, 1, NULL)");
        project.copy();
        source.run("INSERT INTO employee VALUES (5, 1, 6), (6, 1, 5); UPDATE department SET head = 5; UPDATE employee SET boss = 6 WHERE id = 2");
        target.run("UPDATE department SET name = 'ours'");
        let report = project.copy();
        assert_eq!(sums(&report, ["inserted", "updated", "pending"]), [2, 2, 0], "{from:?} {to:?} {report}");
        assert_eq!(target.matching("employee", "(id = 6 AND boss = 5) OR (id IN (2, 5) AND boss = 6)"), 3, "{from:?} {to:?}");
        assert_eq!(target.matching("department", "head = 5 AND name = 'ours'"), 1, "{from:?} {to:?}");
        assert_eq!(sums(&project.copy(), ["unchanged", "pending"]), [4, 0], "P4");
    }
}

#[test]
fn a_row_of_a_cycle_that_was_refused_comes_in_once_it_is_valid_and_not_by_halves_before() {
    for ((from, to), mode) in crosswise(["replace", "update", "append"]) {
        let (project, source, target) = both(from, to, &format!("mode = \"{mode}\"\n"));
        source
            .run("INSERT INTO department VALUES (1, 1, 'toolongname'), (2, NULL, 'b'); INSERT INTO employee VALUES (1, 1, NULL)");
        for _ in 0..2 {
            let report = run(&project).expect(3).json();
            assert_eq!(sums(&report, ["quarantined", "pending"]), [2, 0], "{from:?} {to:?} {mode} {report}");
            assert_eq!((target.count("department"), target.count("employee")), (1, 0));
        }
        source.run("UPDATE department SET name = 'ok' WHERE id = 1");
        let report = project.copy();
        assert_eq!(sums(&report, ["inserted", "pending"]), [2, 0], "{from:?} {to:?} {mode} {report}");
        target.assert_holds(&source, &["department", "employee"]);
        assert_eq!(sums(&project.copy(), ["inserted", "updated"]), [0, 0], "P4");
    }
}

#[test]
fn gone_rows_of_a_cycle_stay_as_they_are_where_one_is_held_and_go_where_none_is() {
    for (from, to) in PAIRS {
        // More than one batch, where a transaction for each row costs little.
        let pairs = if to == Engine::Sqlite { 1010 } else { 30 };
        let (project, source, target) = both(from, to, "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n");
        let mut sql = String::new();
        for id in 1..=pairs {
            sql.push_str(&format!(
                "INSERT INTO department VALUES ({id}, {id}, 'd'); INSERT INTO employee VALUES ({id}, {id}, {id});"
            ));
        }
        source.run(&sql);
        project.copy();
        target.run("CREATE TABLE badge (employee integer REFERENCES employee (id)); INSERT INTO badge VALUES (7)");
        source.run("DELETE FROM department; DELETE FROM employee");
        let report = run(&project).expect(3).json();
        let deleted = 2 * pairs - 2;
        assert_eq!(sums(&report, ["deleted", "conflicts"]), [deleted, 2], "{from:?} {to:?} {report}");
        assert_eq!(target.matching("department", "id = 7 AND head = 7"), 1, "{from:?} {to:?}");
        assert_eq!(target.matching("employee", "id = 7 AND boss = 7"), 1, "{from:?} {to:?}");
        assert_eq!(target.count("department") + target.count("employee"), 2);
        target.run("DELETE FROM badge");
        assert_eq!(sums(&project.copy(), ["deleted", "conflicts"]), [2, 0]);
    }
}

/// Edits within a cycle: new heads and bosses, among them people that are new themselves.
fn edits(random: &mut Random, departments: u64, employees: u64) -> String {
    let mut sql = String::new();
    for _ in 0..=random.below(20) {
        let person = 1 + random.below(employees);
        match random.below(3) {
            0 => sql.push_str(&format!("UPDATE employee SET boss = {person} WHERE id = {};", 1 + random.below(employees))),
            1 => sql.push_str(&format!("UPDATE department SET head = {person} WHERE id = {};", 1 + random.below(departments))),
            _ => sql.push_str(&format!(
                "INSERT INTO employee SELECT {0}, {1}, {person} WHERE NOT EXISTS (SELECT 1 FROM employee WHERE id = {0});",
                employees + 1 + random.below(100),
                1 + random.below(departments)
            )),
        }
    }
    sql
}

#[test]
fn killed_runs_over_cycles_are_finished_by_the_next_in_every_mode_and_direction() {
    const DEPARTMENTS: u64 = 40;
    const EMPLOYEES: u64 = 300;
    let mut random = Random::seeded("cycles that are killed");
    for (from, to) in PAIRS {
        for mode in ["update", "replace", "append"] {
            let (project, source, target) = both(from, to, &format!("mode = \"{mode}\"\nbatch_rows = 16\n"));
            let mut sql = String::new();
            for id in 1..=DEPARTMENTS {
                sql.push_str(&format!("INSERT INTO department VALUES ({id}, {}, 'd');", 1 + random.below(EMPLOYEES)));
            }
            for id in 1..=EMPLOYEES {
                let boss = if id % 5 == 0 { "NULL".to_owned() } else { (1 + random.below(EMPLOYEES)).to_string() };
                sql.push_str(&format!("INSERT INTO employee VALUES ({id}, {}, {boss});", 1 + random.below(DEPARTMENTS)));
            }
            source.run(&sql);
            for _ in 0..=random.below(3) {
                let mut running = project.start([]);
                running.wait_for_commits(1 + u32::try_from(random.below(40)).expect("a small number"));
                running.kill();
                if mode == "update" || mode == "replace" {
                    source.run(&edits(&mut random, DEPARTMENTS, EMPLOYEES));
                }
            }
            let report = project.copy();
            assert_eq!(sums(&report, ["pending", "quarantined"]), [0, 0], "{from:?} {to:?} {mode} {report}");
            target.assert_holds(&source, &["department", "employee"]);
            let again = project.copy();
            assert_eq!(sums(&again, ["inserted", "updated", "pending"]), [0, 0, 0], "P4: {from:?} {to:?} {mode} {again}");
        }
    }
}
