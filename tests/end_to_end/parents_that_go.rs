//! Rows whose parent goes while they stay: they are freed of it first, or it is held for them, as the job file says of orphans.

use crate::orphans::{SOURCE, job, players, sides, teams};
use migrate_tests::{Database, Engine, PAIRS, Project, crosswise};

#[test]
fn where_a_parent_is_deleted_its_children_are_freed_of_it_first() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair, true);
        let deleting = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }";
        project.write_job(&source.url(), &target.url(), &job(deleting, "null"));
        project.copy();
        source.run("DELETE FROM team WHERE id = 2");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [1, 4, 3], "{pair:?}");
        assert_eq!(report["entities"][0]["deleted"], 1, "{pair:?}: {report}");
        assert_eq!((target.count("team"), teams(&target, &["team IS NULL"])), (1, vec![4]), "{pair:?}");
        let _ = project.run(["verify"]).expect(0);
    }
}

#[test]
fn a_parent_that_has_left_the_filter_is_one_for_as_long_as_the_job_leaves_it_in_the_target() {
    for (pair, policy) in crosswise(["null", "fail"]) {
        for (deletes, left, stays) in [("hard", "keep", true), ("hard", "delete", false), ("ignore", "delete", false)] {
            let project = Project::new();
            let (source, target) = sides(&project, pair, true);
            source.run("UPDATE player SET team = NULL WHERE team > 2; ALTER TABLE team ADD active integer DEFAULT 1");
            let settings = format!("deletes = {{ mode = \"{deletes}\", max = \"100%\" }}\nleft_filter = \"{left}\"");
            let job = job(&settings, policy).replacen("source = \"team\"", "source = \"team\"\nwhere = \"active = 1\"", 1);
            target.run("ALTER TABLE team ADD active integer");
            project.write_job(&source.url(), &target.url(), &job);
            project.copy();
            source.run("UPDATE team SET active = 0 WHERE id = 2");
            let case = format!("{pair:?} {policy} {deletes} {left}");
            let run = project.run(["run", "--json"]);
            match (stays, policy) {
                (true, _) => assert_eq!(players(&run.expect(0).json(), &["unchanged", "orphans"]), [5, 0], "{case}"),
                (false, "null") => {
                    assert_eq!(players(&run.expect(0).json(), &["updated", "orphans"]), [1, 1], "{case}");
                }
                (false, _) => run.says(&["to a parent that is not there"]),
            }
            assert_eq!(target.matching("team", "id = 2"), u64::from(stays || policy == "fail"), "{case}");
            if stays || policy == "null" {
                let _ = project.run(["verify"]).expect(0);
            }
        }
    }
}

#[test]
fn where_a_parent_under_a_new_id_is_deleted_its_children_are_freed_of_it_first() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source
            .run(&SOURCE.replace("name text);\n    CREATE TABLE player", "name text NOT NULL UNIQUE);\n    CREATE TABLE player"));
        let id = match pair.1 {
            Engine::Postgres(_) => "integer GENERATED ALWAYS AS IDENTITY (START 98) PRIMARY KEY",
            Engine::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
        };
        target.run(&format!(
            "CREATE TABLE team (id {id}, name text NOT NULL UNIQUE);
             CREATE TABLE player (id integer PRIMARY KEY, name text, team integer REFERENCES team (id));"
        ));
        let settings = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }";
        let job = job(settings, "null").replace("\"team\"\n", "\"team\"\nkey = [\"name\"]\ngenerated = [\"id\"]\n");
        project.write_job(&source.url(), &target.url(), &job.replace("entity = \"team\"", "entity = \"team\", key = [\"id\"]"));
        // The target has a 98 and a 99 too, which are none of the source's.
        assert_eq!(players(&project.copy(), &["inserted", "orphans"]), [5, 2], "{pair:?}");
        source.run("DELETE FROM team WHERE id = 2");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [1, 4, 3], "{pair:?}");
        assert_eq!(report["entities"][0]["deleted"], 1, "{pair:?}: {report}");
        assert_eq!((target.count("team"), teams(&target, &["team IS NULL"])), (1, vec![4]), "{pair:?}");
    }
}

#[test]
fn a_parent_goes_for_its_children_also_where_they_refer_to_it_by_another_column_than_its_key() {
    let by_code = [
        "CREATE TABLE team (id integer PRIMARY KEY, code text NOT NULL UNIQUE);
         CREATE TABLE player (id integer PRIMARY KEY, team text",
        "INSERT INTO team VALUES (1, 'a'), (2, 'b');
         INSERT INTO player VALUES (1, 'a'), (2, 'b');",
        "columns = [\"team\"], entity = \"team\", key = [\"code\"]",
        " REFERENCES team (code)",
    ];
    let by_key_in_another_order = [
        "CREATE TABLE team (id integer, code text, PRIMARY KEY (code, id));
         CREATE TABLE player (id integer PRIMARY KEY, team integer, code text",
        "INSERT INTO team VALUES (1, 'a'), (2, 'b');
         INSERT INTO player VALUES (1, 1, 'a'), (2, 2, 'b');",
        "columns = [\"team\", \"code\"], entity = \"team\", key = [\"id\", \"code\"]",
        ", FOREIGN KEY (team, code) REFERENCES team (id, code)",
    ];
    let choices = [(by_code, true), (by_code, false), (by_key_in_another_order, false), (by_key_in_another_order, true)];
    for (pair, ([tables, rows, refers, constraint], constrained)) in crosswise(choices) {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run(&format!("{tables}); {rows}"));
        target.run(&format!("{tables}{});", if constrained { constraint } else { "" }));
        let job = |policy: &str| {
            let settings = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }";
            job(settings, policy).replace("columns = [\"team\"], entity = \"team\"", refers)
        };
        project.write_job(&source.url(), &target.url(), &job("fail"));
        let case = format!("{pair:?} {refers} constrained: {constrained}");
        assert_eq!(players(&project.copy(), &["inserted", "orphans"]), [2, 0], "{case}");
        source.run("DELETE FROM team WHERE id = 1");
        project.run(["run"]).expect(1).says(&["to a parent that is not there", "the run is refused"]);
        project.write_job(&source.url(), &target.url(), &job("null"));
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [1, 1, 1], "{case}: {report}");
        assert_eq!(report["entities"][0]["deleted"], 1, "{case}: {report}");
        assert_eq!((target.count("team"), teams(&target, &["team IS NULL"])), (1, vec![1]), "{case}");
        let _ = project.run(["verify"]).expect(0);

        // A row of others is a parent, and goes by nobody.
        target.run("INSERT INTO team (id, code) VALUES (3, 'c')");
        let (columns, values) = if refers.contains("\"id\"") { ("id, team, code", "3, 3, 'c'") } else { ("id, team", "3, 'c'") };
        source.run(&format!("INSERT INTO player ({columns}) VALUES ({values})"));
        assert_eq!(players(&project.copy(), &["inserted", "unchanged", "orphans"]), [1, 2, 1], "{case}");
        assert_eq!(teams(&target, &["team IS NULL"]), [1], "{case}");
    }
}

#[test]
fn a_parent_of_a_key_with_new_ids_goes_for_its_children_in_whatever_order_they_name_its_columns() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        let tables = |id: &str, reference: &str| {
            format!(
                "CREATE TABLE club ({id}, name text);
                 CREATE TABLE team (club integer NOT NULL, code text, PRIMARY KEY (club, code));
                 CREATE TABLE player (id integer PRIMARY KEY, code text, team integer{reference});"
            )
        };
        source.run(&tables("id integer PRIMARY KEY", ""));
        source.run(
            "INSERT INTO club VALUES (1, 'x'), (2, 'y'); INSERT INTO team VALUES (1, 'a'), (2, 'b');
             INSERT INTO player VALUES (1, 'a', 1), (2, 'b', 2);",
        );
        let id = match pair.1 {
            Engine::Postgres(_) => "id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            Engine::Sqlite => "id INTEGER PRIMARY KEY AUTOINCREMENT",
        };
        target.run(&tables(id, ", FOREIGN KEY (code, team) REFERENCES team (code, club)").replacen(
            "PRIMARY KEY (club, code)",
            "PRIMARY KEY (club, code), UNIQUE (code, club)",
            1,
        ));
        target.run("INSERT INTO club (name) VALUES ('of others')");
        project.write_job(
            &source.url(),
            &target.url(),
            "mode = \"replace\"
             deletes = { mode = \"hard\", max = \"100%\" }
             [[jobs.copy.entities]]
             source = \"club\"
             generated = [\"id\"]
             [[jobs.copy.entities]]
             source = \"team\"
             references = [{ columns = [\"club\"], entity = \"club\" }]
             [[jobs.copy.entities]]
             source = \"player\"
             references = [{ columns = [\"code\", \"team\"], entity = \"team\", key = [\"code\", \"club\"],
                 orphans = \"null\" }]\n",
        );
        assert_eq!(players(&project.copy(), &["inserted", "orphans"]), [2, 0], "{pair:?}");
        assert_eq!(target.matching("player", "team = 2 AND code = 'a'"), 1, "{pair:?}: under the club's new id");
        source.run("DELETE FROM team WHERE club = 1");
        let report = project.copy();
        assert_eq!(players(&report, &["updated", "unchanged", "orphans"]), [1, 1, 1], "{pair:?}: {report}");
        assert_eq!((target.count("team"), teams(&target, &["team IS NULL"])), (1, vec![1]), "{pair:?}");
    }
}

#[test]
fn an_orphan_stays_one_while_its_deleted_parent_is_held_in_the_target() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = sides(&project, pair, true);
        let deleting = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"100%\" }";
        project.write_job(&source.url(), &target.url(), &job(deleting, "quarantine"));
        let _ = project.run(["run"]).expect(3);
        source.run("DELETE FROM team WHERE id = 2");
        // The player of the target holds the team, which every run tries to delete: each says the same as the one before.
        for attempt in 1..=3 {
            let case = format!("{pair:?}, run {attempt}");
            let plan = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(players(&plan, &["quarantined"]), [3], "{case}: {plan}");
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(players(&report, &["unchanged", "quarantined"]), [2, 3], "{case}: {report}");
            assert_eq!(report["entities"][0]["conflicts"], 1, "{case}: {report}");
            let refused = project.run(["quarantine", "list", "--json"]).expect(0).json();
            assert_eq!(refused["rows"].as_array().map(Vec::len), Some(3), "{case}: {refused}");
        }
        source.run("INSERT INTO team VALUES (2, 'b')");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(players(&report, &["quarantined"]), [2], "{pair:?}: {report}");
        assert_eq!(report["entities"][0]["conflicts"], 0, "{pair:?}: {report}");
        assert_eq!((target.count("team"), target.matching("player", "team = 2")), (2, 1), "{pair:?}");
    }
}
