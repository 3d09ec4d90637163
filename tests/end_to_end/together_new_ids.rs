//! References that form a cycle and can never be NULL, between rows whose ids the target gives.

use crate::together::sums;
use migrate_tests::{Database, Engine, PAIRS, Project, Rows};
use serde_json::Value;

/// A store has a manager, who is of the staff, who belong to a store; stores are known by their code, staff by the key map alone.
fn tables(database: &Database, live: bool) {
    let postgres = matches!(database, Database::Postgres(_));
    let id = match (live, postgres) {
        (false, _) => "integer PRIMARY KEY",
        (true, true) => "integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        (true, false) => "INTEGER PRIMARY KEY AUTOINCREMENT",
    };
    let refers = |table: &str| if live && !postgres { format!(" REFERENCES {table} (id)") } else { String::new() };
    let check = if live { " CHECK (length(name) < 6)" } else { "" };
    database.run(&format!(
        "CREATE TABLE store (id {id}, code text NOT NULL UNIQUE, manager integer NOT NULL{}, name text{check});
         CREATE TABLE staff (id {id}, store integer NOT NULL{}, name text{check});",
        refers("staff"),
        refers("store"),
    ));
    if live {
        let overriding = if postgres { " OVERRIDING SYSTEM VALUE" } else { "" };
        // Those of others have the ids of the source; one of the stores is there already.
        database.run(&format!(
            "{}INSERT INTO store{overriding} VALUES (1, 'own', 1, 'ours'), (2, 's2', 1, 'old'); INSERT INTO staff{overriding} VALUES (1, 1, 'own'){}",
            if postgres { "" } else { "BEGIN; PRAGMA defer_foreign_keys = ON; " },
            if postgres { "" } else { "; COMMIT" },
        ));
    }
    if let (true, Database::Postgres(database)) = (live, database) {
        database.run(
            "ALTER TABLE store ADD FOREIGN KEY (manager) REFERENCES staff (id); ALTER TABLE staff ADD FOREIGN KEY (store) REFERENCES store (id);
             ALTER SEQUENCE store_id_seq RESTART 3; ALTER SEQUENCE staff_id_seq RESTART 2",
        );
    }
}

const ENTITIES: &str = "mode = \"replace\"
    deletes = { mode = \"hard\", max = \"100%\" }
    [[jobs.copy.entities]]
    source = \"store\"
    key = [\"code\"]
    generated = [\"id\"]
    references = [{ columns = [\"manager\"], entity = \"staff\" }]
    [[jobs.copy.entities]]
    source = \"staff\"
    generated = [\"id\"]
    references = [{ columns = [\"store\"], entity = \"store\", key = [\"id\"] }]\n";

fn both(from: Engine, to: Engine) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(to, project.path(), "target");
    tables(&source, false);
    tables(&target, true);
    project.write_job(&source.url(), &target.url(), ENTITIES);
    (project, source, target)
}

/// Every store with its manager's name, and every one of the staff with the store's code; those of others left out.
fn held(database: &Database) -> Vec<String> {
    let text = |name: &str| (name.to_owned(), "text".to_owned());
    let mut rows = database.printed(
        "(SELECT s.code AS a, s.name AS b, m.name AS c FROM store s JOIN staff m ON m.id = s.manager WHERE s.code <> 'own' \
          UNION ALL SELECT p.name, s.code, s.name FROM staff p JOIN store s ON s.id = p.store WHERE p.name <> 'own') AS held",
        &[text("a"), text("b"), text("c")],
    );
    rows.sort();
    rows
}

fn planned<const N: usize>(project: &Project, counters: [&str; N]) -> [u64; N] {
    let plan = project.run(["plan", "--json"]).expect(0).json();
    let changes = plan["changes"].as_array().expect("changes");
    counters.map(|counter| changes.iter().filter_map(|change: &Value| change[counter].as_u64()).sum())
}

#[test]
fn rows_of_a_cycle_that_is_never_null_arrive_at_once_under_new_ids_change_and_go() {
    const COUNTERS: [&str; 4] = ["inserted", "updated", "deleted", "quarantined"];
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to);
        source.run(
            "INSERT INTO store VALUES (1, 's1', 3, 'one'), (2, 's2', 1, 'two');
             INSERT INTO staff VALUES (1, 2, 'a'), (2, 1, 'b'), (3, 1, 'c')",
        );
        let plan = project.run(["plan"]).expect(0).output();
        assert!(plan.contains("inserted at once, by one transaction"), "{plan}");
        let _ = project.run(["plan", "--rehearse"]).expect(0);
        let expected = planned(&project, COUNTERS);
        let report = project.copy();
        assert_eq!(sums(&report, COUNTERS), [4, 1, 0, 0], "{from:?} {to:?} {report}");
        assert_eq!(expected, [4, 1, 0, 0], "P7: {from:?} {to:?}");
        assert_eq!(held(&target), held(&source), "{from:?} {to:?}");
        assert_eq!(target.matching("store", "id = 2 AND code = 's2' AND name = 'two'"), 1, "the id that was there stays");
        assert_eq!(sums(&project.copy(), COUNTERS), [0; 4], "P4: {from:?} {to:?}");

        // A new store takes over some of the staff, an old one gets a new manager, and one goes with its staff.
        source.run(
            "INSERT INTO store VALUES (7, 's7', 9, 'seven'); INSERT INTO staff VALUES (9, 7, 'n'), (8, 2, 'o');
             UPDATE staff SET store = 7 WHERE id = 1; UPDATE store SET manager = 8 WHERE id = 2;
             DELETE FROM staff WHERE store = 1; DELETE FROM store WHERE id = 1",
        );
        let expected = planned(&project, COUNTERS);
        let report = project.copy();
        assert_eq!(sums(&report, COUNTERS), [3, 2, 3, 0], "{from:?} {to:?} {report}");
        assert_eq!(expected, [3, 2, 3, 0], "P7: {from:?} {to:?}");
        assert_eq!(held(&target), held(&source), "{from:?} {to:?}");
        assert_eq!(sums(&project.copy(), COUNTERS), [0; 4], "P4: {from:?} {to:?}");
        assert_eq!((target.matching("store", "code = 'own'"), target.matching("staff", "name = 'own'")), (1, 1));

        // Their ids are those of other rows now.
        source.run("INSERT INTO store VALUES (1, 's9', 3, 'nine'); INSERT INTO staff VALUES (3, 1, 'new'), (2, 7, 'p')");
        assert_eq!(sums(&project.copy(), COUNTERS), [3, 0, 0, 0], "{from:?} {to:?}");
        assert_eq!(held(&target), held(&source), "{from:?} {to:?}");
    }
}

#[test]
fn a_row_of_such_a_cycle_that_is_refused_has_no_new_id_until_it_comes_in() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to);
        project.write_job(&source.url(), &target.url(), &format!("orphans = \"allow\"\n{ENTITIES}"));
        // The second store's manager is refused, and with her the store and all of its staff; the third's is nowhere.
        source.run(
            "INSERT INTO store VALUES (1, 's1', 1, 'one'), (2, 's3', 2, 'two'), (3, 's4', 99, 'three');
             INSERT INTO staff VALUES (1, 1, 'a'), (2, 2, 'toolong'), (3, 2, 'c'), (4, 1, 'toolong')",
        );
        for _ in 0..2 {
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(sums(&report, ["quarantined"]), [5], "{from:?} {to:?} {report}");
            assert_eq!((target.count("store"), target.count("staff")), (3, 2), "{from:?} {to:?}");
        }
        source.run("UPDATE staff SET name = 'ok' WHERE name = 'toolong'; INSERT INTO staff VALUES (99, 3, 'd')");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "unchanged", "quarantined"]), [6, 0, 2, 0], "{from:?} {to:?}");
        let mut held = held(&target);
        held.retain(|row| !row.starts_with("\"s2\""));
        assert_eq!(held, self::held(&source), "{from:?} {to:?}");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted"]), [0; 3], "P4: {from:?} {to:?}");
    }
}

#[test]
fn all_rows_of_such_a_cycle_get_ids_anew_at_once_where_others_have_emptied_its_tables() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to);
        // Each store and its manager are on pages of their own.
        project.write_job(&source.url(), &target.url(), &format!("page_bytes = 256\n{ENTITIES}"));
        let rows = |row: fn(u32) -> String| (1..=40).map(row).collect::<Vec<_>>().join(", ");
        source.run(&format!(
            "INSERT INTO store VALUES {}; INSERT INTO staff VALUES {}",
            rows(|id| format!("({id}, 's{id}', {}, 'n')", 41 - id)),
            rows(|id| format!("({id}, {}, 'p{id}')", 41 - id)),
        ));
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "quarantined"]), [79, 1, 0], "{from:?} {to:?}");
        target.run(match target {
            Database::Postgres(_) => "TRUNCATE staff, store",
            Database::Sqlite(_) => "BEGIN; PRAGMA defer_foreign_keys = ON; DELETE FROM staff; DELETE FROM store; COMMIT",
        });
        assert_eq!(planned(&project, ["inserted", "quarantined"]), [80, 0], "{from:?} {to:?}");
        let report = project.copy();
        assert_eq!(sums(&report, ["inserted", "quarantined"]), [80, 0], "{from:?} {to:?} {report}");
        assert_eq!(held(&target), held(&source), "{from:?} {to:?}");
    }
}

#[test]
fn a_run_that_is_killed_over_such_a_cycle_brings_every_row_once() {
    for (from, to) in PAIRS {
        for commits in [1, 2, 3] {
            let (project, source, target) = both(from, to);
            let rows = (1..=60).map(|id| {
                format!(
                    "INSERT INTO store VALUES ({id}, 's{id}', {}, 's'); INSERT INTO staff VALUES ({id}, {}, 'n{id}');",
                    61 - id,
                    1 + id * 7 % 60
                )
            });
            source.run(&rows.collect::<String>());
            let mut running = project.start(crate::kills::BATCH);
            running.wait_for_commits(commits);
            running.kill();
            source.run("INSERT INTO store VALUES (61, 's61', 61, 'new'); INSERT INTO staff VALUES (61, 61, 'n61'); UPDATE store SET manager = 61 WHERE id = 1");
            project.copy();
            assert_eq!(held(&target), held(&source), "{from:?} {to:?} {commits}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted"]), [0; 3], "P4: {from:?} {to:?} {commits}");
        }
    }
}
