//! Rows whose parent is nowhere: refused, written without it, or kept in quarantine, as the job file says.

use migrate_tests::{Database, Engine, PAIRS, Postgres, Project, Server, crosswise};
use serde_json::{Value, json};

/// Nothing checks that a player's team is there: those of 3 and 5 are not, 4 has none.
pub(crate) const SOURCE: &str = "CREATE TABLE team (id integer PRIMARY KEY, name text);
    CREATE TABLE player (id integer PRIMARY KEY, name text, team integer);
    INSERT INTO team VALUES (1, 'a'), (2, 'b');
    INSERT INTO player VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 99), (4, 'four', NULL), (5, 'five', 98);";

/// The same with a constraint that is live.
const CONSTRAINED: &str = "CREATE TABLE team (id integer PRIMARY KEY, name text);
    CREATE TABLE player (id integer PRIMARY KEY, name text, team integer REFERENCES team (id));";

/// A job in which players refer to teams.
pub(crate) fn job(settings: &str, policy: &str) -> String {
    format!(
        "{settings}
         [[jobs.copy.entities]]
         source = \"team\"
         [[jobs.copy.entities]]
         source = \"player\"
         references = [{{ columns = [\"team\"], entity = \"team\", orphans = \"{policy}\" }}]\n"
    )
}

/// A filled source and an empty target, which has tables with a live constraint or none.
pub(crate) fn sides(project: &Project, (from, to): (Engine, Engine), constrained: bool) -> (Database, Database) {
    let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
    source.run(SOURCE);
    if constrained {
        target.run(CONSTRAINED);
    }
    (source, target)
}

/// The counters of the players.
pub(crate) fn players(report: &Value, counters: &[&str]) -> Vec<u64> {
    let entities = report["changes"].as_array().or_else(|| report["entities"].as_array()).expect("entities");
    let found = entities.iter().find(|e| e["name"] == "player").unwrap_or_else(|| panic!("no players in {report:#}"));
    counters.iter().map(|counter| found[counter].as_u64().unwrap_or_else(|| panic!("{counter} in {found}"))).collect()
}

/// How many players of the target have these teams.
pub(crate) fn teams(target: &Database, conditions: &[&str]) -> Vec<u64> {
    conditions.iter().map(|condition| target.matching("player", condition)).collect()
}

#[test]
fn null_is_written_in_place_of_a_parent_that_is_nowhere_until_it_comes() {
    for (pair, (constrained, mode)) in crosswise([(true, "replace"), (false, "update")]) {
        let project = Project::new();
        let (source, target) = sides(&project, pair, constrained);
        project.write_job(&source.url(), &target.url(), &job(&format!("mode = \"{mode}\""), "null"));
        let case = format!("{pair:?}, constrained: {constrained}, {mode}");

        // The check lets it pass, the plan foresees it, and the run does it and says so.
        let check = project.run(["check"]).expect(0).output();
        assert!(check.contains("2 rows have no parent") && check.contains("NULL is written instead"), "{case}: {check}");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(players(&plan, &["inserted", "orphans"]), [5, 2], "{case}");
        let run = project.run(["run", "--json"]).expect(0);
        run.says(&["refer by (team) to a parent that is not there, among them those of the keys 3; 5"]);
        let report = run.json();
        assert_eq!(report["status"], "succeeded", "{case}");
        assert_eq!(players(&report, &["read", "inserted", "orphans", "pending"]), [5, 5, 2, 0], "{case}");
        assert_eq!(teams(&target, &["team IS NULL", "team = 1", "team = 2"]), [3, 1, 1], "{case}");

        // Nothing is left to do, and both sides are as they should be.
        let again = project.copy();
        assert_eq!(players(&again, &["unchanged", "updated", "orphans"]), [5, 0, 2], "{case}");
        let _ = project.run(["verify"]).expect(0);

        // One of the parents comes: its child is bound, though nobody has touched it.
        source.run("INSERT INTO team VALUES (99, 'late')");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(players(&plan, &["updated", "unchanged", "orphans"]), [1, 4, 1], "{case}");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [1, 4, 1], "{case}");
        assert_eq!(teams(&target, &["team IS NULL", "team = 99"]), [2, 1], "{case}");
        let _ = project.run(["verify"]).expect(0);

        // It goes again, and stays in the target, since this job deletes nothing: its child keeps it.
        source.run("DELETE FROM team WHERE id = 99");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [0, 5, 1], "{case}");
        assert_eq!(teams(&target, &["team = 99"]), [1], "{case}");
    }
}

#[test]
fn rows_without_a_parent_are_kept_in_quarantine_until_it_comes() {
    for (pair, constrained) in crosswise([true, false]) {
        let project = Project::new();
        let (source, target) = sides(&project, pair, constrained);
        project.write_job(&source.url(), &target.url(), &job("mode = \"replace\"", "quarantine"));
        let case = format!("{pair:?}, constrained: {constrained}");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(players(&plan, &["inserted", "quarantined"]), [3, 2], "{case}");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(players(&report, &["read", "inserted", "quarantined", "orphans"]), [5, 3, 2, 0], "{case}");
        let refused = project.run(["quarantine", "list"]).expect(0).output();
        assert!(refused.contains("that it refers to is not there") && refused.contains("team"), "{case}: {refused}");
        // Sent again they are refused again.
        let report = project.run(["quarantine", "replay", "--json"]).expect(3).json();
        assert_eq!(players(&report, &["read", "inserted", "quarantined"]), [2, 0, 2], "{case}: {report}");
        assert_eq!(target.count("player"), 3, "{case}");
        source.run("INSERT INTO team VALUES (98, 'x'), (99, 'y')");
        let report = project.copy();
        assert_eq!(players(&report, &["inserted", "unchanged", "quarantined"]), [2, 3, 0], "{case}");
        source.assert_holds(&target, &["team", "player"]);
    }
}

#[test]
fn a_row_that_is_sent_again_goes_by_the_policy_for_its_missing_parent() {
    for (pair, (policy, written)) in
        crosswise([("null", "team IS NULL"), ("placeholder", "team = 0"), ("allow", "team = 99"), ("fail", "")])
    {
        let project = Project::new();
        let (source, target) = sides(&project, pair, false);
        target.run(
            "CREATE TABLE team (id integer PRIMARY KEY, name text);
             CREATE TABLE player (id integer PRIMARY KEY, name text CHECK (name <> 'three'), team integer)",
        );
        // The only one without its parent is refused for its name.
        source.run("DELETE FROM player WHERE id = 5");
        let write_job = |policy: &str| {
            let job = job("mode = \"update\"", policy);
            let job = job.replacen("source = \"team\"", "source = \"team\"\nplaceholder = { id = 0 }", 1);
            project.write_job(&source.url(), &target.url(), &job);
        };
        write_job(if policy == "fail" { "null" } else { policy });
        let report = project.run(["run", "--json"]).expect(3).json();
        let case = format!("{pair:?}, {policy}");
        assert_eq!(players(&report, &["inserted", "quarantined"]), [3, 1], "{case}: {report}");
        source.run("UPDATE player SET name = '3' WHERE id = 3");
        write_job(policy);
        if policy == "fail" {
            let replay = project.run(["quarantine", "replay"]).expect(1);
            replay.says(&["1 row refers by (team) to a parent that is not there", "the run is refused"]);
            assert_eq!(target.count("player"), 3, "{case}");
            continue;
        }
        let report = project.run(["quarantine", "replay", "--json"]).expect(0).json();
        assert_eq!(players(&report, &["read", "inserted", "quarantined"]), [1, 1, 0], "{case}: {report}");
        assert_eq!(report["entities"].as_array().map(Vec::len), Some(1), "{case}: {report}");
        assert_eq!(target.matching("player", &format!("id = 3 AND {written}")), 1, "{case}");
        let report = project.copy();
        assert_eq!(players(&report, &["inserted", "updated", "unchanged"]), [0, 0, 4], "{case}: {report}");
        source.run("INSERT INTO team VALUES (99, 'y')");
        project.copy();
        source.assert_holds(&target, &["team", "player"]);
    }
}

#[test]
fn a_run_with_orphans_is_refused_before_a_row_is_written() {
    for pair in PAIRS {
        for settings in ["mode = \"replace\"\norphans = \"fail\"\n", &job("mode = \"replace\"", "fail")] {
            let project = Project::new();
            let (source, target) = sides(&project, pair, false);
            if settings.ends_with("\"fail\"\n") {
                // A policy of the job itself, for a reference that the source declares and does not check.
                let Database::Sqlite(_) = &source else { continue };
                source.run(
                    "PRAGMA foreign_keys = off; DROP TABLE player;
                     CREATE TABLE player (id integer PRIMARY KEY, name text, team integer REFERENCES team (id));
                     INSERT INTO player VALUES (3, 'three', 99), (5, 'five', 98)",
                );
            }
            project.write_job(&source.url(), &target.url(), settings);
            let check = project.run(["check"]).expect(4).output();
            assert!(check.contains("keys 3; 5: a run is refused then"), "{pair:?}: {check}");
            for command in ["plan", "run"] {
                let run = project.run([command]).expect(1);
                run.says(&["2 rows refer by (team) to a parent that is not there", "3; 5"]);
            }
            assert_eq!((target.count("team"), target.count("player")), (0, 0), "{pair:?}");
            source.run("INSERT INTO team VALUES (98, 'x'), (99, 'y')");
            project.copy();
            source.assert_holds(&target, &["team", "player"]);
        }
    }
}

#[test]
fn orphans_that_the_job_says_nothing_of_refuse_a_run_where_a_constraint_or_the_job_names_their_reference() {
    for pair in PAIRS {
        let declared = "[[jobs.copy.entities]]\nsource = \"team\"\n[[jobs.copy.entities]]\nsource = \"player\"\n\
                        references = [{ columns = [\"team\"], entity = \"team\" }]\n";
        // Whether the target has the constraint, what the job names, and what comes in once orphans are allowed.
        for (constrained, names, refused) in [(true, "", 2), (true, declared, 2), (false, declared, 0)] {
            let project = Project::new();
            let (source, target) = sides(&project, pair, constrained);
            project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{names}"));
            let check = project.run(["check"]).expect(4).output();
            assert!(check.contains("keys 3; 5: a run is refused then, unless orphans says otherwise"), "{pair:?}: {check}");
            for command in [&["plan"][..], &["plan", "--rehearse"], &["run"]] {
                let run = project.run(command).expect(1);
                run.says(&["2 rows refer by (team) to a parent that is not there", "3; 5", "orphans = \"null\"", "\"allow\""]);
            }
            assert_eq!((target.count("team"), target.count("player")), (0, 0), "{pair:?}");
            project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\norphans = \"allow\"\n{names}"));
            let report = project.run(["run", "--json"]).expect(if refused > 0 { 3 } else { 0 }).json();
            assert_eq!(players(&report, &["inserted", "quarantined"]), [5 - refused, refused], "{pair:?} {constrained} {names}");
        }
        // What nobody checks or names is copied as it is.
        let project = Project::new();
        let (source, target) = sides(&project, pair, false);
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n");
        assert_eq!(players(&project.copy(), &["inserted"]), [5], "{pair:?}");
    }
}

#[test]
fn a_run_is_refused_where_more_parents_are_not_at_the_source_than_can_be_looked_up() {
    let project = Project::new();
    let (source, target) = sides(&project, PAIRS[3], true);
    let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200010) SELECT";
    // The target has all of them but the last.
    source.run(&format!("DELETE FROM team; DELETE FROM player; INSERT INTO player {numbers} i, 'p', i FROM n"));
    target.run(&format!("INSERT INTO team {numbers} i, 't' FROM n WHERE i < 200010"));
    project.write_job(&source.url(), &target.url(), &job("mode = \"replace\"", "fail"));
    project.run(["run"]).expect(1).says(&["miss more than 200000 parents"]);
    assert_eq!(target.count("player"), 0);
}

#[test]
fn a_parent_that_only_the_target_has_is_one() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair, true);
        target.run("INSERT INTO team VALUES (98, 'of others')");
        project.write_job(&source.url(), &target.url(), &job("mode = \"replace\"", "null"));
        let report = project.copy();
        assert_eq!(players(&report, &["inserted", "orphans"]), [5, 1], "{pair:?}");
        assert_eq!(teams(&target, &["team = 98", "team IS NULL"]), [1, 2], "{pair:?}");
    }
}

#[test]
fn each_reference_of_a_row_has_a_policy_of_its_own() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run(
            "CREATE TABLE events (id integer PRIMARY KEY, xmlid text UNIQUE);
             CREATE TABLE users (id integer PRIMARY KEY);
             CREATE TABLE posts (id integer PRIMARY KEY, event_xmlid text, about_type text, about_id integer);
             INSERT INTO events VALUES (1, 'E1'); INSERT INTO users VALUES (7);
             INSERT INTO posts VALUES (1, 'E1', 'user', 7), (2, 'e1', 'user', 7), (3, NULL, 'user', 8), (4, 'e9', 'event', 8),
                (5, 'e9', 'other', 8), (6, 'E1', 'event', 1)",
        );
        let entities = "mode = \"replace\"
            [[jobs.copy.entities]]
            source = \"events\"
            [[jobs.copy.entities]]
            source = \"users\"
            [[jobs.copy.entities]]
            source = \"posts\"
            orphans = \"null\"
            references = [
                { columns = [\"event_xmlid\"], entity = \"events\", key = [\"xmlid\"] },
                { columns = [\"about_id\"], entity = \"events\", when = { about_type = \"event\" } },
                { columns = [\"about_id\"], entity = \"users\", when = { about_type = \"user\" }, orphans = \"quarantine\" },
            ]\n";
        project.write_job(&source.url(), &target.url(), entities);
        let report = project.run(["run", "--json"]).expect(3).json();
        let posts = &report["entities"][2];
        assert_eq!((&posts["inserted"], &posts["orphans"], &posts["quarantined"]), (&json!(5), &json!(3), &json!(1)), "{posts}");
        let holds = |condition: &str| target.matching("posts", condition);
        assert_eq!(holds("id = 1 AND event_xmlid = 'E1' AND about_id = 7"), 1, "{pair:?}");
        assert_eq!(holds("id = 2 AND event_xmlid IS NULL AND about_id = 7"), 1, "{pair:?}: letters in another case");
        assert_eq!(holds("id = 3"), 0, "{pair:?}");
        assert_eq!(holds("id = 4 AND event_xmlid IS NULL AND about_id IS NULL"), 1, "{pair:?}");
        assert_eq!(holds("id = 5 AND event_xmlid IS NULL AND about_id = 8"), 1, "{pair:?}: of a kind that refers to nothing");
        assert_eq!(holds("id = 6 AND event_xmlid = 'E1' AND about_id = 1"), 1, "{pair:?}");
    }
}

#[test]
fn spellings_that_a_collation_takes_for_one_are_orphans_each() {
    let project = Project::new();
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    let source = Postgres::new(Server::First);
    source.run(
        "CREATE COLLATION folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE p (code text COLLATE folding PRIMARY KEY);
         CREATE TABLE c (id integer PRIMARY KEY, code text COLLATE folding);
         INSERT INTO c VALUES (1, 'x'), (2, 'X'), (3, 'y')",
    );
    let entities = "mode = \"replace\"
        [[jobs.copy.entities]]
        source = \"p\"
        [[jobs.copy.entities]]
        source = \"c\"
        references = [{ columns = [\"code\"], entity = \"p\", orphans = \"null\" }]\n";
    project.write_job(&source.url(), &target.url(), entities);
    let report = project.copy();
    assert_eq!(report["entities"][1]["orphans"], 3, "{report}");
    assert_eq!(target.matching("c", "code IS NULL"), 3);
}

#[test]
fn new_ids_are_given_to_children_whose_parents_are_there_and_null_to_the_others() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair, false);
        let identity = match pair.1 {
            Engine::Sqlite => "integer PRIMARY KEY AUTOINCREMENT",
            Engine::Postgres(_) => "integer GENERATED BY DEFAULT AS IDENTITY (START 100) PRIMARY KEY",
        };
        target.run(&format!(
            "CREATE TABLE team (id {identity}, name text UNIQUE);
             CREATE TABLE player (id integer PRIMARY KEY, name text, team integer REFERENCES team (id));"
        ));
        target.run("INSERT INTO team (name) VALUES ('of others')");
        let entities = "mode = \"replace\"
            [[jobs.copy.entities]]
            source = \"team\"
            generated = [\"id\"]
            [[jobs.copy.entities]]
            source = \"player\"
            references = [{ columns = [\"team\"], entity = \"team\", orphans = \"null\" }]\n";
        project.write_job(&source.url(), &target.url(), entities);
        let report = project.copy();
        assert_eq!(players(&report, &["inserted", "orphans", "pending"]), [5, 2, 0], "{pair:?}");
        let bound = "team = (SELECT id FROM team t WHERE t.name = 'b')";
        assert_eq!(teams(&target, &["team IS NULL", bound]), [3, 1], "{pair:?}");
        source.run("INSERT INTO team VALUES (99, 'late')");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [1, 4, 1], "{pair:?}");
        // Gone from the source, it is known by its new id all the same.
        source.run("DELETE FROM team WHERE id = 99");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [0, 5, 1], "{pair:?}");
        assert_eq!(teams(&target, &["team = (SELECT id FROM team t WHERE t.name = 'late')"]), [1], "{pair:?}");
        source.run("DELETE FROM player WHERE id = 5");
        let check = project.run(["check"]).expect(0).output();
        assert!(check.contains("1 row refers to a row that only the target has"), "{pair:?}: {check}");
    }
}

#[test]
fn a_policy_that_cannot_be_carried_out_is_refused_by_name() {
    for to in [Engine::Sqlite, Engine::Postgres(Server::First)] {
        let project = Project::new();
        let (source, target) = sides(&project, (Engine::Sqlite, to), false);
        target.run("CREATE TABLE player (id integer PRIMARY KEY, name text, team integer NOT NULL)");
        project.write_job(&source.url(), &target.url(), &job("mode = \"replace\"", "null"));
        project.run(["plan"]).expect(2).says(&["the reference (team)", "is never NULL in the target", "player"]);
        project.write_job(&source.url(), &target.url(), &job("mode = \"replace\"", "nul"));
        project.run(["plan"]).expect(2).says(&["nul"]);
    }
}

#[test]
fn a_policy_for_a_column_that_the_job_makes_is_said_to_do_nothing_and_why() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair, true);
        for made in ["columns.set = { team = 1 }", "transform = [{ column = \"team\", constant = 1 }]"] {
            project.write_job(
                &source.url(),
                &target.url(),
                &format!("orphans = \"null\"\n[[jobs.copy.entities]]\nsource = \"team\"\n[[jobs.copy.entities]]\nsource = \"player\"\n{made}\n"),
            );
            let plan = project.run(["plan"]).expect(0).output();
            assert!(plan.contains("the job makes the column team of player"), "{pair:?}, {made}: {plan}");
            assert!(!plan.contains("no single entity"), "{pair:?}, {made}: {plan}");
        }
    }
}

#[test]
fn the_check_says_what_a_run_does_with_orphans_that_nobody_looks_for() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair, true);
        let allowed = job("mode = \"replace\"", "allow");
        project.write_job(&source.url(), &target.url(), &allowed.replace("orphans =", "bind = \"late\", orphans ="));
        let check = project.run(["check"]).expect(4).output();
        assert!(check.contains("2 rows have no parent") && check.contains("they count as pending"), "{pair:?}: {check}");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(players(&report, &["inserted", "pending", "quarantined"]), [5, 2, 0], "{pair:?}: {report}");

        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run(&SOURCE.replacen("name text)", "name text NOT NULL UNIQUE)", 1));
        let id = match pair.1 {
            Engine::Postgres(_) => "integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            Engine::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
        };
        target.run(&format!(
            "CREATE TABLE team (id {id}, name text NOT NULL UNIQUE); CREATE TABLE player (id integer PRIMARY KEY, name text, team integer)"
        ));
        let given = allowed.replacen("\"team\"\n", "\"team\"\nkey = [\"name\"]\ngenerated = [\"id\"]\n", 1);
        project.write_job(&source.url(), &target.url(), &given.replace("entity = \"team\"", "entity = \"team\", key = [\"id\"]"));
        let check = project.run(["check"]).expect(4).output();
        assert!(check.contains("they go to quarantine, as the target gives the parents' ids"), "{pair:?}: {check}");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(players(&report, &["inserted", "quarantined"]), [3, 2], "{pair:?}: {report}");
    }
}

#[test]
fn append_completes_a_row_once_its_parent_comes_and_leaves_it_what_others_have_made_of_it() {
    for ((from, to), (policy, instead)) in crosswise([("null", "team IS NULL"), ("placeholder", "team = 77")]) {
        let case = format!("{from:?} to {to:?}, {policy}");
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run(
            "CREATE TABLE team (id integer PRIMARY KEY, name text); CREATE TABLE player (id integer PRIMARY KEY, team integer, v text);
             INSERT INTO team VALUES (1, 'one'); INSERT INTO player VALUES (1, 1, 'a'), (2, 5, 'b'), (3, 6, 'c');",
        );
        target.run(
            "CREATE TABLE team (id integer PRIMARY KEY, name text);
             CREATE TABLE player (id integer PRIMARY KEY, team integer REFERENCES team (id), v text);",
        );
        let job = format!(
            "mode = \"append\"
             [[jobs.copy.entities]]
             source = \"team\"
             placeholder = {{ id = 77, name = \"to come\" }}
             [[jobs.copy.entities]]
             source = \"player\"
             references = [{{ columns = [\"team\"], entity = \"team\", key = [\"id\"], orphans = \"{policy}\" }}]\n"
        );
        project.write_job(&source.url(), &target.url(), &job);
        let counts = |report: &Value| {
            let player = report["changes"].as_array().or_else(|| report["entities"].as_array()).expect("entities")[1].clone();
            ["inserted", "updated", "skipped", "orphans"].map(|name| player[name].as_u64().unwrap_or(0))
        };
        assert_eq!(counts(&project.copy()), [3, 0, 0, 2], "{case}");
        assert_eq!(target.matching("player", instead), 2, "{case}");
        assert_eq!(counts(&project.copy()), [0, 0, 3, 2], "{case}");

        target.run("UPDATE player SET v = 'of others' WHERE id = 2; UPDATE player SET team = 1 WHERE id = 3");
        source.run("INSERT INTO team VALUES (5, 'five'), (6, 'six'); UPDATE player SET v = 'changed' WHERE id = 1");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(counts(&plan), [0, 1, 2, 0], "{case}: {plan}");
        assert_eq!(counts(&project.copy()), [0, 1, 2, 0], "{case}");
        assert_eq!(target.matching("player", "id = 2 AND team = 5 AND v = 'of others'"), 1, "{case}");
        assert_eq!(target.matching("player", "id = 1 AND v = 'a'"), 1, "{case}");
        assert_eq!((target.matching("player", "id = 3 AND team = 1"), target.matching("team", "id = 77")), (1, 0), "{case}");
        assert_eq!(counts(&project.copy()), [0, 0, 3, 0], "{case}");
    }
}
