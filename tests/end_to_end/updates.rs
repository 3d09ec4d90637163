//! Mode `update`: what the source changed arrives, what the target changed stays, and what both changed goes by the job's policy.

use migrate_tests::{Database, Engine, PAIRS, Project, Server, crosswise};

const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, name text, amount numeric(9, 2), note text);";

/// The table's rows as text, in order.
fn rows(database: &Database) -> Vec<String> {
    let sql = "SELECT id || ' ' || coalesce(name, 'NULL') || ' ' || amount || ' ' || coalesce(note, 'NULL') FROM t ORDER BY id";
    match database {
        Database::Postgres(database) => database.rows(sql).into_iter().map(|row| row[0].clone().unwrap_or_default()).collect(),
        Database::Sqlite(database) => database.texts(sql),
    }
}

#[test]
fn each_column_goes_by_who_changed_it_in_every_direction() {
    for (from, to) in PAIRS {
        for (policy, conflict, code, conflicts) in
            [("source", "ours", 0, 0), ("target", "theirs", 0, 0), ("report", "theirs", 3, 1)]
        {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run(&format!(
                "{TABLE} INSERT INTO t VALUES (1, 'a', 1.5, NULL), (2, 'b', 2.5, ''), (3, 'c', 3.5, 'x'), (4, 'd', 4.5, 'y')"
            ));
            target.run(TABLE);
            project.write_job(&source.url(), &target.url(), &format!("mode = \"update\"\non_conflict = \"{policy}\"\n"));
            project.copy();
            source.run("UPDATE t SET amount = 10.5 WHERE id = 1; UPDATE t SET name = 'ours', amount = 20.5 WHERE id = 2; INSERT INTO t VALUES (5, 'e', 5.5, NULL)");
            target.run("UPDATE t SET note = 'edited' WHERE id = 1; UPDATE t SET name = 'theirs' WHERE id = 2; UPDATE t SET name = 'kept' WHERE id = 3");
            let run = project.run(["run", "--json"]).expect(code);
            let entity = &run.json()["entities"][0];
            assert_eq!(
                (&entity["updated"], &entity["conflicts"]),
                (&2.into(), &conflicts.into()),
                "{from:?} to {to:?}: {entity}"
            );
            let found = rows(&target);
            assert!(found[0].starts_with("1 a 10.5") && found[0].ends_with("edited"), "{found:?}");
            assert!(found[1].starts_with(&format!("2 {conflict} 20.5")), "{found:?}");
            assert!(found[2].starts_with("3 kept 3.5"), "{found:?}");
            assert_eq!(found.len(), 5);
            if policy != "source" {
                let logs = project.run(["executions", "logs"]).expect(0).output();
                assert!(logs.contains("(name)") && logs.contains("key (2)"), "the conflict is listed by key and column:\n{logs}");
                assert!(!logs.contains("theirs"), "{logs}");
            }
            // Running again writes nothing; an open conflict is reported until somebody settles it.
            let again = project.run(["run", "--json"]).expect(code).json();
            assert_eq!(
                (&again["entities"][0]["updated"], &again["entities"][0]["conflicts"]),
                (&0.into(), &conflicts.into()),
                "P4: {again}"
            );
            assert_eq!(rows(&target), found, "P4");
            if policy == "report" {
                target.run("UPDATE t SET name = 'ours' WHERE id = 2");
                let settled = project.copy();
                assert_eq!(settled["entities"][0]["conflicts"], 0, "{settled}");
            }
        }
    }
}

#[test]
fn what_the_targets_triggers_make_of_a_column_is_no_change_that_its_users_have_made() {
    for ((from, to), policy) in crosswise(["report", "target"]) {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(&format!("{TABLE} INSERT INTO t VALUES (1, 'bob', 1.5, 'x'), (2, 'ann', 2.5, 'y')"));
        target.run(TABLE);
        match &target {
            Database::Postgres(_) => target.run(
                "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
                 CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION shout();",
            ),
            Database::Sqlite(_) => target.run(
                "CREATE TRIGGER made AFTER INSERT ON t BEGIN UPDATE t SET name = upper(name) WHERE id = NEW.id; END;
                 CREATE TRIGGER changed AFTER UPDATE ON t BEGIN UPDATE t SET name = upper(name) WHERE id = NEW.id; END;",
            ),
        }
        project.write_job(&source.url(), &target.url(), &format!("mode = \"update\"\non_conflict = \"{policy}\"\n"));
        project.copy();
        source.run("UPDATE t SET name = 'rob' WHERE id = 1");
        target.run("UPDATE t SET note = 'edited' WHERE id = 1");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!((&plan["changes"][0]["updated"], &plan["changes"][0]["conflicts"]), (&1.into(), &0.into()), "{plan}");
        let entity = project.run(["run", "--json"]).expect(0).json()["entities"][0].clone();
        assert_eq!((&entity["updated"], &entity["conflicts"]), (&1.into(), &0.into()), "{from:?} to {to:?}: {entity}");
        let found = rows(&target);
        assert!(found[0].starts_with("1 ROB") && found[0].ends_with("edited"), "{found:?}");
        assert_eq!(project.copy()["entities"][0]["unchanged"], 2, "P4");
    }
}

#[test]
fn a_plan_in_mode_update_counts_what_the_run_then_does() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
    source.run(&format!("{TABLE} INSERT INTO t VALUES (1, 'a', 1.5, NULL), (2, 'b', 2.5, ''), (3, 'c', 3.5, 'x')"));
    project.write_job(&source.url(), &target.url(), "mode = \"update\"\n");
    project.copy();
    source.run("UPDATE t SET name = 'ours' WHERE id < 3");
    target.run("UPDATE t SET name = 'theirs' WHERE id = 2");
    let plan = project.run(["plan", "--json"]).expect(0).json();
    let run = project.run(["run", "--json", "--plan", plan["hash"].as_str().expect("a hash")]).expect(3).json();
    for counter in ["read", "updated", "unchanged", "skipped", "conflicts"] {
        assert_eq!(plan["changes"][0][counter], run["entities"][0][counter], "{counter}: {run}");
    }
    assert_eq!((&run["entities"][0]["updated"], &run["entities"][0]["skipped"]), (&1.into(), &1.into()));
}
