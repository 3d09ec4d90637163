//! Plans that count every row, and runs that do what was planned or nothing.

use migrate_tests::{Database, Engine, PAIRS, Project, Run, Server};
use serde_json::Value;

const TABLES: &str = "
    CREATE TABLE parent (id integer PRIMARY KEY, name text);
    CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent (id), amount numeric(9, 2));";

const ROWS: &str = "
    INSERT INTO parent WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i, 'name ' || i FROM n;
    INSERT INTO child WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, 1 + i % 300, i FROM n;";

const COUNTERS: [&str; 8] = ["read", "inserted", "updated", "unchanged", "skipped", "filtered", "quarantined", "deleted"];

fn counts(entities: &Value) -> Vec<(String, Vec<u64>)> {
    let entities = entities.as_array().expect("a list of entities").iter();
    let mut counts: Vec<_> = entities
        .map(|e| {
            let counters = COUNTERS.iter().map(|c| e[c].as_u64().unwrap_or_else(|| panic!("{c} of {e}"))).collect();
            (e["name"].as_str().expect("a name").to_owned(), counters)
        })
        .collect();
    counts.sort();
    counts
}

fn prints(run: &Run, pieces: &[&str]) {
    for piece in pieces {
        assert!(run.output().contains(piece), "{piece:?} is expected in:\n{}", run.output());
    }
}

#[test]
fn a_plan_counts_what_the_run_then_does_in_every_direction_and_writes_nothing() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(&format!("{TABLES}{ROWS}"));
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = \"hard\"\n");
        // First into nothing, then twice into what is there.
        for changes in [
            "",
            "UPDATE child SET amount = amount + 1 WHERE id % 10 = 0; DELETE FROM child WHERE parent = 7; DELETE FROM parent WHERE id = 7;
             INSERT INTO parent VALUES (1000, 'new')",
            "",
        ] {
            source.run(changes);
            let before = ["parent", "child"].map(|table| target.count(table));
            let plan = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(["parent", "child"].map(|table| target.count(table)), before, "{from:?} to {to:?}");
            let planned = project.run(["run", "--json", "--plan", plan["hash"].as_str().expect("a hash")]).expect(0).json();
            assert_eq!(counts(&plan["changes"]), counts(&planned["entities"]), "{from:?} to {to:?}");
        }
        target.assert_holds(&source, &["parent", "child"]);
    }
}

#[test]
fn a_plan_leaves_an_empty_target_empty() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = project.path().join("target.sqlite");
    source.run(&format!("{TABLES}{ROWS}"));
    project.write_job(&source.url(), &format!("sqlite:{}", target.display()), "");
    prints(&project.run(["plan"]).expect(0), &["parent", "child", "300", "900", "Nothing was written"]);
    assert!(!target.exists(), "not even the file is made");
    assert!(!project.path().join("migrate.db").exists(), "nor a store");
}

#[test]
fn a_run_refuses_a_plan_that_the_data_has_left_behind() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Postgres(Server::First), project.path(), "target");
    source.run(&format!("{TABLES}{ROWS}"));
    project.write_job(&source.url(), &target.url(), "");
    project.copy();
    source.run("UPDATE parent SET name = 'one' WHERE id = 1");
    let hash = project.run(["plan", "--json"]).expect(0).json()["hash"].as_str().expect("a hash").to_owned();
    source.run("UPDATE parent SET name = 'two' WHERE id = 1");
    project.run(["run", "--plan", &hash]).expect(5).says(&["does not hold any more"]);
    let Database::Postgres(database) = &target else { unreachable!("it is one") };
    assert_eq!(database.value("SELECT name FROM parent WHERE id = 1").as_deref(), Some("name 1"));
    source.run("UPDATE parent SET name = 'one' WHERE id = 1");
    assert_eq!(project.run(["run", "--plan", &hash, "--json"]).expect(0).json()["entities"][0]["updated"], 1);
    assert_eq!(database.value("SELECT name FROM parent WHERE id = 1").as_deref(), Some("one"));
}

#[test]
fn changed_columns_are_named_and_their_values_shown_only_on_request() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run(&format!("{TABLES}{ROWS}"));
    project.write_job(&source.url(), &target.url(), "");
    project.copy();
    source.run("UPDATE parent SET name = 'secret after' WHERE id = 5; UPDATE parent SET name = NULL WHERE id = 6");
    for arguments in [&["plan"][..], &["plan", "--json"]] {
        let run = project.run(arguments).expect(0);
        prints(&run, &["name"]);
        assert!(!run.output().contains("secret after") && !run.output().contains("name 5"), "{}", run.output());
    }
    let run = project.run(["plan", "--show-values"]).expect(0);
    prints(&run, &["\"name 5\" → \"secret after\"", "\"name 6\" → NULL"]);
    let printed = project.run(["plan", "--out", "plan.json"]).expect(0);
    let written = std::fs::read_to_string(project.path().join("plan.json")).expect("the file is there");
    let hash = serde_json::from_str::<Value>(&written).expect("it is JSON")["hash"].as_str().expect("a hash").to_owned();
    prints(&printed, &[&hash]);
}
