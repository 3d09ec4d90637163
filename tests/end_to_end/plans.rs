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
    project.run(["run", "--plan", "xyz"]).expect(2).says(&["\"xyz\" is no plan's hash"]);
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

#[test]
fn a_plan_shows_of_each_entity_its_own_rows_where_several_feed_one_table() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE goals (id text PRIMARY KEY, title text); CREATE TABLE sessions (id text PRIMARY KEY, title text);
             CREATE TABLE notes (id text PRIMARY KEY, title text);
             INSERT INTO goals VALUES ('g1', 'a'), ('g2', 'b'); INSERT INTO sessions VALUES ('s1', 'c'), ('s2', 'd');
             INSERT INTO notes VALUES ('n1', 'e'), ('n2', 'f')",
        );
        target.run("CREATE TABLE sync_data (id varchar(40) PRIMARY KEY, kind varchar(20) NOT NULL, title text)");
        let entity = |name: &str| {
            format!(
                "[[jobs.copy.entities]]\nsource = \"{name}\"\ntarget = \"sync_data\"\ncolumns = {{ set = {{ kind = \"{name}\" }} }}\n"
            )
        };
        let entities = ["goals", "sessions", "notes"].map(entity).concat();
        project.write_job(&source.url(), &target.url(), &format!("deletes = \"hard\"\n{entities}"));
        project.copy();
        source.run("DELETE FROM goals WHERE id = 'g2'; UPDATE sessions SET title = 'other' WHERE id = 's1'");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let samples = |name: &str| {
            let changes = plan["changes"].as_array().expect("entities");
            let entity = changes.iter().find(|e| e["name"] == name).expect("the entity");
            let samples = entity["samples"].as_array().cloned().unwrap_or_default();
            samples.iter().map(|s| format!("{} {}", s["change"], s["key"][0])).collect::<Vec<_>>()
        };
        assert_eq!(samples("goals"), [r#""delete" "g2""#], "{from:?} to {to:?}: {plan}");
        assert_eq!(samples("sessions"), [r#""update" "s1""#], "{from:?} to {to:?}: {plan}");
        assert_eq!(samples("notes"), Vec::<String>::new(), "{from:?} to {to:?}: {plan}");
    }
}

const CONTESTED: &str = "CREATE TABLE t (id integer PRIMARY KEY, name text, note text);
    INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'x'), (3, 'c', 'x'), (4, 'd', 'x')";

#[test]
fn a_plan_lists_what_both_sides_have_changed_and_what_becomes_of_it_in_every_direction() {
    for (from, to) in PAIRS {
        for (policy, resolution, says) in [
            ("source", "overwritten", "2 rows: the target's change would be overwritten"),
            ("target", "kept", "2 rows: the target's change would be kept"),
            ("report", "open", "2 rows: the target's change would be kept, and the conflict stays open"),
        ] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run(CONTESTED);
            project.write_job(&source.url(), &target.url(), &format!("mode = \"update\"\non_conflict = \"{policy}\"\n"));
            project.copy();
            source.run("UPDATE t SET name = 'ours', note = 'y' WHERE id IN (1, 2); UPDATE t SET name = 'gone' WHERE id = 4");
            target.run(
                "UPDATE t SET name = 'theirs' WHERE id = 2; DELETE FROM t WHERE id = 4; UPDATE t SET note = 'own' WHERE id = 3",
            );
            let plan = project.run(["plan", "--json", "--show-values"]).expect(0).json();
            let contested = &plan["changes"][0]["contested"];
            assert_eq!(contested[resolution], 2, "{from:?} to {to:?}, {policy}: {plan}");
            let samples = contested["samples"].as_array().expect("samples");
            let edited = samples.iter().find(|s| s["key"][0] == "2").expect("the row edited on both sides");
            assert_eq!((&edited["resolution"], &edited["deleted"]), (&resolution.into(), &false.into()));
            let column = serde_json::json!([{ "column": "name", "before": "theirs", "after": "ours" }]);
            assert_eq!(edited["columns"], column, "{from:?} to {to:?}, {policy}");
            let deleted = samples.iter().find(|s| s["key"][0] == "4").expect("the row that the target has deleted");
            assert_eq!(deleted["deleted"], true);
            let hidden = project.run(["plan", "--json"]).expect(0);
            assert!(!hidden.output().contains("theirs"), "values are shown on request only");
            assert_eq!(hidden.json()["changes"][0]["contested"]["samples"][0]["columns"][0]["column"], "name");
            let printed = project.run(["plan"]).expect(0);
            prints(&printed, &[says, &format!("{resolution} (2)"), "(4): the target has deleted it"]);
        }
    }
}

#[test]
fn a_plan_holds_for_the_conflicts_and_the_policy_that_it_was_made_with() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(CONTESTED);
        let job = |policy: &str| {
            project.write_job(&source.url(), &target.url(), &format!("mode = \"update\"\non_conflict = \"{policy}\"\n"));
        };
        let hash = || project.run(["plan", "--json"]).expect(0).json()["hash"].as_str().expect("a hash").to_owned();
        job("report");
        project.copy();
        source.run("UPDATE t SET name = 'ours' WHERE id = 1");
        target.run("UPDATE t SET name = 'theirs' WHERE id IN (1, 2)");
        let planned = hash();
        assert_eq!(hash(), planned, "{from:?} to {to:?}");
        job("target");
        assert_ne!(hash(), planned, "{from:?} to {to:?}");
        project.run(["run", "--plan", &planned]).expect(5).says(&["does not hold any more"]);
        job("report");
        // One conflict more, of which nothing would be written either.
        source.run("UPDATE t SET name = 'ours' WHERE id = 2");
        project.run(["run", "--plan", &planned]).expect(5).says(&["does not hold any more"]);
        assert_eq!(project.run(["run", "--json", "--plan", &hash()]).expect(3).json()["entities"][0]["conflicts"], 2);
        // Rows left to the target by `append` count, too.
        project.write_job(&source.url(), &target.url(), "mode = \"append\"\n");
        source.run("INSERT INTO t VALUES (5, 'e', 'x')");
        target.run("INSERT INTO t VALUES (5, 'theirs', 'x')");
        let planned = hash();
        source.run("INSERT INTO t VALUES (6, 'f', 'x')");
        target.run("INSERT INTO t VALUES (6, 'theirs', 'x')");
        project.run(["run", "--plan", &planned]).expect(5).says(&["does not hold any more"]);
    }
}

fn numbers(entities: &Value, names: &[&str]) -> Vec<(String, Vec<u64>)> {
    let entities = entities.as_array().expect("a list of entities").iter();
    let count = |e: &Value, name: &&str| e[*name].as_u64().unwrap_or_else(|| panic!("{name} of {e}"));
    let mut found: Vec<_> = entities
        .map(|e| (e["name"].as_str().expect("a name").to_owned(), names.iter().map(|name| count(e, name)).collect()))
        .collect();
    found.sort();
    found
}

#[test]
fn rows_that_the_target_does_not_let_go_are_conflicts_of_the_plan_too_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(&format!(
            "{TABLES} INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e');
             INSERT INTO child VALUES (1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 5, 1)"
        ));
        target.run(&format!("{TABLES} CREATE TABLE beyond (parent integer REFERENCES parent (id))"));
        project.write_job(
            &source.url(),
            &target.url(),
            "mode = \"replace\"\ndeletes = \"hard\"\n[[jobs.copy.entities]]\nsource = \"parent\"\n[[jobs.copy.entities]]\nsource = \"child\"\n",
        );
        project.copy();
        // Rows of others, one in a table of the job and one beyond it, refer to two of the rows that go.
        target.run("INSERT INTO child VALUES (900, 2, 1); INSERT INTO beyond VALUES (3)");
        source.run("UPDATE child SET parent = 4 WHERE id = 1; DELETE FROM child WHERE id > 1; DELETE FROM parent WHERE id <> 4");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let hash = plan["hash"].as_str().expect("a hash");
        let run = project.run(["run", "--json", "--plan", hash]).expect(3).json();
        let names = ["read", "inserted", "updated", "unchanged", "deleted", "conflicts"];
        assert_eq!(numbers(&plan["changes"], &names), numbers(&run["entities"], &names), "{from:?} to {to:?}");
        let expected = vec![("child".to_owned(), vec![1, 0, 1, 0, 3, 0]), ("parent".to_owned(), vec![1, 0, 0, 1, 2, 2])];
        assert_eq!(numbers(&run["entities"], &names), expected, "{from:?} to {to:?}");
        target.run("DELETE FROM beyond; DELETE FROM child WHERE id = 900");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(numbers(&plan["changes"], &names), numbers(&project.copy()["entities"], &names), "{from:?} to {to:?}");
    }
}

#[test]
fn a_plan_counts_the_rows_that_will_wait_for_their_parents_in_every_direction() {
    for (from, to) in PAIRS {
        for mode in ["replace", "append", "update"] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run(
                "CREATE TABLE e (id integer PRIMARY KEY, boss integer, v text);
                INSERT INTO e VALUES (1, 3, 'a'), (2, 77, 'b'), (3, NULL, 'c'), (4, 88, 'd'), (5, 99, 'e')",
            );
            target.run(
                "CREATE TABLE e (id integer PRIMARY KEY, boss integer REFERENCES e (id), v text);
                INSERT INTO e VALUES (99, NULL, 'of others')",
            );
            let reference = "references = [{ columns = [\"boss\"], entity = \"e\", key = [\"id\"], orphans = \"allow\" }]\n";
            let job = format!("mode = \"{mode}\"\n[[jobs.copy.entities]]\nsource = \"e\"\n{reference}");
            project.write_job(&source.url(), &target.url(), &job);
            let names = ["read", "inserted", "updated", "unchanged", "skipped", "pending"];
            for changes in [
                "",
                "UPDATE e SET v = 'other' WHERE id = 2",
                "INSERT INTO e VALUES (77, NULL, 'late')",
                "DELETE FROM e WHERE id = 4",
            ] {
                source.run(changes);
                let plan = project.run(["plan", "--json"]).expect(0).json();
                let hash = plan["hash"].as_str().expect("a hash");
                let waits = plan["changes"][0]["pending"] != 0;
                let run = project.run(["run", "--json", "--plan", hash]).expect(if waits { 3 } else { 0 }).json();
                assert_eq!(
                    numbers(&plan["changes"], &names),
                    numbers(&run["entities"], &names),
                    "{from:?} to {to:?} {mode}: {changes}"
                );
            }
        }
    }
}

#[test]
fn a_plan_names_no_empty_type_for_what_the_job_sets() {
    let project = Project::new();
    let source = Database::new(Engine::Postgres(Server::First), project.path(), "source");
    let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
    source.run("CREATE TABLE t (id bigint PRIMARY KEY)");
    target.run("CREATE TABLE t (id bigint PRIMARY KEY, t4 integer)");
    let job = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"t4\", constant = 5 }]\n";
    project.write_job(&source.url(), &target.url(), job);
    let plan = project.run(["plan"]).expect(0).output();
    assert!(plan.contains("column t4: what the job sets goes into integer"), "{plan}");
}

#[test]
fn a_plan_holds_whenever_the_rows_are_marked_that_the_source_has_lost_in_every_direction() {
    for (from, to) in PAIRS {
        // What the source is makes no difference to a type: each is tried from one of them.
        let types = match (from, to) {
            (Engine::Postgres(_), Engine::Postgres(_)) => &["timestamptz", "text"][..],
            (Engine::Sqlite, Engine::Postgres(_)) => &["timestamp", "bigint", "boolean"],
            (Engine::Postgres(_), Engine::Sqlite) => &["TIMESTAMP", "INTEGER"],
            (Engine::Sqlite, Engine::Sqlite) => &["TEXT", "BOOLEAN"],
        };
        for column in types {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
            target.run(&format!("CREATE TABLE t (id integer PRIMARY KEY, v text, deleted_at {column})"));
            let job = "deletes = { mode = \"soft\", column = \"deleted_at\" }\n[[jobs.copy.entities]]\nsource = \"t\"\n";
            project.write_job(&source.url(), &target.url(), job);
            project.copy();
            source.run("DELETE FROM t WHERE id = 2");
            let plan = project.run(["plan", "--json"]).expect(0).json();
            let again = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(again["hash"], plan["hash"], "{from:?} to {to:?}, {column}");
            let sample = &plan["changes"][0]["samples"][0];
            assert_eq!((&sample["change"], &sample["key"][0]), (&"delete".into(), &"2".into()), "{column}: {plan}");
            assert_eq!(sample["columns"][0]["column"], "deleted_at", "{column}: {plan}");
            // Another row is another plan.
            source.run("DELETE FROM t WHERE id = 3");
            assert_ne!(project.run(["plan", "--json"]).expect(0).json()["hash"], plan["hash"], "{column}");
            source.run("INSERT INTO t VALUES (3, 'c')");
            let run = project.run(["run", "--json", "--plan", plan["hash"].as_str().expect("a hash")]).expect(0).json();
            assert_eq!(counts(&run["entities"]), counts(&plan["changes"]), "{from:?} to {to:?}, {column}");
            assert_eq!(target.matching("t", "deleted_at IS NOT NULL"), 1, "{from:?} to {to:?}, {column}");
        }
    }
}
