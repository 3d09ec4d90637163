//! References of the target's rows that lead nowhere, and how they are listed.

use migrate_tests::{Database, Engine, PAIRS, Project};
use serde_json::{Value, json};

/// Two entities of which one refers to the other and to itself, as the job file says.
fn job(policy: &str) -> String {
    format!(
        "mode = \"replace\"
         {policy}
         [[jobs.copy.entities]]
         source = \"team\"
         [[jobs.copy.entities]]
         source = \"player\"
         references = [{{ columns = [\"team\"], entity = \"team\" }}, {{ columns = [\"captain\"], entity = \"player\" }}]\n"
    )
}

const SOURCE: &str = "CREATE TABLE team (id integer PRIMARY KEY);
    CREATE TABLE player (id integer PRIMARY KEY, team integer, captain integer);
    INSERT INTO team VALUES (1), (2);
    INSERT INTO player VALUES (1, 1, NULL), (2, 2, 3), (3, 99, 1), (4, NULL, 77), (5, 98, 78), (6, 99, 6);";

fn sides(project: &Project, (from, to): (Engine, Engine)) -> (Database, Database) {
    let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
    source.run(SOURCE);
    (source, target)
}

/// What is listed: entity, columns, state, rows, and their keys with those of the parents.
fn listed(project: &Project) -> Vec<(String, String, u64, Vec<String>)> {
    let report = project.run(["links", "--json"]).expect(0).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let references = report["references"].as_array().expect("references").iter();
    let mut listed: Vec<_> = references
        .map(|reference| {
            let links = reference["links"].as_array().expect("links").iter();
            let links = links.map(|link| match link.get("parent") {
                Some(parent) => format!("{} → {}", text(&link["key"]), text(parent)),
                None => text(&link["key"]),
            });
            let mut links: Vec<String> = links.collect();
            links.sort();
            assert_eq!(reference["entity"], "player", "{reference}");
            (text(&reference["columns"][0]), text(&reference["state"]), reference["rows"].as_u64().expect("a number"), links)
        })
        .collect();
    listed.sort_by(|(one, ..), (other, ..)| other.cmp(one));
    listed
}

fn entry(column: &str, state: &str, links: &[&str]) -> (String, String, u64, Vec<String>) {
    (column.to_owned(), state.to_owned(), links.len() as u64, links.iter().map(ToString::to_string).collect())
}

#[test]
fn what_was_written_with_null_is_listed_until_its_parent_comes() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair);
        project.write_job(&source.url(), &target.url(), &job("orphans = \"null\""));
        project.run(["links"]).expect(2).says(&["run the job first"]);
        project.copy();
        let expected = [entry("team", "open", &["3 → 99", "5 → 98", "6 → 99"]), entry("captain", "open", &["4 → 77", "5 → 78"])];
        assert_eq!(listed(&project), expected, "{pair:?}");
        let text = project.run(["links", "--examples", "1"]).expect(0).output();
        assert!(text.contains("have NULL: the parent was not there") && text.contains("  3 → 99\n  and 2 more"), "{text}");
        source.run("INSERT INTO team VALUES (98), (99); INSERT INTO player VALUES (77, NULL, NULL), (78, 1, NULL)");
        project.copy();
        assert_eq!(listed(&project), [], "{pair:?}");
        assert!(project.run(["links"]).expect(0).output().contains("every reference leads to a row"));
    }
}

#[test]
fn rows_that_wait_in_a_live_cycle_are_listed() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair);
        target.run(
            "CREATE TABLE team (id integer PRIMARY KEY);
             CREATE TABLE player (id integer PRIMARY KEY, team integer, captain integer REFERENCES player (id));",
        );
        project.write_job(&source.url(), &target.url(), &job("orphans = \"allow\""));
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(report["entities"][1]["pending"], json!(2), "{pair:?}: {report}");
        let expected = [entry("team", "dangling", &["3", "5", "6"]), entry("captain", "open", &["4 → 77", "5 → 78"])];
        assert_eq!(listed(&project), expected, "{pair:?}");
    }
}

#[test]
fn references_whose_constraint_does_not_hold_are_listed() {
    for to in [PAIRS[2], PAIRS[3]] {
        let project = Project::new();
        let (source, target) = (Database::new(to.0, project.path(), "source"), Database::new(to.1, project.path(), "target"));
        source.run(
            "PRAGMA foreign_keys = off; CREATE TABLE team (id integer PRIMARY KEY);
             CREATE TABLE player (id integer PRIMARY KEY, team integer REFERENCES team (id));
             INSERT INTO team VALUES (1); INSERT INTO player VALUES (1, 1), (2, 99)",
        );
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\norphans = \"allow\"\n");
        for _ in 0..2 {
            project.copy();
            assert_eq!(listed(&project), [entry("team", "dangling", &["2"])], "{to:?}");
        }
        // Where the job says nothing of them, a first run and a later one are refused alike.
        for other in [target, Database::new(to.1, project.path(), "other")] {
            project.write_job(&source.url(), &other.url(), "mode = \"replace\"\n");
            project.run(["run"]).expect(1).says(&["1 row refers by (team) to a parent that is not there"]);
        }
    }
}

#[test]
fn references_that_nothing_checks_are_listed_where_they_dangle() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair);
        project.write_job(&source.url(), &target.url(), &job("orphans = \"allow\""));
        project.copy();
        let expected = [entry("team", "dangling", &["3", "5", "6"]), entry("captain", "dangling", &["4", "5"])];
        assert_eq!(listed(&project), expected, "{pair:?}");
    }
}

#[test]
fn rows_under_new_ids_are_listed_by_the_keys_of_the_source() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair);
        let identity = match pair.1 {
            Engine::Sqlite => "integer PRIMARY KEY AUTOINCREMENT",
            Engine::Postgres(_) => "integer GENERATED BY DEFAULT AS IDENTITY (START 1000) PRIMARY KEY",
        };
        target.run(&format!(
            "CREATE TABLE team (id {identity}, name text);
             CREATE TABLE player (id {identity}, team integer REFERENCES team (id), captain integer REFERENCES player (id));"
        ));
        let entities = "mode = \"replace\"
            orphans = \"null\"
            [[jobs.copy.entities]]
            source = \"team\"
            generated = [\"id\"]
            [[jobs.copy.entities]]
            source = \"player\"
            generated = [\"id\"]
            references = [{ columns = [\"team\"], entity = \"team\" }, { columns = [\"captain\"], entity = \"player\" }]\n";
        project.write_job(&source.url(), &target.url(), entities);
        project.copy();
        let expected = [entry("team", "open", &["3 → 99", "5 → 98", "6 → 99"]), entry("captain", "open", &["4 → 77", "5 → 78"])];
        assert_eq!(listed(&project), expected, "{pair:?}");
        assert_eq!(target.matching("player", "captain IS NOT NULL"), 3, "{pair:?}");
    }
}
