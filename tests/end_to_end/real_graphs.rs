//! The references of real databases: into tables that exist, with every constraint live; and beside a copy of themselves, under ids that
//! the target gives, where every id is taken already and so every row gets another one. What is compared then is joined by independent SQL
//! over what the rows say, never over their ids.

use crate::together::{empty, into_live_tables};
use migrate_tests::{Database, Engine, Fixture, PAIRS, Project, Server, row_counts};
use serde_json::Value;

/// Each table that has an id of its own, and its id.
const NUMBERED: [&str; 12] =
    ["country", "city", "address", "language", "category", "actor", "store", "staff", "customer", "film", "inventory", "rental"];

/// What every row says of those that it refers to, in each of the rental stores. `[x]` is a moment, to be printed alike by both engines.
const RENTALS: [(&str, &str); 10] = [
    ("city", "SELECT t.city || '/' || o.country FROM city t JOIN country o ON o.country_id = t.country_id"),
    (
        "address",
        "SELECT a.address || '/' || a.district || '/' || a.phone || '/' || c.city || '/' || o.country FROM address a \
         JOIN city c ON c.city_id = a.city_id JOIN country o ON o.country_id = c.country_id",
    ),
    (
        "store",
        "SELECT a.address || '/' || m.username || '/' || b.address || '/' || x.address FROM store s JOIN address a ON a.address_id = s.address_id \
         JOIN staff m ON m.staff_id = s.manager_staff_id JOIN store h ON h.store_id = m.store_id JOIN address b ON b.address_id = h.address_id \
         JOIN address x ON x.address_id = m.address_id",
    ),
    (
        "staff",
        "SELECT p.username || '/' || p.first_name || '/' || a.address || '/' || b.address || '/' || m.username FROM staff p \
         JOIN address a ON a.address_id = p.address_id JOIN store s ON s.store_id = p.store_id JOIN address b ON b.address_id = s.address_id \
         JOIN staff m ON m.staff_id = s.manager_staff_id",
    ),
    (
        "customer",
        "SELECT c.email || '/' || c.last_name || '/' || a.address || '/' || b.address FROM customer c JOIN address a ON a.address_id = c.address_id \
         JOIN store s ON s.store_id = c.store_id JOIN address b ON b.address_id = s.address_id",
    ),
    (
        "film",
        "SELECT f.title || '/' || trim(l.name) || '/' || COALESCE(trim(o.name), '-') FROM film f JOIN language l ON l.language_id = f.language_id \
         LEFT JOIN language o ON o.language_id = f.original_language_id",
    ),
    (
        "film_actor",
        "SELECT a.first_name || '/' || a.last_name || '/' || f.title FROM film_actor x JOIN actor a ON a.actor_id = x.actor_id \
         JOIN film f ON f.film_id = x.film_id",
    ),
    (
        "film_category",
        "SELECT c.name || '/' || f.title FROM film_category x JOIN category c ON c.category_id = x.category_id JOIN film f ON f.film_id = x.film_id",
    ),
    (
        "inventory",
        "SELECT f.title || '/' || b.address FROM inventory i JOIN film f ON f.film_id = i.film_id JOIN store s ON s.store_id = i.store_id \
         JOIN address b ON b.address_id = s.address_id",
    ),
    (
        "rental",
        "SELECT [r.rental_date] || '/' || f.title || '/' || b.address || '/' || c.email || '/' || p.username FROM rental r \
         JOIN inventory i ON i.inventory_id = r.inventory_id JOIN film f ON f.film_id = i.film_id JOIN store s ON s.store_id = i.store_id \
         JOIN address b ON b.address_id = s.address_id JOIN customer c ON c.customer_id = r.customer_id JOIN staff p ON p.staff_id = r.staff_id",
    ),
];

/// The same of a table of payments.
const PAYMENT: &str = "SELECT [t.payment_date] || '/' || c.email || '/' || p.username || '/' || COALESCE([r.rental_date], '-') || '/' || COALESCE(f.title, '-') \
    FROM {} t JOIN customer c ON c.customer_id = t.customer_id JOIN staff p ON p.staff_id = t.staff_id \
    LEFT JOIN rental r ON r.rental_id = t.rental_id LEFT JOIN inventory i ON i.inventory_id = r.inventory_id LEFT JOIN film f ON f.film_id = i.film_id";

fn texts(database: &Database, sql: &str) -> Vec<String> {
    let mut pieces = sql.split(['[', ']']);
    let mut text = pieces.next().expect("a query").to_owned();
    while let (Some(moment), Some(rest)) = (pieces.next(), pieces.next()) {
        text.push_str(&match database {
            Database::Postgres(_) => format!("to_char({moment}::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"),
            Database::Sqlite(_) => format!("substr(replace({moment}, 'T', ' '), 1, 19)"),
        });
        text.push_str(rest);
    }
    let mut texts: Vec<String> = match database {
        Database::Postgres(database) => database.rows(&text).into_iter().map(|row| row[0].clone().expect("no NULL")).collect(),
        Database::Sqlite(database) => database.texts(&text),
    };
    texts.sort();
    texts
}

fn sum(report: &Value, counter: &str) -> u64 {
    report["entities"].as_array().expect("entities").iter().filter_map(|entity| entity[counter].as_u64()).sum()
}

/// Which tables hold a fixture's payments, and what their key is where ids are not given anew.
struct Payments {
    tables: &'static [&'static str],
    key: &'static [&'static str],
    generated: bool,
}

fn payments(fixture: Fixture) -> Payments {
    match fixture {
        Fixture::Pagila3 => Payments { tables: &["payment"], key: &["payment_date", "payment_id"], generated: false },
        Fixture::Pagila0 => Payments {
            tables: &["payment_p2015_01", "payment_p2015_02", "payment_p2015_03", "payment_p2015_04", "payment_p2015_05"],
            key: &["payment_id"],
            generated: false,
        },
        Fixture::Sakila | Fixture::Chinook => Payments { tables: &["payment"], key: &["payment_id"], generated: true },
    }
}

/// The job that moves every table a second time, under new ids.
fn entities_again(fixture: Fixture) -> String {
    let mut entities = String::new();
    for table in NUMBERED {
        entities.push_str(&format!("[[jobs.again.entities]]\nsource = \"{table}\"\ngenerated = [\"{table}_id\"]\n"));
        if (fixture, table) == (Fixture::Pagila3, "store") {
            // The only reference that this schema does not declare.
            entities.push_str("references = [{ columns = [\"manager_staff_id\"], entity = \"staff\" }]\n");
        }
    }
    for table in ["film_actor", "film_category"] {
        entities.push_str(&format!("[[jobs.again.entities]]\nsource = \"{table}\"\n"));
    }
    let Payments { tables, key, generated } = payments(fixture);
    for table in tables {
        let generated = if generated { "generated = [\"payment_id\"]\n" } else { "" };
        entities.push_str(&format!("[[jobs.again.entities]]\nsource = \"{table}\"\nkey = {key:?}\n{generated}"));
    }
    entities
}

/// Copies a fixture, and then once more beside the copy.
fn goes_in_beside_itself(fixture: Fixture, source: &Database, to: Engine) {
    let project = Project::new();
    let target = Database::new(to, project.path(), "target");
    let all = "mode = \"replace\"\nentities = \"*\"\n";
    project.write_job(&source.url(), &target.url(), all);
    project.copy();
    let Payments { tables, generated, .. } = payments(fixture);
    for table in tables.iter().filter(|_| !generated) {
        // Their ids are part of the key.
        target.run(&format!("DELETE FROM {table}"));
    }
    let entities = entities_again(fixture);
    let again =
        format!("{all}[jobs.again]\nshares_tables = true\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n{entities}");
    project.write_job(&source.url(), &target.url(), &again);
    let plan = project.run(["plan", "again"]).expect(0).output();
    assert!(plan.contains("inserted at once, by one transaction"), "{plan}");
    let planned = project.run(["plan", "again", "--json"]).expect(0).json();
    let report = project.run(["run", "again", "--json"]).expect(0).json();
    let inserted = sum(&report, "read");
    assert_eq!(
        ["inserted", "updated", "quarantined", "pending"].map(|c| sum(&report, c)),
        [inserted, 0, 0, 0],
        "{to:?} {report}"
    );
    let foreseen: u64 = planned["changes"].as_array().expect("changes").iter().filter_map(|c| c["inserted"].as_u64()).sum();
    assert_eq!(foreseen, inserted, "P7: {to:?} {planned}");
    let compare = |what: &str, sql: &str, times: usize| {
        let expected = texts(source, sql);
        assert!(!expected.is_empty(), "{what}");
        let mut expected: Vec<String> = std::iter::repeat_n(expected, times).flatten().collect();
        expected.sort();
        assert!(texts(&target, sql) == expected, "{fixture:?} {to:?}: {what} differ");
    };
    for (what, sql) in RENTALS {
        compare(what, sql, 2);
    }
    for table in tables {
        compare(table, &PAYMENT.replace("{}", table), if generated { 2 } else { 1 });
    }
    match &target {
        Database::Postgres(database) => {
            assert_eq!(database.count("SELECT count(*) FROM pg_constraint WHERE NOT convalidated"), 0)
        }
        Database::Sqlite(database) => assert_eq!(database.rows("PRAGMA foreign_key_check").len(), 0),
    }
    let second = project.run(["run", "again", "--json"]).expect(0).json();
    assert_eq!(["inserted", "updated", "deleted", "pending"].map(|c| sum(&second, c)), [0; 4], "P4: {to:?} {second}");
    let _ = project.run(["verify", "again"]).expect(0);
}

#[test]
fn pagila_3_goes_in_beside_itself_under_new_ids() {
    for to in [Engine::Postgres(Server::Second), Engine::Sqlite] {
        goes_in_beside_itself(Fixture::Pagila3, &Database::Postgres(Fixture::Pagila3.postgres(Server::First)), to);
    }
}

#[test]
fn pagila_0_10_with_its_cycle_goes_in_beside_itself_under_new_ids() {
    for to in [Engine::Postgres(Server::Second), Engine::Sqlite] {
        goes_in_beside_itself(Fixture::Pagila0, &Database::Postgres(Fixture::Pagila0.postgres(Server::First)), to);
    }
}

#[test]
fn sakila_with_its_cycle_goes_in_beside_itself_under_new_ids() {
    let project = Project::new();
    let source = Database::Sqlite(Fixture::Sakila.sqlite(project.path()));
    for to in [Engine::Postgres(Server::Second), Engine::Sqlite] {
        goes_in_beside_itself(Fixture::Sakila, &source, to);
    }
}

#[test]
fn chinook_loads_into_its_own_empty_tables_with_every_constraint_live_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, engine, tables) = match from {
            Engine::Postgres(server) => {
                (Database::Postgres(Fixture::Chinook.postgres(server)), "pg", ["employee", "customer", "track", "invoice_line"])
            }
            Engine::Sqlite => (
                Database::Sqlite(Fixture::Chinook.sqlite(project.path())),
                "sqlite",
                ["Employee", "Customer", "Track", "InvoiceLine"],
            ),
        };
        let target = Database::new(to, project.path(), "target");
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
        project.copy();
        empty(&target);
        let expected = row_counts(Fixture::Chinook, engine).values().sum();
        into_live_tables(&source, target, expected, ("NULL until the parent is there", &tables));
    }
}

#[test]
fn pagila_3_loads_into_empty_tables_of_sqlite_with_every_constraint_live() {
    let project = Project::new();
    let source = Database::Postgres(Fixture::Pagila3.postgres(Server::First));
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let expected = sum(&project.copy(), "read");
    empty(&target);
    into_live_tables(&source, target, expected, ("parents load first", &["store", "staff", "customer", "rental", "inventory"]));
}
