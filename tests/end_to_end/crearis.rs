//! `examples/crearis`: a site with portable keys, filled, replaced, updated and appended to, compared with what SQL over the source says.

use migrate_tests::{Database, Engine, Postgres, Project, Run, Server, Sqlite};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const ENGINES: [Engine; 2] = [Engine::Sqlite, Engine::Postgres(Server::Second)];

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/crearis").join(name);
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Events that arrive, and conditions on them.
const EVENTS: &str = "SELECT xmlid FROM events WHERE json_valid(data)";

/// Each table: its columns at the source, with references that cannot be bound as NULL, and which of its rows arrive; and its columns at the target.
fn tables() -> [(&'static str, String, String, &'static str); 9] {
    let late = format!("CASE WHEN event_xmlid IN ({EVENTS}) THEN event_xmlid END");
    let event = format!("(event_xmlid IS NULL OR event_xmlid IN ({EVENTS}))");
    let author = "user_id IN (SELECT id FROM users)";
    [
        ("users", "id, username, email".into(), "true".into(), "id, username, email"),
        ("projects", "id, domaincode, name, owner_id".into(), "true".into(), "id, domaincode, name, owner_id"),
        (
            "events",
            format!("xmlid, id, name, {late}, project_id, user_id, json(data)"),
            "json_valid(data)".into(),
            "xmlid, master_id, name, event_xmlid, project_id, user_id, data",
        ),
        (
            "locations",
            format!("xmlid, id, name, {late}, project_id"),
            "true".into(),
            "xmlid, master_id, name, event_xmlid, project_id",
        ),
        ("instructors", format!("xmlid, id, name, {late}"), "true".into(), "xmlid, master_id, name, event_xmlid"),
        (
            "posts",
            "xmlid, id, title, body, event_xmlid, project_id, user_id, json(data)".into(),
            format!("{event} AND {author} AND json_valid(data)"),
            "xmlid, master_id, title, body, event_xmlid, project_id, user_id, data",
        ),
        ("participants", "xmlid, id, name, event_xmlid".into(), event.clone(), "xmlid, master_id, name, event_xmlid"),
        ("project_members", "project_id || ' ' || user_id, role".into(), "true".into(), "project_id || ' ' || user_id, role"),
        (
            "pages",
            "project_id || ' ' || page_type, user_id, header".into(),
            format!("(user_id IS NULL OR {author})"),
            "project_id || ' ' || page_type, user_id, header",
        ),
    ]
}

/// Rows that are spelled as JSON arrays, by their first member.
fn by_key(rows: Vec<String>) -> BTreeMap<String, Value> {
    let rows = rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
    rows.map(|row| (row[0].to_string(), row)).collect()
}

struct Example {
    project: Project,
    source: Sqlite,
    target: Database,
}

impl Example {
    fn new(engine: Engine) -> Self {
        let project = Project::new();
        project.write("migrate.toml", &text("migrate.toml"));
        let source = Sqlite::new(project.path().join("crearis.db"));
        source.run(&text("crearis.sql"));
        let target = match engine {
            Engine::Sqlite => Database::Sqlite(Sqlite::new(project.path().join("copy.db"))),
            Engine::Postgres(server) => Database::Postgres(Postgres::new(server)),
        };
        target.run(&text(match engine {
            Engine::Sqlite => "target.sqlite.sql",
            Engine::Postgres(_) => "target.postgresql.sql",
        }));
        Example { project, source, target }
    }

    fn migrate(&self, arguments: &str) -> Run {
        let mut command = self.project.command(arguments.split_whitespace());
        if let Database::Postgres(database) = &self.target {
            command.args(["--target", "staging"]).env("CREARIS_DATABASE_URL", database.url());
        }
        Run::of(command.output().expect("migrate starts"))
    }

    fn set_mode(&self, mode: &str) {
        self.project
            .write("migrate.toml", &text("migrate.toml").replace("mode        = \"init\"", &format!("mode = \"{mode}\"")));
    }

    fn rows(&self, table: &str, columns: &str) -> BTreeMap<String, Value> {
        by_key(match &self.target {
            Database::Sqlite(database) => {
                // JSON as it is, not as a text.
                let columns = columns.strip_suffix(", data").map_or(columns.to_owned(), |rest| format!("{rest}, json(data)"));
                database.texts(&format!("SELECT json_array({columns}) FROM {table}"))
            }
            Database::Postgres(database) => {
                let rows = database.rows(&format!("SELECT json_build_array({columns})::text FROM {table}"));
                rows.into_iter().map(|mut row| row.remove(0).expect("not NULL")).collect()
            }
        })
    }

    /// Asserts that each table holds what SQL over the source says, and nothing else.
    fn assert_complete(&self) {
        for (table, columns, arrives, held) in tables() {
            let wanted = by_key(self.source.texts(&format!("SELECT json_array({columns}) FROM {table} WHERE {arrives}")));
            let found = self.rows(table, held);
            for (key, row) in &wanted {
                assert_eq!(found.get(key), Some(row), "{table} {key}");
            }
            assert_eq!(found.len(), wanted.len(), "{table}");
        }
    }

    /// How many rows SQL over the source says arrive, are refused, and wait for a parent.
    fn expected(&self) -> [u64; 3] {
        let (mut arrive, mut all, mut wait) = (0, 0, 0);
        for (table, _, arrives, _) in tables() {
            arrive += self.source.count(&format!("SELECT count(*) FROM {table} WHERE {arrives}"));
            all += self.source.count(&format!("SELECT count(*) FROM {table}"));
            if ["events", "locations", "instructors"].contains(&table) {
                let open = format!("event_xmlid IS NOT NULL AND event_xmlid NOT IN ({EVENTS})");
                wait += self.source.count(&format!("SELECT count(*) FROM {table} WHERE {arrives} AND {open}"));
            }
        }
        [arrive, all - arrive, wait]
    }
}

fn sums<const N: usize>(run: &Value, names: [&str; N]) -> [u64; N] {
    let entities = run["entities"].as_array().expect("entities");
    names.map(|name| entities.iter().filter_map(|entity| entity[name].as_u64()).sum())
}

const NAMES: [&str; 5] = ["inserted", "updated", "unchanged", "quarantined", "pending"];

#[test]
fn a_site_is_filled_stage_by_stage_as_sql_over_the_source_says_and_a_second_run_writes_nothing() {
    for engine in ENGINES {
        let example = Example::new(engine);
        let [arrive, refused, wait] = example.expected();
        assert_eq!([arrive, refused, wait], [10_790, 10, 5], "the seed is what its file says");
        let report = example.migrate("run --json").expect(3).json();
        assert_eq!(sums(&report, NAMES), [arrive, 0, 0, refused, wait], "{engine:?} {report}");
        example.assert_complete();
        let stages: Vec<(&str, &str)> = report["entities"]
            .as_array()
            .expect("entities")
            .iter()
            .map(|e| (e["stage"].as_str().expect("a stage"), e["name"].as_str().expect("a name")))
            .collect();
        assert_eq!(
            stages.iter().map(|(stage, _)| *stage).collect::<Vec<_>>(),
            ["base", "base", "parts", "parts", "entities", "entities", "assignments", "propagation", "propagation"],
            "{stages:?}"
        );
        let again = example.migrate("run --json").expect(3).json();
        assert_eq!(sums(&again, NAMES), [0, 0, arrive, refused, wait], "P4: {again}");
        // Alone, a stage waits for nobody: the three of it that do are refused until all are moved again.
        let alone = example.migrate("run --stage parts --json").expect(3).json();
        assert_eq!(sums(&alone, NAMES), [0, 0, 2_097, 3, 0], "{engine:?} {alone}");
        let whole = example.migrate("run --json").expect(3).json();
        assert_eq!(sums(&whole, NAMES), [0, 0, arrive, refused, wait], "{engine:?} {whole}");
        example.assert_complete();
        let bodies = |condition: &str| example.source.count(&format!("SELECT count(*) FROM posts WHERE {condition}"));
        assert!(bodies("body = ''") > 600 && bodies("body IS NULL") > 600, "empty and missing texts are told apart");
    }
}

#[test]
fn check_finds_every_row_without_its_parent_before_anything_moves() {
    let example = Example::new(Engine::Sqlite);
    let report = example.migrate("check --json").expect(4).json();
    let findings = report["findings"].as_array().expect("findings").iter().filter(|f| f["passed"] == false);
    let found: Vec<String> = findings.map(|f| format!("{} {}", f["name"], f["message"])).collect();
    for (entity, column, key) in [
        ("events", "event_xmlid", "event-0042"),
        ("locations", "event_xmlid", "location-0007"),
        ("posts", "user_id", "post-0001"),
        ("pages", "user_id", "3"),
    ] {
        assert!(found.iter().any(|f| f.contains(entity) && f.contains(column) && f.contains(key)), "{entity}: {found:#?}");
    }
}

#[test]
fn replace_and_update_bring_changes_over_and_what_waited_or_was_refused_comes_in_with_its_parent() {
    for (engine, mode) in [(ENGINES[0], "replace"), (ENGINES[0], "update"), (ENGINES[1], "replace"), (ENGINES[1], "update")] {
        let example = Example::new(engine);
        let _ = example.migrate("run").expect(3);
        example.set_mode(mode);
        if mode == "replace" {
            example.target.run("UPDATE users SET email = 'overwritten' WHERE id = 7");
        }
        example.source.run(
            "UPDATE events SET data = '{\"seats\": 1}' WHERE xmlid = 'event-0010';
             UPDATE events SET name = 'Fête', event_xmlid = 'event-2000' WHERE xmlid = 'event-0001';
             INSERT INTO events (xmlid, name, project_id, data) VALUES ('event-2000', 'later', 1, '{}'), ('event-9999', 'found', 2, '{}');
             UPDATE users SET username = 'renamed' WHERE id = 7;
             INSERT INTO users VALUES (99999, 'the author', NULL);",
        );
        let [arrive, refused, wait] = example.expected();
        let report = example.migrate("run --json").expect(3).json();
        let [inserted, _, _, quarantined, pending] = sums(&report, NAMES);
        assert_eq!((inserted, quarantined, pending), (arrive - 10_790, refused, wait), "{engine:?} {mode} {report}");
        example.assert_complete();
        let again = example.migrate("run --json").expect(3).json();
        assert_eq!(sums(&again, NAMES), [0, 0, arrive, refused, wait], "P4: {mode} {again}");
    }
}

#[test]
fn append_adds_what_is_new_completes_what_waits_and_leaves_the_rest_alone() {
    for engine in ENGINES {
        let example = Example::new(engine);
        let _ = example.migrate("run").expect(3);
        example.set_mode("append");
        example.source.run(
            "UPDATE projects SET name = 'changed';
             INSERT INTO events (xmlid, name, project_id, data) VALUES ('event-9999', 'found', 2, '{}');
             INSERT INTO participants (xmlid, name, event_xmlid) VALUES ('participant-2000', 'new', 'event-9999');",
        );
        let report = example.migrate("run --json").expect(3).json();
        let [inserted, updated, pending] = sums(&report, ["inserted", "updated", "pending"]);
        assert_eq!((inserted, updated, pending), (2, 1, 4), "{engine:?} {report}");
        assert_eq!(example.target.matching("projects", "name = 'changed'"), 0);
        assert_eq!(example.target.matching("events", "xmlid = 'event-0042' AND event_xmlid = 'event-9999'"), 1);
        assert_eq!(
            example.rows("participants", "xmlid, name, event_xmlid")["\"participant-2000\""],
            json!(["participant-2000", "new", "event-9999"])
        );
    }
}
