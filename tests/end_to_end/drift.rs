//! Columns that were added, dropped, renamed or retyped at the source since the last finished run, and what each policy makes of them.

use crate::drift_bench::{ADDED, Bench, DROPPED, RENAMED, RETYPED, actions, counts, prints};
use migrate_tests::{Database, Engine, PAIRS, Project, crosswise, identifier};
use serde_json::Value;

#[test]
fn a_changed_source_is_refused_before_a_row_moves_unless_the_job_says_otherwise() {
    for (pair, change) in crosswise([&ADDED, &DROPPED, &RENAMED, &RETYPED]) {
        let bench = Bench::new(pair, "");
        let before = bench.target();
        bench.change(change);
        bench.source.run("INSERT INTO t (id) VALUES (5); DELETE FROM t WHERE id = 1");
        let plan = bench.project.run(["plan"]).expect(0);
        prints(&plan, change.says);
        prints(&plan, &["a run is refused"]);
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert!(actions(&plan).iter().all(|a| a.ends_with("refused")), "{}: {plan}", bench.direction);
        assert!(!actions(&plan).is_empty() && plan["changes"] == Value::Array(Vec::new()), "{}: {plan}", bench.direction);
        let run = bench.project.run(["run"]).expect(2);
        run.says(change.says);
        run.says(&["entity t", "drift = \"evolve\"", "drift = \"ignore\"", "columns.exclude"]);
        assert_eq!(run.stderr.lines().filter(|line| line.starts_with("error")).count(), 1, "{}", run.stderr);
        assert_eq!(bench.target(), before, "{}: {}", bench.direction, change.name);
        bench.project.run(["check"]).expect(4).says(&[]);
    }
}

#[test]
fn ignoring_leaves_added_columns_out_and_the_values_of_dropped_ones_alone() {
    for pair in PAIRS {
        for (change, expected, columns) in [
            (&ADDED, &["age added left_out"][..], 3),
            (&DROPPED, &["name dropped kept"], 2),
            (&RENAMED, &["title added left_out", "name dropped kept"], 2),
        ] {
            let bench = Bench::new(pair, "drift = \"ignore\"\n");
            let before = bench.target();
            bench.change(change);
            bench.source.run("INSERT INTO t (id, amount) VALUES (5, 50); UPDATE t SET amount = 11 WHERE id = 1");
            let plan = bench.project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(actions(&plan), expected, "{}: {plan}", bench.direction);
            assert_eq!(plan["entities"][0]["columns"].as_array().map(Vec::len), Some(columns), "{plan}");
            let entity = bench.entity(0);
            let names = ["read", "inserted", "updated", "unchanged"];
            assert_eq!(counts(&entity, &names), [5, 1, 1, 3], "{} {}: {entity}", bench.direction, change.name);
            assert_eq!(counts(&plan["changes"][0], &names), [5, 1, 1, 3], "{} {}: {plan}", bench.direction, change.name);
            let after = bench.target();
            assert_eq!(after.0, before.0, "the target's columns stay");
            assert_eq!(after.1, ["1 a 11", "2 b 20", "3 NULL 30", "4 d NULL", "5 NULL 50"], "{}", bench.direction);
            bench.is_quiet();
            // What was left out once stays out under the policy that refuses changes: it is none any more.
            bench.write("");
            bench.is_quiet();
        }
    }
}

#[test]
fn ignoring_moves_a_retyped_column_as_far_as_its_values_fit() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"ignore\"\n");
        bench.change(&RETYPED);
        bench.source.run("UPDATE t SET amount = 21 WHERE id = 2; UPDATE t SET amount = 30.5 WHERE id = 3");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(actions(&plan), ["amount retyped moved"], "{}: {plan}", bench.direction);
        // A column of integers may hold other numbers in SQLite.
        let (code, expected, third) =
            if pair.1 == Engine::Sqlite { (0, [4, 2, 2, 0], "3 NULL 30.5") } else { (3, [4, 1, 2, 1], "3 NULL 30") };
        let entity = bench.entity(code);
        assert_eq!(counts(&entity, &["read", "updated", "unchanged", "quarantined"]), expected, "{}: {entity}", bench.direction);
        assert_eq!(bench.target().1, ["1 a 10", "2 b 21", third, "4 d NULL"], "{}", bench.direction);
        bench.source.run("UPDATE t SET amount = 31 WHERE id = 3");
        let entity = bench.entity(0);
        assert_eq!(counts(&entity, &["updated", "unchanged"]), [1, 3], "{}: {entity}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn evolving_adds_columns_to_the_target_and_fills_them() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"evolve\"\n");
        let before = bench.columns();
        bench.change(&ADDED);
        bench.source.run("INSERT INTO t VALUES (5, 'e', 50, 105)");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(actions(&plan), ["age added added_to_target"], "{}: {plan}", bench.direction);
        prints(&bench.project.run(["plan"]).expect(0), &["column age was added at the source (integer)", "added to the target"]);
        assert_eq!(bench.columns(), before, "{}: a plan changes nothing", bench.direction);
        bench.project.run(["verify"]).expect(2).says(&["age", "run the job first"]);
        let hash = plan["hash"].as_str().expect("a hash");
        let run = bench.project.run(["run", "--json", "--plan", hash]).expect(0).json();
        let names = ["read", "inserted", "updated", "unchanged"];
        assert_eq!(counts(&run["entities"][0], &names), [5, 1, 3, 1], "{}: {run}", bench.direction);
        assert_eq!(counts(&plan["changes"][0], &names), [5, 1, 3, 1], "{}: {plan}", bench.direction);
        let after = bench.target();
        assert_eq!(after.0.len(), 4, "{:?}", after.0);
        assert!(after.0[3].starts_with("age ") && after.0[3].ends_with([' ', 'S', '0']), "NULL is allowed: {:?}", after.0);
        assert_eq!(after.1, ["1 a 10 101", "2 b 20 102", "3 NULL 30 103", "4 d NULL NULL", "5 e 50 105"], "{}", bench.direction);
        bench.is_quiet();
        bench.project.run(["verify"]).expect(0).says(&[]);
        bench.write("");
        bench.is_quiet();
    }
}

#[test]
fn evolving_follows_a_renamed_column_with_a_new_one_and_keeps_the_old() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"evolve\"\n");
        // Nothing else has changed: a row is the same, but for its column's name.
        bench.change(&RENAMED);
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(actions(&plan), ["title added added_to_target", "name dropped kept"], "{}: {plan}", bench.direction);
        let said = ["column title was renamed at the source, from name", "column name was renamed at the source, to title"];
        prints(&bench.project.run(["plan"]).expect(0), &said);
        let entity = bench.entity(0);
        assert_eq!(counts(&entity, &["read", "updated", "unchanged"]), [4, 3, 1], "{}: {entity}", bench.direction);
        assert_eq!(counts(&plan["changes"][0], &["updated", "unchanged"]), [3, 1], "{}: {plan}", bench.direction);
        assert_eq!(bench.target().1, ["1 a 10 a", "2 b 20 b", "3 NULL 30 NULL", "4 d NULL d"], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn evolving_writes_a_dropped_column_no_more() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"evolve\"\n");
        let before = bench.columns();
        bench.change(&DROPPED);
        bench.source.run("UPDATE t SET amount = 11 WHERE id = 1");
        assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [1, 3], "{}", bench.direction);
        assert_eq!(bench.target(), (before, ["1 a 11", "2 b 20", "3 NULL 30", "4 d NULL"].map(str::to_owned).to_vec()));
        bench.is_quiet();
    }
}

#[test]
fn evolving_takes_a_retyped_column_only_where_the_targets_type_holds_all_of_it() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"evolve\"\n");
        let before = bench.target();
        let retype = |to: &str| match &bench.source {
            Database::Postgres(source) => source.run(&format!("ALTER TABLE t ALTER COLUMN amount TYPE {to} USING amount::{to}")),
            Database::Sqlite(source) => source.run(&RETYPED.sql.replace("numeric(9, 2)", to)),
        };
        retype("text");
        let plan = bench.project.run(["plan"]).expect(0);
        // A column of integers may hold text in SQLite.
        if pair.1 == Engine::Sqlite {
            prints(&plan, &["amount was retyped", "it is moved"]);
        } else {
            prints(&plan, &["amount was retyped", "a run is refused", "does not hold every value"]);
            let run = bench.project.run(["run"]).expect(2);
            run.says(&["entity t", "amount was retyped at the source, from integer to text", "change the target's column"]);
        }
        assert_eq!(bench.target(), before, "{}", bench.direction);
        // A narrower type is held by what is there.
        retype("smallint");
        assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [0, 4], "{}", bench.direction);
        assert_eq!(bench.target(), before, "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn rows_that_the_source_has_lost_go_although_its_columns_have_changed() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"evolve\"\ndeletes = \"hard\"\n");
        bench.change(&RENAMED);
        bench.source.run("DELETE FROM t WHERE id = 2");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        let entity = bench.entity(0);
        let names = ["read", "updated", "unchanged", "deleted"];
        assert_eq!(counts(&entity, &names), [3, 2, 1, 1], "{}: {entity}", bench.direction);
        assert_eq!(counts(&plan["changes"][0], &names), [3, 2, 1, 1], "{}: {plan}", bench.direction);
        assert_eq!(bench.target().1, ["1 a 10 a", "3 NULL 30 NULL", "4 d NULL d"], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn in_mode_update_what_the_target_has_changed_stays_while_an_added_column_is_filled() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "mode = \"update\"\ndrift = \"evolve\"\n");
        bench.target.run("UPDATE t SET name = 'kept' WHERE id = 1");
        bench.change(&ADDED);
        bench.source.run("UPDATE t SET amount = 21 WHERE id = 2");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        let entity = bench.entity(0);
        let names = ["read", "updated", "unchanged", "conflicts"];
        assert_eq!(counts(&entity, &names), [4, 3, 1, 0], "{}: {entity}", bench.direction);
        assert_eq!(counts(&plan["changes"][0], &names), [4, 3, 1, 0], "{}: {plan}", bench.direction);
        assert_eq!(bench.target().1, ["1 kept 10 101", "2 b 21 102", "3 NULL 30 103", "4 d NULL NULL"], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn in_mode_update_each_column_goes_by_what_was_synced_last_also_where_the_written_ones_change_later() {
    for pair in PAIRS {
        let names = ["read", "updated", "unchanged", "conflicts"];
        // A column that was left out is added by hand.
        let bench = Bench::new(pair, "mode = \"update\"\ndrift = \"ignore\"\n");
        bench.change(&ADDED);
        bench.entity(0);
        bench.target.run("UPDATE t SET name = 'kept' WHERE id = 1; ALTER TABLE t ADD COLUMN age integer");
        bench.source.run("UPDATE t SET amount = 21 WHERE id = 2");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        let entity = bench.entity(0);
        assert_eq!(counts(&entity, &names), [4, 3, 1, 0], "{}: {entity}", bench.direction);
        assert_eq!(counts(&plan["changes"][0], &names), [4, 3, 1, 0], "{}: {plan}", bench.direction);
        assert_eq!(bench.target().1, ["1 kept 10 101", "2 b 21 102", "3 NULL 30 103", "4 d NULL NULL"], "{}", bench.direction);
        bench.is_quiet();
        // A change is answered by leaving its column out.
        let bench = Bench::new(pair, "mode = \"update\"\n");
        bench.change(&RETYPED);
        bench.target.run("UPDATE t SET name = 'kept' WHERE id = 1");
        bench.source.run("UPDATE t SET name = 'other' WHERE id = 2");
        bench.project.run(["run"]).expect(2).says(&["column amount was retyped"]);
        bench.write("mode = \"update\"\n[[jobs.copy.entities]]\nsource = \"t\"\ncolumns.exclude = [\"amount\"]\n");
        assert_eq!(counts(&bench.entity(0), &names), [4, 1, 3, 0], "{}", bench.direction);
        assert_eq!(bench.target().1, ["1 kept 10", "2 other 20", "3 NULL 30", "4 d NULL"], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn an_entity_has_a_policy_of_its_own_and_columns_that_it_leaves_out_do_not_count() {
    for pair in PAIRS {
        let entity = |settings: &str| format!("drift = \"evolve\"\n[[jobs.copy.entities]]\nsource = \"t\"\n{settings}\n");
        let bench = Bench::new(pair, &entity("drift = \"refuse\""));
        bench.change(&ADDED);
        bench.project.run(["run"]).expect(2).says(&["column age was added"]);
        bench.write(&entity("drift = \"refuse\"\ncolumns.exclude = [\"age\"]"));
        bench.is_quiet();
        // Known by now, it is no change of the source when the job moves it: the target lacks it, as before there was such a rule.
        bench.write(&entity("drift = \"ignore\""));
        bench.project.run(["run"]).expect(1).says(&["the target's table has no column age"]);
        bench.target.run("ALTER TABLE t ADD COLUMN age integer");
        bench.write(&entity("drift = \"refuse\""));
        assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [3, 1], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn a_target_that_has_an_added_column_already_takes_it_once_the_change_is_accepted() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "");
        bench.change(&ADDED);
        bench.target.run("ALTER TABLE t ADD COLUMN age integer");
        bench.project.run(["run"]).expect(2).says(&["column age was added"]);
        bench.write("drift = \"ignore\"\n");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(actions(&plan), ["age added moved"], "{}: {plan}", bench.direction);
        assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [3, 1], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn a_column_that_was_left_out_is_added_when_the_policy_says_so_later() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"ignore\"\n");
        bench.change(&ADDED);
        bench.entity(0);
        bench.write("drift = \"evolve\"\n");
        assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [3, 1], "{}", bench.direction);
        assert_eq!(bench.target().1, ["1 a 10 101", "2 b 20 102", "3 NULL 30 103", "4 d NULL NULL"], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn a_table_without_a_key_is_refused_any_change_that_concerns_its_rows() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run("CREATE TABLE t (a integer, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y')");
        project.write_job(&source.url(), &target.url(), "drift = \"evolve\"\n");
        project.copy();
        source.run("ALTER TABLE t ADD COLUMN c integer");
        project.run(["run"]).expect(2).says(&["column c was added", "without a key"]);
        assert_eq!(target.count("t"), 3);
        project.write_job(&source.url(), &target.url(), "drift = \"ignore\"\n");
        for _ in 0..2 {
            let report = project.copy();
            assert_eq!(counts(&report["entities"][0], &["unchanged", "inserted"]), [3, 0], "{report}");
            let plan = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(plan["entities"][0]["drift"], Value::Null, "{plan}");
        }
    }
}

#[test]
fn a_target_of_an_earlier_version_remembers_no_columns_and_goes_on_as_before() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "");
        // What an earlier version has left: a checkpoint without the columns.
        match &bench.target {
            Database::Postgres(target) => target
                .run("UPDATE migrate.checkpoint SET content = (content::jsonb - 'source_columns' - 'written_columns')::text"),
            Database::Sqlite(target) => target.run(
                "UPDATE _migrate_checkpoint
                 SET checkpoint = json_remove(checkpoint, '$.source_columns', '$.written_columns')",
            ),
        }
        bench.is_quiet();
        bench.change(&ADDED);
        bench.project.run(["run"]).expect(2).says(&["column age was added"]);
    }
}

#[test]
fn columns_that_a_transformation_passes_on_are_added_as_it_leaves_them() {
    for pair in PAIRS {
        let step = "transform = [{ column = \"name\", text = [\"upper\"] }]";
        let settings = format!(
            "drift = \"evolve\"\n[[jobs.copy.entities]]\nsource = \"t\"\ncolumns.rename = {{ age = \"years\" }}\n{step}\n"
        );
        let bench = Bench::new(pair, &settings.replace("columns.rename = { age = \"years\" }\n", ""));
        bench.change(&ADDED);
        bench.write(&settings);
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(actions(&plan), ["age added added_to_target"], "{}: {plan}", bench.direction);
        assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [3, 1], "{}", bench.direction);
        assert!(bench.columns()[3].starts_with("years "), "{:?}", bench.columns());
        assert_eq!(bench.target().1, ["1 A 10 101", "2 B 20 102", "3 NULL 30 103", "4 D NULL NULL"], "{}", bench.direction);
        bench.is_quiet();
    }
}

#[test]
fn a_column_that_cannot_be_added_is_said_before_a_row_moves() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)");
        let (url, says) = match &target {
            Database::Postgres(database) => {
                database.run(&format!(
                    "DO $$ BEGIN CREATE ROLE adds_no_columns LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
                     CREATE TABLE t (id integer PRIMARY KEY); GRANT SELECT, INSERT, UPDATE ON t TO adds_no_columns; \
                     GRANT CREATE ON DATABASE {} TO adds_no_columns",
                    identifier(database.name())
                ));
                (database.url_as("adds_no_columns", None), "only the table's owner may add columns")
            }
            Database::Sqlite(database) => {
                database.run("CREATE TABLE t (id INTEGER PRIMARY KEY) STRICT");
                (database.url(), "a STRICT table takes no column of type")
            }
        };
        project.write_job(&source.url(), &url, "drift = \"evolve\"\n");
        project.copy();
        source.run("ALTER TABLE t ADD COLUMN day date; INSERT INTO t VALUES (2, NULL)");
        project.run(["check"]).expect(4).says(&[]);
        project.run(["run"]).expect(1).says(&[says, "table"]);
        assert_eq!(target.count("t"), 1, "{from:?} to {to:?}");
        // Added by hand, it is moved.
        target.run(if to == Engine::Sqlite { "ALTER TABLE t ADD COLUMN day TEXT" } else { "ALTER TABLE t ADD COLUMN day date" });
        assert_eq!(counts(&project.copy()["entities"][0], &["inserted", "unchanged"]), [1, 1], "{from:?} to {to:?}");
    }
}

#[test]
fn a_column_of_a_type_that_the_target_lacks_brings_it_along() {
    let bench = Bench::new(PAIRS[0], "drift = \"evolve\"\n");
    bench.source.run(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); ALTER TABLE t ADD COLUMN mood mood; UPDATE t SET mood = 'bad' WHERE id = 1",
    );
    assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [1, 3]);
    assert_eq!(bench.target().1[0], "1 a 10 bad");
    bench.is_quiet();
    // Another label is another type, which the target's does not hold.
    bench.source.run("ALTER TYPE mood ADD VALUE 'so so'");
    bench.project.run(["run"]).expect(2).says(&["column mood was retyped", "(good, bad)", "(good, bad, so so)"]);
    bench.target.run("ALTER TYPE mood ADD VALUE 'so so'");
    assert_eq!(counts(&bench.entity(0), &["updated", "unchanged"]), [0, 4]);
    bench.is_quiet();
}

#[test]
fn a_dropped_column_that_the_target_requires_is_said_before_a_row_moves() {
    for pair in PAIRS {
        let bench = Bench::new(pair, "drift = \"ignore\"\n");
        bench.source.run("ALTER TABLE t ADD COLUMN code integer NOT NULL DEFAULT 1");
        bench.target.run("ALTER TABLE t ADD COLUMN code integer NOT NULL DEFAULT 1");
        bench.entity(0);
        match &bench.target {
            Database::Postgres(target) => target.run("ALTER TABLE t ALTER COLUMN code DROP DEFAULT"),
            // A default stays in SQLite, which then has a value for new rows.
            Database::Sqlite(_) => continue,
        }
        let before = bench.target();
        bench.source.run("ALTER TABLE t DROP COLUMN code; INSERT INTO t (id) VALUES (5)");
        bench.project.run(["run"]).expect(1).says(&["column code needs a value", "columns.set"]);
        assert_eq!(bench.target(), before, "{}", bench.direction);
    }
}

#[test]
fn a_retyped_key_is_refused_whatever_the_policy_until_the_rows_are_adopted() {
    for (pair, policy) in crosswise(["refuse", "ignore", "evolve"]) {
        let settings = format!("deletes = {{ mode = \"hard\", max = 9 }}\ndrift = \"{policy}\"\n");
        let bench = Bench::new(pair, &settings);
        let before = bench.target();
        match &bench.source {
            Database::Postgres(source) => source.run("ALTER TABLE t ALTER id TYPE bigint"),
            Database::Sqlite(source) => source.run(
                "CREATE TABLE u (id numeric PRIMARY KEY, name text, amount integer); INSERT INTO u SELECT * FROM t;
                 DROP TABLE t; ALTER TABLE u RENAME TO t",
            ),
        }
        bench.source.run("DELETE FROM t WHERE id = 1");
        let plan = bench.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(actions(&plan), ["id retyped refused"], "{} {policy}: {plan}", bench.direction);
        bench.project.run(["run"]).expect(2).says(&["entity t", "column id was retyped", "belongs to the key", "migrate adopt"]);
        assert_eq!(bench.target(), before, "{} {policy}", bench.direction);
        let _ = bench.project.run(["adopt"]).expect(0);
        bench.is_quiet();
        bench.source.run("DELETE FROM t WHERE id = 2");
        assert_eq!(bench.entity(0)["deleted"], 1, "{} {policy}", bench.direction);
        // What has gone before they were adopted is nobody's.
        assert_eq!(bench.target().1, ["1 a 10", "3 NULL 30", "4 d NULL"], "{} {policy}", bench.direction);
    }
}

#[test]
fn a_key_of_other_columns_is_refused_whatever_the_policy_and_the_former_one_can_be_kept() {
    for ((from, to), policy) in crosswise(["refuse", "ignore", "evolve"]) {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run("CREATE TABLE t (id integer NOT NULL PRIMARY KEY, code integer NOT NULL); INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)");
        let settings =
            format!("deletes = {{ mode = \"hard\", max = 9 }}\ndrift = \"{policy}\"\n[[jobs.copy.entities]]\nsource = \"t\"\n");
        project.write_job(&source.url(), &target.url(), &settings);
        project.copy();
        source.run(
            "CREATE TABLE u (id integer NOT NULL, code integer NOT NULL PRIMARY KEY); INSERT INTO u SELECT id, code FROM t;
             DROP TABLE t; ALTER TABLE u RENAME TO t; DELETE FROM t WHERE id = 2",
        );
        let said = ["the key was changed at the source, from (id) to (code)", "key = [\"id\"]", "migrate adopt"];
        project.run(["run"]).expect(2).says(&said);
        assert_eq!(target.count("t"), 3, "{from:?} to {to:?} {policy}");
        project.write_job(&source.url(), &target.url(), &format!("{settings}key = [\"id\"]\n"));
        assert_eq!(project.copy()["entities"][0]["deleted"], 1, "{from:?} to {to:?} {policy}");
        assert_eq!(target.matching("t", "id = 2"), 0, "{from:?} to {to:?} {policy}");
    }
}

#[test]
fn a_column_that_two_entities_would_add_to_one_table_as_two_types_is_refused_by_both_names() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run("CREATE TABLE a (id text PRIMARY KEY); CREATE TABLE b (id text PRIMARY KEY); INSERT INTO a VALUES ('a1'); INSERT INTO b VALUES ('b1')");
        target.run("CREATE TABLE t (id varchar(9) PRIMARY KEY, kind varchar(9) NOT NULL)");
        let entity = |name: &str| {
            format!("[[jobs.copy.entities]]\nsource = \"{name}\"\ntarget = \"t\"\ncolumns.set = {{ kind = \"{name}\" }}\n")
        };
        let job = format!("drift = \"evolve\"\n{}{}", entity("a"), entity("b"));
        project.write_job(&source.url(), &target.url(), &job);
        project.copy();
        source.run("ALTER TABLE a ADD COLUMN note integer; ALTER TABLE b ADD COLUMN note text; UPDATE b SET note = '007'");
        project.run(["run"]).expect(2).says(&[
            "entities \"a\" and \"b\" both feed the table",
            "column note",
            "text for the other",
        ]);
        // Of one type it is added once.
        source.run("ALTER TABLE a DROP COLUMN note; ALTER TABLE a ADD COLUMN note text");
        project.copy();
        assert_eq!(target.matching("t", "note = '007'"), 1, "{from:?} to {to:?}");
    }
}
