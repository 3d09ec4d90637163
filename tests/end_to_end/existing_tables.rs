//! Targets that have tables already: with triggers, rules, generated columns and rows of their own.

use migrate_tests::{Postgres, Project, Server, Sqlite, assert_same_rows, assert_same_sqlite_file, postgres_columns};

fn columns(database: &Postgres, table: &str) -> Vec<(String, String)> {
    postgres_columns(database, table)
}

#[test]
fn triggers_run_are_listed_and_what_they_write_is_no_difference() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY, v text, stamp text); INSERT INTO t SELECT i, 'v' || i, 'source' FROM generate_series(1, 2000) i");
    target.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text, stamp text); CREATE TABLE seen (id int); \
         CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.stamp = 'trigger'; INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END $$; \
         CREATE TRIGGER stamps BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamped();",
    );
    let project = Project::copying(&source.url(), &target.url());
    let plan = project.run(["plan"]).expect(0);
    assert!(plan.output().contains("stamps"), "the trigger is listed:\n{}", plan.output());
    let first = project.copy();
    assert_eq!(first["entities"][0]["inserted"], 2000, "{first}");
    assert_eq!(target.count("SELECT count(*) FROM t WHERE stamp = 'trigger'"), 2000);
    assert_eq!(target.count("SELECT count(*) FROM seen"), 2000);
    let logs = project.run(["executions", "logs"]).expect(0).output();
    assert!(logs.contains("column stamp is owned by the target's triggers"), "{logs}");
    let plan = project.run(["plan"]).expect(0);
    assert!(plan.output().contains("the target's triggers own (stamp)"), "{}", plan.output());
    // The trigger owns its column: it is neither a change nor a difference.
    let second = project.copy();
    assert_eq!(second["entities"][0]["unchanged"], 2000, "{second}");
    assert_eq!(target.count("SELECT count(*) FROM seen"), 2000);
}

#[test]
fn an_insert_that_a_trigger_sends_elsewhere_is_counted_by_what_was_written_not_by_what_the_server_reports() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
    // As tables were partitioned before there were partitions; the child has no key of its own.
    target.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE child () INHERITS (t); \
         CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.child VALUES (NEW.*); RETURN NULL; END $$; \
         CREATE TRIGGER redirects BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION redirect();",
    );
    let project = Project::new();
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"t\"\n");
    assert_eq!(project.copy()["entities"][0]["inserted"], 100);
    assert_eq!(project.copy()["entities"][0]["unchanged"], 100);
    source.run("UPDATE t SET v = 'w' WHERE id <= 7");
    assert_eq!(project.copy()["entities"][0]["updated"], 7);
    assert_same_rows((&source, "t"), (&target, "t"), &columns(&source, "t"));
    assert_eq!(target.count("SELECT count(*) FROM ONLY t"), 0);
}

#[test]
fn a_row_that_a_trigger_keeps_out_is_skipped_and_not_sent_again_until_it_changes() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
    target.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE asked (id int); \
         CREATE FUNCTION keeps_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.asked VALUES (NEW.id); \
         RETURN CASE WHEN NEW.id > 10 THEN NEW END; END $$; \
         CREATE TRIGGER guard BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keeps_out();",
    );
    let project = Project::copying(&source.url(), &target.url());
    let entity = |report: &serde_json::Value, counter: &str| report["entities"][0][counter].as_u64();
    let run = project.run(["run", "--json"]).expect(0);
    run.says(&["10 rows are not in the target as they were written", "triggers or rules"]);
    let first = run.json();
    assert_eq!((entity(&first, "inserted"), entity(&first, "skipped")), (Some(90), Some(10)), "{first}");
    assert_eq!(entity(&project.copy(), "unchanged"), Some(100));
    assert_eq!(target.count("SELECT count(*) FROM asked"), 100);
    source.run("UPDATE t SET v = 'w' WHERE id = 3");
    assert_eq!(entity(&project.copy(), "skipped"), Some(1));
    assert_eq!(target.count("SELECT count(*) FROM asked"), 101);
}

#[test]
fn an_update_that_a_trigger_swallows_says_nothing_about_whose_the_columns_are() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i");
    target.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); \
         CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN NEW.id > 10 THEN NEW END; END $$; \
         CREATE TRIGGER guard BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION keeps();",
    );
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    source.run("UPDATE t SET v = 'w' WHERE id IN (3, 30)");
    let report = project.copy();
    assert_eq!((&report["entities"][0]["skipped"], &report["entities"][0]["updated"]), (&1.into(), &1.into()), "{report}");
    target.run("UPDATE t SET v = 'damaged' WHERE id = 50");
    let verified = project.run(["verify", "--json"]).expect(4).json();
    assert_eq!(verified["entities"][0]["different"], 2, "{verified}");
}

#[test]
fn rows_of_the_target_are_adopted_overwritten_or_left_alone() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'same'), (2, 'new'), (3, 'changed'), (4, NULL)",
    );
    target.run("CREATE TABLE t (id bigint PRIMARY KEY, v varchar(20), own text DEFAULT 'own'); INSERT INTO t VALUES (1, 'same', 'kept'), (3, 'old', 'kept'), (9, 'extra', 'kept')");
    let report = Project::copying(&source.url(), &target.url()).copy();
    let entity = &report["entities"][0];
    assert_eq!((&entity["inserted"], &entity["updated"], &entity["unchanged"]), (&2.into(), &1.into(), &1.into()), "{entity}");
    let rows: Vec<String> = target
        .rows("SELECT concat_ws(' ', id, v, own) FROM t ORDER BY id")
        .into_iter()
        .map(|mut row| row.remove(0).expect("text"))
        .collect();
    assert_eq!(rows, ["1 same kept", "2 new own", "3 changed kept", "4 own", "9 extra kept"]);
}

#[test]
fn columns_of_another_order_case_and_width_are_matched_by_name() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id smallint PRIMARY KEY, a int, b text, c numeric(6,2)); INSERT INTO t SELECT i, i * 2, 'b' || i, i / 4.0 FROM generate_series(1, 300) i");
    target.run("CREATE TABLE t (c numeric, b varchar(100), a bigint, id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (a * 2) STORED)");
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    assert_same_rows((&source, "t"), (&target, "t"), &columns(&source, "t"));
    assert_eq!(project.copy()["entities"][0]["unchanged"], 300);
}

#[test]
fn an_identity_column_that_is_always_generated_takes_the_sources_values() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    let table = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)";
    source.run(&format!("{table}; INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 50)"));
    target.run(table);
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    assert_same_rows((&source, "t"), (&target, "t"), &columns(&source, "t"));
    source.run("UPDATE t SET v = 'w' WHERE id % 10 = 0");
    assert_eq!(project.copy()["entities"][0]["updated"], 5);
    target.run("INSERT INTO t (v) VALUES ('next')");
    assert_eq!(target.count("SELECT max(id) FROM t"), 51);
}

#[test]
fn tables_of_sqlite_with_triggers_keep_what_was_copied_or_say_so() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source
        .run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, at TEXT); INSERT INTO t VALUES (1, 'a', 'then'), (2, 'b', 'then')");
    let target = Sqlite::new(project.path().join("target.sqlite"));
    target.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, at TEXT);
         CREATE TRIGGER touches AFTER INSERT ON t BEGIN UPDATE t SET at = 'now' WHERE id = NEW.id; END;",
    );
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    assert!(project.run(["plan"]).expect(0).output().contains("touches"));
    project.copy();
    assert_eq!(target.count("SELECT count(*) FROM t WHERE at = 'now'"), 2);
    assert_eq!(project.copy()["entities"][0]["unchanged"], 2);
}

#[test]
fn into_sqlite_columns_whose_affinity_would_change_a_value_it_is_refused_not_changed() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT, f); INSERT INTO t VALUES (1, '007', -0.0), (2, 'seven', 1.5), (3, '7', 2.0)");
    let target = Sqlite::new(project.path().join("target.sqlite"));
    // STRING has numeric affinity: '007' would become 7 in silence.
    target.run("CREATE TABLE t (id INTEGER PRIMARY KEY, s STRING, f REAL)");
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let run = project.run(["run", "--json"]);
    assert!(matches!(run.code, Some(0 | 3)), "{run:?}");
    let report = run.json();
    let quarantined = report["entities"][0]["quarantined"].as_u64().expect("a number");
    assert_eq!(quarantined, 1, "only the first row cannot be held: {report}");
    assert_eq!(target.texts("SELECT quote(id) || quote(s) || quote(f) FROM t ORDER BY id"), ["2'seven'1.5", "372.0"]);
}

const ALLOWING: &str = "mode = \"replace\"\norphans = \"allow\"\nentities = \"*\"\n";

#[test]
fn references_that_sqlite_never_checked_are_checked_and_what_breaks_them_is_said() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "PRAGMA foreign_keys = OFF;
         CREATE TABLE parent (id INTEGER PRIMARY KEY, other INTEGER REFERENCES parent);
         CREATE TABLE good (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent (id));
         CREATE TABLE bad (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent (id));
         INSERT INTO parent VALUES (1, 2), (2, 1), (3, NULL); INSERT INTO good VALUES (1, 1), (2, NULL); INSERT INTO bad VALUES (1, 1), (2, 77);",
    );
    let target = Postgres::new(Server::First);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    project.run(["run"]).expect(1).says(&["bad", "1 row refers by (parent) to a parent that is not there", "keys 2"]);
    project.write_job(&source.url(), &target.url(), ALLOWING);
    let run = project.run(["run"]).expect(0);
    run.says(&["bad", "1 rows refer to a parent that does not exist"]);
    let references = target
        .rows("SELECT conrelid::regclass, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY conrelid::regclass::text");
    let row = |table: &str, valid: &str| vec![Some(table.to_owned()), Some(valid.to_owned())];
    assert_eq!(references, [row("bad", "f"), row("good", "t"), row("parent", "t")]);
    assert_eq!(target.count("SELECT count(*) FROM bad"), 2);

    let copy = Sqlite::new(project.path().join("copied.sqlite"));
    project.write_job(&source.url(), &copy.url(), ALLOWING);
    let run = project.run(["run"]).expect(0);
    run.says(&["bad", "1 rows refer"]);
    assert_same_sqlite_file(&source, &copy);
}

#[test]
fn other_schemas_than_public_are_copied_under_their_own_names() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run(
        "CREATE SCHEMA \"odd schema\"; CREATE TYPE \"odd schema\".kind AS ENUM ('x', 'y'); \
         CREATE TABLE \"odd schema\".t (id int PRIMARY KEY, k \"odd schema\".kind DEFAULT 'x'); INSERT INTO \"odd schema\".t VALUES (1, 'y'); \
         CREATE TABLE t (id int PRIMARY KEY, other int REFERENCES \"odd schema\".t); INSERT INTO t VALUES (5, 1)",
    );
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    project.copy();
    for table in ["\"odd schema\".t", "public.t"] {
        assert_same_rows((&source, table), (&target, table), &columns(&source, table));
    }
}

#[test]
fn rows_that_the_target_takes_for_one_are_refused_and_never_lost_in_silence() {
    let project = Project::new();
    let source = Postgres::new(Server::First);
    source.run("CREATE TABLE t (k text PRIMARY KEY, v int); INSERT INTO t VALUES ('Word', 1), ('word', 2), ('other', 3)");
    // Rows of its own, so that nothing is loaded blindly.
    let target = Sqlite::new(project.path().join("target.db"));
    target.run("CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v INTEGER); INSERT INTO t VALUES ('other', 0)");
    project.write_job(&source.url(), &target.url(), "");
    project.run(["run"]).expect(1).says(&["1 rows of the source are not in the target", "(k)", "give another key"]);
    let project = Project::new();
    let target = Postgres::new(Server::Second);
    target.run("CREATE EXTENSION citext; CREATE TABLE t (k citext PRIMARY KEY, v int); INSERT INTO t VALUES ('other', 0)");
    project.write_job(&source.url(), &target.url(), "[[jobs.copy.entities]]\nsource = \"t\"\n");
    let run = project.run(["run", "--json"]).expect(3).json();
    assert_eq!((&run["entities"][0]["quarantined"], &run["entities"][0]["read"]), (&1.into(), &3.into()), "{run}");
}

#[test]
fn a_respelled_key_is_the_same_row_to_a_target_that_folds_it() {
    let project = Project::new();
    let source = Postgres::new(Server::First);
    source.run("CREATE TABLE t (k text PRIMARY KEY, v int); INSERT INTO t VALUES ('Word', 1), ('other', 3)");
    let target = Postgres::new(Server::Second);
    target.run("CREATE EXTENSION citext; CREATE TABLE t (k citext PRIMARY KEY, v int)");
    project.write_job(
        &source.url(),
        &target.url(),
        "mode = \"replace\"\ndeletes = \"hard\"\n[[jobs.copy.entities]]\nsource = \"t\"\n",
    );
    project.copy();
    source.run("UPDATE t SET k = 'wORD', v = 2 WHERE k = 'Word'");
    let report = project.copy();
    assert_eq!((&report["entities"][0]["updated"], &report["entities"][0]["deleted"]), (&1.into(), &0.into()), "{report}");
    assert_eq!(target.value("SELECT k || ' ' || v FROM t WHERE v = 2").as_deref(), Some("wORD 2"));
    assert_eq!(target.count("SELECT count(*) FROM t"), 2);
    assert_eq!(project.copy()["entities"][0]["unchanged"], 2, "P4");
}

#[test]
fn storage_that_a_created_table_does_not_have_is_listed_in_the_plan() {
    let project = Project::new();
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run(
        "CREATE UNLOGGED TABLE i (id int PRIMARY KEY);
         CREATE TABLE r (id int PRIMARY KEY); ALTER TABLE r REPLICA IDENTITY FULL;",
    );
    project.write_job(&source.url(), &target.url(), "");
    let plan = project.run(["plan"]).expect(0).output();
    for what in ["UNLOGGED is not carried over", "REPLICA IDENTITY is not carried over"] {
        assert!(plan.contains(what), "{what}: {plan}");
    }
}

#[test]
fn a_table_without_columns_arrives_and_is_found_again() {
    let project = Project::new();
    let source = Postgres::new(Server::First);
    source.run(
        "CREATE TABLE t (); INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES; CREATE TABLE u (id int PRIMARY KEY)",
    );
    let target = Sqlite::new(project.path().join("b.db"));
    project.write_job(&source.url(), &target.url(), "");
    project.copy();
    assert_eq!(target.count("SELECT count(*) FROM t"), 2);
    let again = project.copy();
    assert!(again["entities"].as_array().expect("entities").iter().all(|e| e["unchanged"] == e["read"]), "P4: {again}");
}
