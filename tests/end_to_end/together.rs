//! References that form a cycle and can never be NULL, into tables that exist and whose constraints are live.

use crate::kills::BATCH;
use migrate_tests::{
    Database, Engine, Fixture, PAIRS, Postgres, Project, Random, Server, Sqlite, crosswise, identifier, row_counts,
};
use serde_json::Value;

/// A store has a manager, each of its own, and staff belongs to a store; nobody's mentor is nobody, as the founder is their own.
fn tables(database: &Database, live: bool) {
    let refers = |table: &str| if live { format!(" REFERENCES {table} (id)") } else { String::new() };
    let (unique, check) = if live { (" UNIQUE", " CONSTRAINT short CHECK (length(name) < 6)") } else { ("", "") };
    let (manager, later) = match database {
        Database::Postgres(_) => (String::new(), live),
        Database::Sqlite(_) => (refers("staff"), false),
    };
    database.run(&format!(
        "CREATE TABLE store (id integer PRIMARY KEY, manager integer NOT NULL{unique}{manager}, town text);
         CREATE TABLE staff (id integer PRIMARY KEY, store integer NOT NULL{}, mentor integer NOT NULL{}, name text{check}, deputy integer{});",
        refers("store"),
        refers("staff"),
        refers("staff"),
    ));
    if later {
        database.run("ALTER TABLE store ADD FOREIGN KEY (manager) REFERENCES staff (id)");
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
pub(crate) fn sums<const N: usize>(report: &Value, counters: [&str; N]) -> [u64; N] {
    let entities = report["entities"].as_array().expect("entities");
    for entity in entities {
        let settled = ["inserted", "updated", "unchanged", "skipped", "filtered", "quarantined"].map(|c| entity[c].as_u64());
        assert_eq!(entity["read"].as_u64(), settled.into_iter().sum(), "P1: {entity}");
    }
    counters.map(|counter| entities.iter().filter_map(|entity| entity[counter].as_u64()).sum())
}

const REPLACE: &str = "mode = \"replace\"\n";
/// The same, where what has no parent is for the target to refuse.
const ALLOWING: &str = "mode = \"replace\"\norphans = \"allow\"\n";
const NOTHING: [u64; 5] = [0; 5];

/// What a second run writes (P4).
fn written_again(project: &Project) -> [u64; 5] {
    sums(&project.copy(), ["inserted", "updated", "deleted", "quarantined", "pending"])
}

/// Stores 1, 2, … with a manager of the same number and three more each; everybody is mentored by somebody anywhere.
fn rows(random: &mut Random, stores: u64) -> String {
    let mut sql = String::new();
    for id in 1..=stores {
        sql.push_str(&format!("INSERT INTO store VALUES ({id}, {id}, 't{id}');"));
    }
    for id in 1..=stores * 4 {
        let deputy = if id % 3 == 0 { (1 + random.below(stores * 4)).to_string() } else { "NULL".to_owned() };
        let mentor = 1 + random.below(stores * 4);
        sql.push_str(&format!("INSERT INTO staff VALUES ({id}, {}, {mentor}, 'n', {deputy});", 1 + (id - 1) % stores));
    }
    sql
}

#[test]
fn rows_of_a_cycle_that_is_never_null_arrive_at_once_and_their_changes_too() {
    for (from, to) in PAIRS {
        for mode in ["replace", "update"] {
            let (project, source, target) =
                both(from, to, &format!("mode = \"{mode}\"\ndeletes = {{ mode = \"hard\", max = \"100%\" }}\n"));
            source.run(&rows(&mut Random::seeded("together"), 300));
            let plan = project.run(["plan"]).expect(0).output();
            assert!(plan.contains("inserted at once, by one transaction"), "{plan}");
            let graph = project.run(["graph"]).expect(0).output();
            assert!(graph.contains("all new rows of the cycle are inserted at once"), "{graph}");
            let report = project.copy();
            assert_eq!(sums(&report, ["inserted", "pending"]), [1500, 0], "{from:?} {to:?} {report}");
            target.assert_holds(&source, &["store", "staff"]);
            assert_eq!(written_again(&project), NOTHING, "P4: {from:?} {to:?} {mode}");

            // New ones, before, among and behind the others; an old store and old staff that refer to them; and a store that goes with its
            // staff.
            source.run(
                "UPDATE store SET manager = 2001 WHERE id = 5; UPDATE staff SET mentor = 2002, store = 501 WHERE id = 17;
                 UPDATE staff SET mentor = id, deputy = NULL WHERE id NOT IN (17, 7);
                 INSERT INTO store VALUES (0, 2003, 'new'), (501, 2002, 'newer');
                 INSERT INTO staff VALUES (2001, 501, 2003, 'a', 2002), (2002, 0, 2001, 'b', NULL), (2003, 501, 2003, 'c', -1), (-1, 0, 9, 'd', 1);
                 DELETE FROM staff WHERE store = 300; DELETE FROM store WHERE id = 300; UPDATE staff SET mentor = 7 WHERE id = 7",
            );
            let report = project.copy();
            assert_eq!(
                sums(&report, ["inserted", "deleted", "quarantined", "pending"]),
                [6, 5, 0, 0],
                "{from:?} {to:?} {report}"
            );
            target.assert_holds(&source, &["store", "staff"]);
            assert_eq!(written_again(&project), NOTHING, "P4: {from:?} {to:?} {mode}");
        }
    }
}

#[test]
fn a_row_of_such_a_cycle_that_is_refused_takes_with_it_only_what_refers_to_it_and_comes_in_later() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, ALLOWING);
        // Store 1 is good, but for one of its staff; store 2's manager is bad, and so its staff has no store; store 3's manager is nowhere.
        source.run(
            "INSERT INTO store VALUES (1, 1, 't'), (2, 3, 't'), (3, 99, 't');
             INSERT INTO staff VALUES (1, 1, 1, 'a', NULL), (2, 1, 1, 'toolong', NULL), (3, 2, 1, 'toolong', NULL), (4, 2, 1, 'b', NULL),
                 (5, 1, 4, 'c', NULL), (6, 1, 1, 'd', 2), (7, 3, 7, 'e', NULL)",
        );
        for _ in 0..2 {
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(sums(&report, ["quarantined"]), [7], "{from:?} {to:?} {report}");
            assert_eq!(target.matching("store", "id = 1"), 1, "{from:?} {to:?}");
            assert_eq!(target.matching("staff", "id = 1 OR (id = 6 AND deputy IS NULL)"), 2, "{from:?} {to:?}");
            assert_eq!((target.count("store"), target.count("staff")), (1, 2), "{from:?} {to:?}");
        }
        source.run("UPDATE staff SET name = 'ok' WHERE name = 'toolong'; INSERT INTO staff VALUES (99, 3, 1, 'f', NULL)");
        let report = project.copy();
        assert_eq!(sums(&report, ["inserted", "updated", "unchanged", "pending"]), [8, 1, 2, 0], "{from:?} {to:?} {report}");
        target.assert_holds(&source, &["store", "staff"]);
        assert_eq!(written_again(&project), NOTHING, "P4");
    }
}

#[test]
fn a_cycle_that_is_never_null_goes_as_a_whole_where_nothing_else_refers_to_it() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n");
        source.run(
            "INSERT INTO store VALUES (1, 1, 't'), (2, 2, 't'), (3, 3, 't');
            INSERT INTO staff VALUES (1, 1, 1, 'a', 2), (2, 2, 2, 'b', NULL), (3, 3, 3, 'c', 3), (4, 3, 4, 'd', NULL)",
        );
        project.copy();
        target.run("CREATE TABLE badge (staff integer REFERENCES staff (id)); INSERT INTO badge VALUES (2)");
        source.run("DELETE FROM store; DELETE FROM staff");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let foreseen = |count: &str| -> u64 {
            plan["changes"].as_array().expect("entities").iter().filter_map(|entity| entity[count].as_u64()).sum()
        };
        assert_eq!(["deleted", "conflicts"].map(foreseen), [5, 2], "{from:?} {to:?} {plan}");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(sums(&report, ["deleted", "conflicts"]), [5, 2], "{from:?} {to:?} {report}");
        assert_eq!((target.matching("store", "id = 2"), target.matching("staff", "id = 2")), (1, 1));
        target.run("DELETE FROM badge");
        assert_eq!(sums(&project.copy(), ["deleted", "conflicts"]), [2, 0]);
        assert_eq!((target.count("store"), target.count("staff")), (0, 0));
    }
}

#[test]
fn what_the_target_would_delete_or_change_with_such_a_cycle_holds_it() {
    for ((from, to), action) in crosswise(["CASCADE", "SET NULL"]) {
        let (project, source, target) = both(from, to, "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n");
        source.run(
            "INSERT INTO store VALUES (1, 1, 't'), (2, 2, 't');
             INSERT INTO staff VALUES (1, 1, 1, 'a', NULL), (2, 2, 2, 'b', NULL)",
        );
        project.copy();
        target.run(&format!(
            "CREATE TABLE badge (staff integer REFERENCES staff (id) ON DELETE {action}); INSERT INTO badge VALUES (2)"
        ));
        source.run("DELETE FROM store; DELETE FROM staff");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let foreseen = |count: &str| -> u64 {
            plan["changes"].as_array().expect("entities").iter().filter_map(|entity| entity[count].as_u64()).sum()
        };
        assert_eq!(["deleted", "conflicts"].map(foreseen), [2, 2], "{from:?} {to:?} {action} {plan}");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(sums(&report, ["deleted", "conflicts"]), [2, 2], "{from:?} {to:?} {action} {report}");
        assert_eq!(target.matching("badge", "staff = 2"), 1, "{from:?} {to:?} {action}");
        target.run("DELETE FROM badge");
        assert_eq!(sums(&project.copy(), ["deleted", "conflicts"]), [2, 0]);
    }
}

#[test]
fn what_the_target_would_do_to_rows_of_such_a_cycle_that_go_themselves_neither_holds_them_nor_hides_them_from_the_count() {
    for (from, to) in PAIRS {
        for action in ["CASCADE", "SET NULL", "RESTRICT"] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            tables(&source, false);
            let (manager, later) = match to {
                Engine::Postgres(_) => ("", "ALTER TABLE store ADD FOREIGN KEY (manager) REFERENCES staff (id)"),
                Engine::Sqlite => (" REFERENCES staff (id)", ""),
            };
            target.run(&format!(
                "CREATE TABLE store (id integer PRIMARY KEY, manager integer NOT NULL{manager}, town text);
                 CREATE TABLE staff (id integer PRIMARY KEY, store integer NOT NULL REFERENCES store (id) ON DELETE {action},
                     mentor integer, name text, deputy integer);
                 {later}"
            ));
            let entities = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n\
                 [[jobs.copy.entities]]\nsource = \"store\"\n[[jobs.copy.entities]]\nsource = \"staff\"\n";
            project.write_job(&source.url(), &target.url(), entities);
            source.run(
                "INSERT INTO store VALUES (1, 1, 't'), (2, 3, 't');
                 INSERT INTO staff VALUES (1, 1, 1, 'a', NULL), (2, 1, 1, 'b', NULL), (3, 2, 3, 'c', NULL)",
            );
            project.copy();
            source.run("DELETE FROM store WHERE id = 1; DELETE FROM staff WHERE store = 1");
            let plan = project.run(["plan", "--json"]).expect(0).json();
            let foreseen = |count: &str| -> u64 {
                plan["changes"].as_array().expect("entities").iter().filter_map(|entity| entity[count].as_u64()).sum()
            };
            assert_eq!(["deleted", "conflicts"].map(foreseen), [3, 0], "{from:?} {to:?} {action} {plan}");
            let report = project.copy();
            assert_eq!(sums(&report, ["deleted", "conflicts"]), [3, 0], "{from:?} {to:?} {action} {report}");
            target.assert_holds(&source, &["store", "staff"]);
            assert_eq!(written_again(&project), NOTHING, "P4");
        }
    }
}

#[test]
fn rows_of_such_a_cycle_that_the_target_holds_already_are_taken_for_what_they_are() {
    for ((from, to), mode) in crosswise(["replace", "append"]) {
        let (project, source, target) = both(from, to, &format!("mode = \"{mode}\"\n"));
        let theirs = "INSERT INTO staff VALUES (1, 1, 1, 'a', NULL), (2, 1, 1, 'b', NULL)";
        match &target {
            Database::Postgres(database) => database.run(
                "WITH s AS (INSERT INTO store VALUES (1, 1, 'theirs')) INSERT INTO staff VALUES (1, 1, 1, 'a', NULL), (2, 1, 1, 'b', NULL)",
            ),
            Database::Sqlite(database) => {
                database.run(&format!("PRAGMA foreign_keys = OFF; INSERT INTO store VALUES (1, 1, 'theirs'); {theirs}"));
            }
        }
        source.run(&format!(
            "INSERT INTO store VALUES (1, 1, 'ours'), (2, 3, 'ours'); {theirs}; INSERT INTO staff VALUES (3, 2, 2, 'c', 1)"
        ));
        let report = project.copy();
        let (expected, town) = if mode == "append" { ([2, 0, 0, 3], "theirs") } else { ([2, 1, 2, 0], "ours") };
        assert_eq!(sums(&report, ["inserted", "updated", "unchanged", "skipped"]), expected, "{from:?} {to:?} {mode} {report}");
        assert_eq!(target.matching("store", &format!("id = 1 AND town = '{town}'")), 1);
        assert_eq!(written_again(&project), NOTHING, "P4");
    }
}

#[test]
fn a_run_that_is_killed_over_such_a_cycle_is_finished_by_the_next() {
    let mut random = Random::seeded("together and killed");
    for (from, to) in PAIRS {
        for commits in [1, 2, 3, 5] {
            let (project, source, target) = both(from, to, REPLACE);
            source.run(&rows(&mut random, 100));
            let mut running = project.start(BATCH);
            running.wait_for_commits(commits);
            running.kill();
            assert_eq!(target.count("store") == 0, target.count("staff") == 0, "all of the cycle commits at once");
            source.run(
                "INSERT INTO store VALUES (101, 401, 'new'); INSERT INTO staff VALUES (401, 101, 402, 'a', NULL), (402, 1, 401, 'b', NULL);
                 UPDATE store SET manager = 402 WHERE id = 1",
            );
            let report = project.copy();
            assert_eq!(sums(&report, ["quarantined", "pending"]), [0, 0], "{from:?} {to:?} {commits} {report}");
            target.assert_holds(&source, &["store", "staff"]);
            assert_eq!(written_again(&project), NOTHING, "P4: {from:?} {to:?} {commits}");
        }
    }
}

#[test]
fn a_deferred_constraint_of_such_a_cycle_and_a_composite_key_are_no_exception() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "CREATE TABLE a (x integer, y text, bx integer NOT NULL, \"by\" text NOT NULL, PRIMARY KEY (x, y));
         CREATE TABLE b (x integer, y text, a integer NOT NULL, ay text NOT NULL, PRIMARY KEY (x, y));
         INSERT INTO a VALUES (1, 'p', 1, 'q'), (2, 'r', 2, 's'), (3, 'orphan', 9, 'q');
         INSERT INTO b VALUES (1, 'q', 2, 'r'), (2, 's', 1, 'p');",
    );
    let target = Postgres::new(Server::Second);
    target.run(
        "CREATE TABLE a (x integer, y text, bx integer NOT NULL, \"by\" text NOT NULL, PRIMARY KEY (x, y));
         CREATE TABLE b (x integer, y text, a integer NOT NULL, ay text NOT NULL, PRIMARY KEY (x, y),
             FOREIGN KEY (a, ay) REFERENCES a (x, y) DEFERRABLE INITIALLY DEFERRED);
         ALTER TABLE a ADD FOREIGN KEY (bx, \"by\") REFERENCES b (x, y);",
    );
    project.write_job(&source.url(), &target.url(), ALLOWING);
    let report = project.run(["run", "--json"]).expect(3).json();
    assert_eq!(sums(&report, ["inserted", "quarantined"]), [4, 1], "{report}");
    assert_eq!(target.count("SELECT count(*) FROM a JOIN b ON (a.bx, a.\"by\") = (b.x, b.y)"), 2);
    source.run("DELETE FROM a WHERE x = 3");
    assert_eq!(written_again(&project), NOTHING);
}

#[test]
fn new_rows_among_many_that_are_known_join_the_ledger_where_they_belong() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run("CREATE TABLE n (id integer PRIMARY KEY, parent integer NOT NULL, v text)");
    target.run(
        "CREATE TABLE n (id integer PRIMARY KEY, parent integer NOT NULL REFERENCES n (id), v text); CREATE INDEX n_parent ON n (parent)",
    );
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }\n");
    let numbers =
        |from: i64, to: i64| format!("WITH RECURSIVE i(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM i WHERE n < {to})");
    // More than one range of ledger blocks; each row refers to one that is far away.
    source.run(&format!("{} INSERT INTO n SELECT n * 10, ((n * 7919) % 40000 + 1) * 10, 'v' FROM i", numbers(1, 40_000)));
    let total = |report: &Value| sums(report, ["inserted", "updated", "deleted", "quarantined"]);
    assert_eq!(total(&project.copy()), [40_000, 0, 0, 0]);
    assert_eq!(total(&project.copy()), [0; 4], "P4");

    // A few here and there that refer to one another, beside others that go; many in one place, and many before and behind all.
    source.run(&format!(
        "{} INSERT INTO n SELECT n * 500 + 5, ((n + 400) % 800 + 1) * 500 + 5, 'w' FROM i;
         UPDATE n SET parent = id WHERE parent % 7000 = 0; DELETE FROM n WHERE id % 7000 = 0;
         {} INSERT INTO n SELECT 200001 + n, 200001 + (n * 3 + 1) % 4, 'x' FROM i;
         {} INSERT INTO n SELECT n, -1 - (-n * 31) % 35000, 'y' FROM i;
         {} INSERT INTO n SELECT n, 500000 + (n * 31) % 1500, 'z' FROM i;
         UPDATE n SET parent = id WHERE parent NOT IN (SELECT id FROM n)",
        numbers(1, 800),
        numbers(0, 3),
        numbers(-35_000, -1),
        numbers(500_000, 501_499)
    ));
    let expected = (source.count("n"), target.count("n"));
    let [inserted, _, deleted, quarantined] = total(&project.copy());
    assert_eq!((inserted, deleted, quarantined), (800 + 4 + 35_000 + 1_500, 57, 0));
    assert_eq!(expected, (40_000 + inserted - deleted, 40_000));
    target.assert_holds(&source, &["n"]);
    assert_eq!(total(&project.copy()), [0; 4], "P4");
    source.run("DELETE FROM n");
    assert_eq!(total(&project.copy())[2], expected.0, "nothing is left that the ledger does not know");
    assert_eq!(target.count("n"), 0);
}

/// Lets a role write rows into all tables of a database, and nothing else.
fn mere_writer(target: &Postgres) -> String {
    target.run(
        "DO $$ BEGIN CREATE ROLE cycle_writer LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cycle_writer; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cycle_writer",
    );
    target.url_as("cycle_writer", None)
}

#[test]
fn rows_of_an_earlier_run_stay_its_own_where_new_ones_join_them_at_the_end() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, REPLACE);
        source.run("INSERT INTO store VALUES (1, 1, 't'), (2, 2, 't'); INSERT INTO staff VALUES (1, 1, 1, 'a', NULL), (2, 2, 2, 'b', NULL), (3, 1, 3, 'c', NULL)");
        project.copy();
        // One changes and one goes, which this job does not delete, while others come behind them.
        source.run(
            "INSERT INTO store VALUES (9, 9, 't'); INSERT INTO staff VALUES (9, 9, 9, 'd', NULL);
             UPDATE staff SET name = 'bb' WHERE id = 2; DELETE FROM staff WHERE id = 3",
        );
        let report = project.copy();
        let counters = ["inserted", "updated", "unchanged", "deleted"];
        assert_eq!(sums(&report, counters), [2, 1, 3, 0], "{from:?} {to:?} {report}");
        assert_eq!((target.count("staff"), target.matching("staff", "id = 3")), (4, 1), "{from:?} {to:?}");
    }
}

/// Takes all rows out, and all that a job remembers of them.
pub(crate) fn empty(target: &Database) {
    match target {
        Database::Postgres(database) => {
            let tables = database.rows(
                "SELECT string_agg(quote_ident(relname), ', ') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
            );
            database.run(&format!(
                "TRUNCATE {} CASCADE; DROP SCHEMA IF EXISTS migrate CASCADE",
                tables[0][0].as_deref().expect("tables")
            ));
        }
        Database::Sqlite(database) => {
            let mut sql = "PRAGMA foreign_keys = OFF;".to_owned();
            for table in database.tables() {
                let verb = if table.starts_with("_migrate") { "DROP TABLE" } else { "DELETE FROM" };
                sql.push_str(&format!("{verb} {};", identifier(&table)));
            }
            database.run(&sql);
        }
    }
}

/// Copies into tables that are there and empty, with all their constraints and triggers, as nobody special; the graph says how.
pub(crate) fn into_live_tables(source: &Database, target: Database, expected: u64, (how, tables): (&str, &[&str])) {
    let project = Project::new();
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    if let Database::Postgres(database) = &target {
        let url = mere_writer(database);
        let printed = project.run(["target", "init", "--print", "--writer", "cycle_writer"]).expect(0).stdout;
        database.run(&printed);
        project.write_job(&source.url(), &url, "mode = \"replace\"\nentities = \"*\"\n");
    }
    let graph = project.run(["graph"]).expect(0).output();
    assert!(graph.contains(how), "{graph}");
    let report = project.copy();
    assert_eq!(sums(&report, ["inserted", "quarantined", "pending"]), [expected, 0, 0], "{report}");
    assert_eq!(written_again(&project), NOTHING, "P4");
    for table in tables {
        assert_eq!(target.count(table), source.count(table), "{table}");
    }
    target.assert_holds(source, &tables[..2]);
    match &target {
        Database::Postgres(database) => {
            assert_eq!(database.count("SELECT count(*) FROM pg_constraint WHERE NOT convalidated"), 0)
        }
        Database::Sqlite(database) => assert_eq!(database.rows("PRAGMA foreign_key_check").len(), 0),
    }
}

const RENTALS: (&str, &[&str]) =
    ("all new rows of the cycle are inserted at once", &["store", "staff", "customer", "rental", "inventory"]);

#[test]
fn sakila_loads_into_its_own_empty_tables_with_every_constraint_live() {
    let project = Project::new();
    let source = Database::Sqlite(Fixture::Sakila.sqlite(project.path()));
    let expected = row_counts(Fixture::Sakila, "sqlite").values().sum();
    for to in [Engine::Sqlite, Engine::Postgres(Server::Second)] {
        let target = Database::new(to, project.path(), "target");
        // Made by a first copy, and then emptied: all constraints are there.
        let making = Project::new();
        making.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
        making.copy();
        empty(&target);
        into_live_tables(&source, target, expected, RENTALS);
    }
}

#[test]
fn pagila_0_10_loads_into_its_own_empty_tables_with_every_constraint_live() {
    let source = Fixture::Pagila0.postgres(Server::First);
    let expected = row_counts(Fixture::Pagila0, "pg").values().sum();
    let target = Database::Postgres(Fixture::Pagila0.postgres(Server::Second));
    empty(&target);
    let source = Database::Postgres(source);
    into_live_tables(&source, target, expected, RENTALS);
    let project = Project::new();
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    project.copy();
    empty(&target);
    into_live_tables(&source, target, expected, RENTALS);
}
