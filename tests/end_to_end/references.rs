//! References between entities: declared by the databases or by the job file, looked at before anything moves.

use migrate_tests::{Database, Engine, PAIRS, Project};
use serde_json::{Value, json};

/// Nothing of this is declared: posts belong to an event by its portable key, and speak about an event or a user.
const TABLES: &str = "CREATE TABLE events (id integer PRIMARY KEY, xmlid text NOT NULL UNIQUE, part_of text);
    CREATE TABLE users (id integer PRIMARY KEY, name text);
    CREATE TABLE posts (id integer PRIMARY KEY, event_xmlid text, about_type text, about_id integer);
    INSERT INTO events VALUES (1, 'e1', NULL), (2, 'e2', 'e1'), (3, 'e3', 'gone');
    INSERT INTO users VALUES (1, 'u1');
    INSERT INTO posts VALUES (1, 'e1', 'event', 2), (2, NULL, 'event', 9), (3, 'e9', 'user', 1), (4, 'e9', 'user', 2), (5, 'e8', 'other', 77);";

const ENTITIES: &str = "mode = \"replace\"
    [[jobs.copy.entities]]
    source = \"posts\"
    columns = { rename = { event_xmlid = \"event\" } }
    references = [
        { columns = [\"event_xmlid\"], entity = \"events\", key = [\"xmlid\"] },
        { columns = [\"about_id\"], entity = \"events\", when = { about_type = \"event\" } },
        { columns = [\"about_id\"], entity = \"users\", when = { about_type = \"user\" } },
    ]
    [[jobs.copy.entities]]
    source = \"users\"
    [[jobs.copy.entities]]
    source = \"events\"
    references = [{ columns = [\"part_of\"], entity = \"events\", key = [\"xmlid\"] }]
    ";

fn finding<'r>(report: &'r Value, name: &str) -> &'r Value {
    let findings = report["findings"].as_array().expect("the check lists what it found");
    findings.iter().find(|f| f["name"] == name).unwrap_or_else(|| panic!("{name} in {report:#}"))
}

#[test]
fn references_that_the_job_declares_decide_the_order_and_are_drawn() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    source.run(TABLES);
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    project.write_job(&source.url(), &target.url(), ENTITIES);
    let graph = project.run(["graph", "--format", "json"]).expect(0).json();
    let levels = graph["entities"].as_array().expect("entities").iter();
    let levels: Vec<(&str, u64)> =
        levels.map(|e| (e["name"].as_str().expect("a name"), e["level"].as_u64().expect("a level"))).collect();
    assert_eq!(levels, [("users", 0), ("events", 0), ("posts", 1)]);
    assert_eq!(graph["cycles"], json!([["events"]]));
    let references = graph["references"].as_array().expect("references");
    let of_type = references.iter().find(|r| r["when"] == json!(["about_type = user"])).expect("the reference to users");
    assert_eq!(
        (&of_type["child"], &of_type["parent"], &of_type["binding"]),
        (&json!("posts"), &json!("users"), &json!("unchecked"))
    );
    let renamed = references.iter().find(|r| r["columns"] == json!(["event"])).expect("the reference by the portable key");
    assert_eq!((&renamed["parent_columns"], &renamed["declared"]), (&json!(["xmlid"]), &json!(true)));
    let text = project.run(["graph"]).expect(0).output();
    assert!(text.contains("about_id where about_type = event") && text.contains("named by the job file"), "{text}");
    project.write_job(&source.url(), &target.url(), &format!("orphans = \"allow\"\n{ENTITIES}"));
    let order = project.copy();
    let order: Vec<&str> = order["entities"].as_array().expect("entities").iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(order, ["users", "events", "posts"]);
}

#[test]
fn check_finds_rows_without_a_parent_before_anything_moves_from_either_engine() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(TABLES);
        project.write_job(&source.url(), &target.url(), ENTITIES);
        let report = project.run(["check", "--json"]).expect(4).json();
        for (name, passed, message) in [
            ("posts: reference (event) to events", false, "3 rows have no parent, among them those of the keys 3; 4; 5"),
            ("posts: reference (about_id) to events", false, "1 row has no parent, among them those of the keys 2"),
            ("posts: reference (about_id) to users", false, "1 row has no parent, among them those of the keys 4"),
            ("events: reference (part_of) to events", false, "1 row has no parent, among them those of the keys 3"),
        ] {
            let finding = finding(&report, name);
            assert_eq!(finding["passed"], passed, "{from:?} to {to:?}: {finding}");
            assert!(finding["message"].as_str().is_some_and(|m| m.starts_with(message)), "{from:?} to {to:?}: {finding}");
        }
        source.run("UPDATE posts SET event_xmlid = 'e3', about_type = 'other'; UPDATE events SET part_of = 'e3'");
        let report = project.run(["check", "--json"]).expect(0).json();
        assert_eq!(finding(&report, "posts: reference (event) to events")["message"], "every row has its parent");
    }
}

#[test]
fn check_tells_what_a_live_constraint_will_refuse_from_what_only_the_target_has() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE p (id integer PRIMARY KEY); CREATE TABLE c (id integer PRIMARY KEY, p integer);
             INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (10, 1), (20, 3), (30, NULL)",
        );
        target
            .run("CREATE TABLE p (id integer PRIMARY KEY); CREATE TABLE c (id integer PRIMARY KEY, p integer REFERENCES p (id))");
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n");
        let report = project.run(["check", "--json"]).expect(4).json();
        let message = finding(&report, "c: reference (p) to p")["message"].as_str().expect("a message").to_owned();
        assert_eq!(
            message,
            "1 row has no parent, among them those of the keys 20: a run is refused then, unless orphans says otherwise"
        );
        target.run("INSERT INTO p VALUES (3)");
        let report = project.run(["check", "--json"]).expect(0).json();
        let finding = finding(&report, "c: reference (p) to p");
        assert_eq!(finding["message"], "1 row refers to a row that only the target has", "{from:?} to {to:?}");
        let entity = &project.copy()["entities"][1];
        assert_eq!((&entity["name"], &entity["inserted"]), (&json!("c"), &json!(3)));
    }
}

#[test]
fn a_declared_reference_to_what_is_not_there_is_refused_by_name() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    source.run("CREATE TABLE p (id INTEGER PRIMARY KEY, a, b); CREATE TABLE c (id INTEGER PRIMARY KEY, pp INTEGER)");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    for (reference, expected) in [
        ("{ columns = [\"p\"], entity = \"p\" }", "has no column \"p\"; did you mean \"pp\"?"),
        ("{ columns = [\"pp\"], entity = \"q\" }", "no entity \"q\" to refer to"),
        ("{ columns = [\"pp\"], entity = \"p\", key = [\"a\", \"b\"] }", "numbers of columns differ"),
        ("{ columns = [\"pp\", \"id\"], entity = \"p\" }", "does not fit the key (id)"),
        ("{ columns = [\"pp\"], entity = \"p\", when = { kind = 1 } }", "has no column \"kind\""),
        ("{ columns = [\"pp\"] }", "entity"),
    ] {
        let entities = format!(
            "[[jobs.copy.entities]]\nsource = \"p\"\n[[jobs.copy.entities]]\nsource = \"c\"\nreferences = [{reference}]\n"
        );
        project.write_job(&source.url(), &target.url(), &entities);
        let run = project.run(["run"]).expect(2);
        run.says(&[expected]);
    }
}
