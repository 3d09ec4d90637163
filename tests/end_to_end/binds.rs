//! References of which the job file says when they are bound.

use migrate_tests::{Database, PAIRS, Project};
use serde_json::Value;

/// Teams and players refer to each other; rows of both can be NULL there.
fn create(database: &Database, team: &str) {
    let teams = "CREATE TABLE teams (id integer PRIMARY KEY, captain integer REFERENCES players (id))";
    let players = format!("CREATE TABLE players (id integer PRIMARY KEY, team integer {team} REFERENCES teams (id))");
    match database {
        Database::Sqlite(_) => database.run(&format!("{teams}; {players}")),
        Database::Postgres(_) => database.run(&format!(
            "CREATE TABLE teams (id integer PRIMARY KEY, captain integer); {players};
             ALTER TABLE teams ADD FOREIGN KEY (captain) REFERENCES players (id)"
        )),
    }
}

fn job(captain: &str, team: &str) -> String {
    let refer = |column: &str, parent: &str, bind: &str| {
        if bind.is_empty() {
            return String::new();
        }
        format!("references = [{{ columns = [\"{column}\"], entity = \"{parent}\", bind = \"{bind}\" }}]\n")
    };
    format!(
        "[[jobs.copy.entities]]\nsource = \"teams\"\n{}[[jobs.copy.entities]]\nsource = \"players\"\n{}",
        refer("captain", "players", captain),
        refer("team", "teams", team)
    )
}

fn binding(graph: &Value, child: &str) -> (String, String) {
    let found = graph["references"].as_array().expect("references").iter().find(|r| r["child"] == child).expect("one");
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("binding"), text("bind"))
}

#[test]
fn the_job_file_says_when_references_of_a_cycle_are_bound() {
    for (from, to) in PAIRS {
        let cases = [
            ("order", "", "with_row", "late"),
            ("", "order", "late", "with_row"),
            ("late", "", "late", "with_row"),
            ("", "late", "with_row", "late"),
            ("together", "together", "together", "together"),
        ];
        for (captain, team, first, second) in cases {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            create(&source, "");
            create(&target, "");
            source.run(
                "INSERT INTO teams VALUES (1, NULL), (2, NULL), (3, NULL); INSERT INTO players VALUES (1, 3), (2, 2), (3, 1), (4, NULL);
                 UPDATE teams SET captain = 4 - id",
            );
            project.write_job(&source.url(), &target.url(), &job(captain, team));
            let graph = project.run(["graph", "--json"]).expect(0).json();
            assert_eq!(binding(&graph, "teams"), (first.to_owned(), captain.to_owned()), "{graph}");
            assert_eq!(binding(&graph, "players"), (second.to_owned(), team.to_owned()), "{graph}");
            let report = project.copy();
            assert_eq!(report["status"], "succeeded", "{report}");
            source.assert_holds(&target, &["teams", "players"]);
            let again = project.copy();
            assert_eq!(
                (&again["entities"][0]["inserted"], &again["entities"][0]["updated"]),
                (&0.into(), &0.into()),
                "P4 {again}"
            );
        }
    }
}

#[test]
fn a_reference_that_is_never_null_cannot_be_bound_late() {
    for (from, to) in [PAIRS[0], PAIRS[3]] {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        create(&source, "NOT NULL");
        create(&target, "NOT NULL");
        project.write_job(&source.url(), &target.url(), &job("", "late"));
        project.run(["plan"]).expect(2).says(&["(team) to teams", "bind = \"late\"", "never NULL", "players"]);
        project.write_job(&source.url(), &target.url(), &job("", "at once"));
        project.run(["plan"]).expect(2).says(&["order", "late", "together"]);
    }
}
