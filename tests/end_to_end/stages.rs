//! Stages: entities are moved in the order that the job names, as far as references allow it.

use migrate_tests::{Database, Engine, PAIRS, Project, Server};
use serde_json::{Value, json};

const SOURCE: &str = "CREATE TABLE team (id integer PRIMARY KEY, name text);
    CREATE TABLE member (id integer PRIMARY KEY, team integer, mentor integer);
    CREATE TABLE note (id integer PRIMARY KEY, member integer NOT NULL);
    INSERT INTO team VALUES (1, 'a'), (2, 'b');
    INSERT INTO member VALUES (1, 2, 3), (2, 1, NULL), (3, 7, 1);
    INSERT INTO note VALUES (1, 1), (2, 3);";

const TARGET: &str = "CREATE TABLE team (id integer PRIMARY KEY, name text);
    CREATE TABLE member (id integer PRIMARY KEY, team integer REFERENCES team (id), mentor integer REFERENCES member (id));
    CREATE TABLE note (id integer PRIMARY KEY, member integer NOT NULL REFERENCES member (id));";

fn stages(stages: &[(&str, &str)]) -> String {
    stages.iter().map(|(name, entities)| format!("[[jobs.copy.stages]]\nname = \"{name}\"\nentities = {entities}\n")).collect()
}

fn staged(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    document["entities"].as_array().expect("entities").iter().map(|e| (text(&e["stage"]), text(&e["name"]))).collect()
}

#[test]
fn a_stage_before_its_parents_binds_late_and_everything_arrives_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "a"), Database::new(to, project.path(), "b"));
        source.run(SOURCE);
        target.run(TARGET);
        // `team` is after those who refer to it, `note` in whatever stage takes the rest.
        let order = stages(&[("people", "[\"member\"]"), ("rest", "\"*\""), ("last", "[\"team\"]")]);
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\norphans = \"allow\"\n{order}"));
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let expected = [("people", "member"), ("rest", "note"), ("last", "team")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(staged(&plan), expected, "{plan}");
        assert_eq!(plan["stages"][0], json!({ "name": "people", "derived": false, "entities": ["member"] }));
        let notes = plan["notes"].to_string();
        assert!(notes.contains("member: (team) refers to team in a later stage"), "{notes}");

        let run = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(staged(&run), expected, "{run}");
        // The team of the third is nowhere.
        assert_eq!(run["entities"][0]["pending"], 1, "{run}");
        assert_eq!(target.matching("member", "id = 1 AND team = 2 AND mentor = 3"), 1);
        assert_eq!(target.matching("member", "id = 3 AND team IS NULL AND mentor = 1"), 1);
        assert_eq!(target.count("note"), 2);

        // WHEN the team comes THEN its member is completed
        source.run("INSERT INTO team VALUES (7, 'c')");
        let run = project.copy();
        assert_eq!((&run["entities"][0]["updated"], &run["entities"][0]["pending"]), (&json!(1), &json!(0)), "{run}");
        target.assert_holds(&source, if to == Engine::Sqlite && from == to { &[] } else { &["team", "member", "note"] });

        let id = run["execution_id"].as_str().expect("an id");
        let record = project.run(["executions", "show", id, "--json"]).expect(0).json();
        assert_eq!(staged(&record), expected, "{record}");
        let shown = project.run(["executions", "show", id]).expect(0).stdout;
        assert!(shown.lines().any(|line| line.starts_with("member") && line.ends_with("people")), "{shown}");
    }
}

#[test]
fn a_stage_that_contradicts_a_reference_which_cannot_wait_is_refused_by_its_name_also_where_tables_are_made() {
    for exists in [true, false] {
        let project = Project::new();
        let (source, target) = (
            Database::new(Engine::Sqlite, project.path(), "a"),
            Database::new(Engine::Postgres(Server::First), project.path(), "b"),
        );
        source.run(TARGET);
        if exists {
            target.run(TARGET);
        }
        let order = stages(&[("details", "[\"note\"]"), ("base", "\"*\"")]);
        project.write_job(&source.url(), &target.url(), &order);
        for command in ["plan", "run"] {
            project.run([command]).expect(2).says(&["\"details\" comes before \"base\"", "note refers by (member) to member"]);
        }
        let graph = project.run(["graph"]).expect(0).stdout;
        assert!(graph.contains("cannot wait: a run is refused"), "{graph}");
        assert_eq!(target.count("team"), 0);
    }
}

#[test]
fn details_that_are_written_once_cannot_come_before_their_parents_unless_these_are_given_ids() {
    const TABLES: &str = "CREATE TABLE orders (id integer PRIMARY KEY, code text NOT NULL UNIQUE);
        CREATE TABLE lines (order_id integer REFERENCES orders (id), item text);";
    for (from, to) in PAIRS {
        let order = stages(&[("details", "[\"lines\"]"), ("base", "[\"orders\"]")]);
        let bound = "references = [{ columns = [\"order_id\"], entity = \"orders\", bind = \"late\" }]\n";
        for set in ["", "replace_per = [\"order_id\"]\n"] {
            for (exists, order, reference) in
                [(true, &order[..], ""), (false, &order[..], ""), (true, "", bound), (false, "", bound)]
            {
                let case = format!("{from:?} {to:?} {set} {exists} {reference}");
                let project = Project::new();
                let (source, target) = (Database::new(from, project.path(), "a"), Database::new(to, project.path(), "b"));
                source.run(TABLES);
                source.run("INSERT INTO orders VALUES (1, 'a'); INSERT INTO lines VALUES (1, 'x')");
                if exists {
                    target.run(TABLES);
                }
                let entities = format!(
                    "[[jobs.copy.entities]]\nsource = \"orders\"\n[[jobs.copy.entities]]\nsource = \"lines\"\n{set}{reference}"
                );
                project.write_job(&source.url(), &target.url(), &format!("{order}{entities}"));
                for command in ["plan", "run"] {
                    let refused = project.run([command]).expect(2);
                    refused.says(&["lines", "order_id", "orders", "without a key", "written once"]);
                }
                assert_eq!(target.count("orders"), 0, "{case}");
                if exists {
                    continue;
                }
                // In the order of the references they arrive.
                project.write_job(&source.url(), &target.url(), &entities.replace(reference, ""));
                project.copy();
                assert_eq!(target.matching("lines", "order_id = 1"), 1, "{case}");
            }
        }
        // Ids that the target gives are known only once their rows are there, and NULL stands in their place.
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "a"), Database::new(to, project.path(), "b"));
        source.run(TABLES);
        source.run("INSERT INTO orders VALUES (71, 'a'); INSERT INTO lines VALUES (71, 'x')");
        let serial = if to == Engine::Sqlite { "INTEGER PRIMARY KEY" } else { "serial PRIMARY KEY" };
        target.run(&TABLES.replace("integer PRIMARY KEY", serial));
        let entities = "[[jobs.copy.entities]]\nsource = \"orders\"\nkey = [\"code\"]\ngenerated = [\"id\"]\n\
                        [[jobs.copy.entities]]\nsource = \"lines\"\nreplace_per = [\"order_id\"]\n";
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{order}{entities}"));
        project.copy();
        assert_eq!(target.matching("lines", "order_id IN (SELECT id FROM orders)"), 1, "{from:?} {to:?}");
    }
}

#[test]
fn one_stage_runs_alone_and_entities_without_a_stage_or_stages_without_entities_are_refused() {
    let project = Project::new();
    let (source, target) =
        (Database::new(Engine::Sqlite, project.path(), "a"), Database::new(Engine::Sqlite, project.path(), "b"));
    source.run(SOURCE);
    project.write_job(&source.url(), &target.url(), &stages(&[("base", "[\"team\"]"), ("people", "\"*\"")]));
    let run = project.run(["run", "--json", "--stage", "base"]).expect(0).json();
    assert_eq!(staged(&run), [("base".to_owned(), "team".to_owned())]);
    assert_eq!((target.count("team"), target.count("member")), (2, 0));
    let both = project.run(["run", "--json", "--stage", "base", "--entity", "note"]).expect(0).json();
    assert_eq!(staged(&both).len(), 2, "{both}");
    project.run(["run", "--stage", "bases"]).expect(2).says(&["no stage \"bases\"", "did you mean \"base\"?"]);

    let graph = project.run(["graph", "--format", "dot"]).expect(0).stdout;
    assert!(graph.contains("label = \"people\""), "{graph}");
    let graph = project.run(["graph", "--format", "mermaid"]).expect(0).stdout;
    assert!(graph.contains("subgraph s0[\"base\"]"), "{graph}");

    for (order, expected) in [
        (vec![("base", "[\"team\"]")], "no stage names member, note"),
        (vec![("base", "[\"teams\"]"), ("rest", "\"*\"")], "names \"teams\", but the job has no such entity"),
        (vec![("base", "[]"), ("rest", "\"*\"")], "has no entities"),
        (vec![("base", "\"*\""), ("rest", "\"*\"")], "but another one does, too"),
        (vec![("base", "[\"team\"]"), ("rest", "[\"team\"]")], "in the stage \"base\" and in the stage \"rest\""),
    ] {
        project.write_job(&source.url(), &target.url(), &stages(&order));
        project.run(["plan"]).expect(2).says(&[expected]);
    }
    project.write_job(&source.url(), &target.url(), "");
    project.run(["run", "--stage", "base"]).expect(2).says(&["the job has no stages"]);
}

#[test]
fn a_job_without_stages_shows_those_that_its_references_make() {
    let project = Project::new();
    let (source, target) =
        (Database::new(Engine::Sqlite, project.path(), "a"), Database::new(Engine::Sqlite, project.path(), "b"));
    source.run(TARGET);
    project.write_job(&source.url(), &target.url(), "");
    let plan = project.run(["plan", "--json"]).expect(0).json();
    assert_eq!(
        plan["stages"],
        json!([
            { "name": "level 0", "derived": true, "entities": ["team"] },
            { "name": "level 1", "derived": true, "entities": ["member"] },
            { "name": "level 2", "derived": true, "entities": ["note"] },
        ])
    );
    let text = project.run(["plan"]).expect(0).stdout;
    assert!(text.lines().any(|line| line.contains("member") && line.ends_with("level 1")), "{text}");
}
