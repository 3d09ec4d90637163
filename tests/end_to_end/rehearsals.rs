//! Plans that are rehearsed: the run made in full, constraints and triggers included, and all of it taken back.

use migrate_tests::{Database, Engine, Postgres, Project, Run, Server, Sqlite, identifier};
use serde_json::Value;
use std::time::{Duration, Instant};

const TARGETS: [Engine; 2] = [Engine::Postgres(Server::First), Engine::Sqlite];

const COUNTERS: [&str; 8] = ["read", "inserted", "updated", "unchanged", "skipped", "filtered", "quarantined", "deleted"];

fn counts(entities: &Value) -> Vec<(String, Vec<u64>)> {
    let entities = entities.as_array().expect("a list of entities").iter();
    let of = |e: &Value| COUNTERS.iter().map(|c| e[c].as_u64().unwrap_or_else(|| panic!("{c} of {e}"))).collect();
    let mut counts: Vec<_> = entities.map(|e| (e["name"].as_str().expect("a name").to_owned(), of(e))).collect();
    counts.sort();
    counts
}

/// Everything that a target holds: definitions, rows and the library's own tables; not where sequences stand.
fn dump(target: &Database) -> String {
    match target {
        Database::Postgres(database) => dump_postgres(database),
        Database::Sqlite(database) => dump_sqlite(database),
    }
}

fn dump_postgres(database: &Postgres) -> String {
    let tables = "SELECT n.nspname, c.relname, c.relkind::text, c.relfilenode::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2";
    let tables = database.rows(tables);
    let mut text = format!("{tables:?}\n");
    for row in &tables {
        let of = |place: usize| row[place].as_deref().expect("no NULL");
        if of(2) == "r" {
            // With the transaction that has written each row.
            let sql = format!("SELECT xmin::text, t::text FROM \"{}\".\"{}\" t ORDER BY 2", of(0), of(1));
            text.push_str(&format!("{}.{}: {:?}\n", of(0), of(1), database.rows(&sql)));
        }
    }
    text
}

fn dump_sqlite(database: &Sqlite) -> String {
    let mut text = format!("{:?}\n", database.rows("SELECT type, name, sql FROM sqlite_schema ORDER BY name"));
    for table in database.texts("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
        text.push_str(&format!("{table}: {:?}\n", database.rows(&format!("SELECT * FROM \"{table}\""))));
    }
    let bytes = std::fs::read(database.path()).expect("the file is there");
    text + &format!(
        "{} bytes: {:?}",
        bytes.len(),
        bytes.iter().fold(0u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)))
    )
}

fn session_count(database: &Postgres) -> u64 {
    database.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
}

/// Rehearses, and asserts that it left nothing, says what the run then does, and has the plan's hash.
fn rehearse(project: &Project, target: &Database, code: i32) -> Value {
    let plain = project.run(["plan", "--json"]).expect(0).json();
    assert_eq!(plain["rehearsal"], Value::Null, "nobody has asked for it");
    let before = dump(target);
    let rehearsed = project.run(["plan", "--rehearse", "--json"]).expect(code).json();
    assert_eq!(dump(target), before, "nothing stays");
    if let Database::Postgres(database) = target {
        // A server takes its time to see that a session has gone, not ten seconds.
        let patience = Instant::now() + Duration::from_secs(10);
        while session_count(database) > 0 {
            assert!(Instant::now() < patience, "no session stays");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(rehearsed["hash"], plain["hash"]);
    assert_eq!(counts(&rehearsed["changes"]), counts(&plain["changes"]), "the plan itself is the same");
    rehearsed
}

fn run_does(project: &Project, rehearsed: &Value, code: i32) -> Value {
    let report = project.run(["run", "--json"]).expect(code).json();
    assert_eq!(counts(&rehearsed["rehearsal"]["entities"]), counts(&report["entities"]));
    assert_eq!(rehearsed["rehearsal"]["status"], report["status"]);
    report
}

fn entity<'v>(entities: &'v Value, name: &str) -> &'v Value {
    entities.as_array().expect("a list").iter().find(|e| e["name"] == name).unwrap_or_else(|| panic!("{name} in {entities}"))
}

fn keys(refused: &Value) -> Vec<String> {
    let key = |row: &Value| row["key"].as_array().expect("a key").iter().map(|k| k.as_str().expect("text").to_owned()).collect();
    let mut keys: Vec<String> = refused.as_array().map(|rows| rows.iter().map(key).collect()).unwrap_or_default();
    keys.sort();
    keys
}

fn prints(run: &Run, pieces: &[&str]) {
    for piece in pieces {
        assert!(run.output().contains(piece), "{piece:?} is expected in:\n{}", run.output());
    }
}

const SOURCE: &str = "
    CREATE TABLE checked (id integer PRIMARY KEY, n integer, secret text);
    CREATE TABLE guarded (id integer PRIMARY KEY, name text);
    CREATE TABLE parent (id integer PRIMARY KEY, name text);
    CREATE TABLE child (id integer PRIMARY KEY, parent integer);
    CREATE TABLE touched (id integer PRIMARY KEY, name text);
    INSERT INTO checked VALUES (1, 5, 'a'), (2, -5, 'hunter2'), (3, 7, 'b'), (4, -7, 'hunter4');
    INSERT INTO guarded VALUES (1, 'fine'), (2, 'wrong'), (3, 'kept out'), (4, 'fine');
    INSERT INTO parent VALUES (1, 'one'), (2, 'two');
    INSERT INTO child VALUES (10, 1), (11, 2), (12, 99);
    INSERT INTO touched VALUES (1, 'one'), (2, 'two');";

const TABLES: &str = "
    CREATE TABLE checked (id integer PRIMARY KEY, n integer CHECK (n > 0), secret text);
    CREATE TABLE guarded (id integer PRIMARY KEY, name text);
    CREATE TABLE parent (id integer PRIMARY KEY, name text);
    CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE touched (id integer PRIMARY KEY, name text);";

const POSTGRES_TRIGGERS: &str = "
    CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.name = 'wrong' THEN RAISE EXCEPTION 'that name is taken by nobody' USING ERRCODE = 'check_violation'; END IF;
        IF NEW.name = 'kept out' THEN RETURN NULL; END IF;
        RETURN NEW; END $$;
    CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON guarded FOR EACH ROW EXECUTE FUNCTION guard();
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name = upper(NEW.name); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();";

const SQLITE_TRIGGERS: &str = "
    CREATE TRIGGER guard BEFORE INSERT ON guarded WHEN NEW.name = 'wrong' BEGIN SELECT RAISE(ABORT, 'that name is taken by nobody'); END;
    CREATE TRIGGER keep_out BEFORE INSERT ON guarded WHEN NEW.name = 'kept out' BEGIN SELECT RAISE(IGNORE); END;
    CREATE TRIGGER touch AFTER INSERT ON touched BEGIN UPDATE touched SET name = upper(NEW.name) WHERE id = NEW.id; END;";

/// A source in SQLite, and a target whose constraints and triggers refuse, alter and keep out some of its rows.
fn strict(engine: Engine) -> (Project, Database) {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(engine, project.path(), "target");
    source.run(SOURCE);
    target.run(TABLES);
    target.run(if engine == Engine::Sqlite { SQLITE_TRIGGERS } else { POSTGRES_TRIGGERS });
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\norphans = \"allow\"\n");
    (project, target)
}

#[test]
fn a_rehearsal_finds_what_the_targets_constraints_and_triggers_do_as_the_run_does() {
    for engine in TARGETS {
        let (project, target) = strict(engine);
        let plan = rehearse(&project, &target, 3);
        for name in ["checked", "guarded", "child"] {
            assert_eq!(entity(&plan["changes"], name)["quarantined"], 0, "{engine:?}: a plan alone does not see it");
        }
        let entities = &plan["rehearsal"]["entities"];
        assert_eq!(keys(&entity(entities, "checked")["refused"]), ["2", "4"], "{engine:?}: {entities}");
        // What a trigger keeps out of SQLite is refused, and in PostgreSQL skipped, as by the run.
        let (refused, skipped): (&[&str], u64) = if engine == Engine::Sqlite { (&["2", "3"], 0) } else { (&["2"], 1) };
        assert_eq!(keys(&entity(entities, "guarded")["refused"]), refused, "{engine:?}: {entities}");
        assert_eq!(entity(entities, "guarded")["skipped"], skipped, "{engine:?}: {entities}");
        assert_eq!(keys(&entity(entities, "child")["refused"]), ["12"], "{engine:?}: {entities}");
        let remarks = plan["rehearsal"]["remarks"].to_string();
        assert!(remarks.contains("the column name is owned by the target's triggers"), "{engine:?}: {remarks}");
        assert_eq!(plan["rehearsal"]["status"], "partial");
        let report = run_does(&project, &plan, 3);
        assert_eq!(entity(&report["entities"], "checked")["quarantined"], 2);
        // Once more, now that the target remembers: what was refused is refused again.
        let plan = rehearse(&project, &target, 3);
        assert_eq!(keys(&entity(&plan["rehearsal"]["entities"], "checked")["refused"]), ["2", "4"]);
        run_does(&project, &plan, 3);
    }
}

#[test]
fn a_rehearsal_shows_the_values_of_refused_rows_only_on_request() {
    for engine in TARGETS {
        let (project, _target) = strict(engine);
        for arguments in [&["plan", "--rehearse"][..], &["plan", "--rehearse", "--json"]] {
            let run = project.run(arguments).expect(3);
            assert!(!run.output().contains("hunter2"), "{}", run.output());
        }
        let run = project.run(["plan", "--rehearse"]).expect(3);
        prints(&run, &["rows of checked that would be refused, 2 of 2:", "(2) ", "would end partial", "Nothing was written"]);
        prints(&project.run(["plan", "--rehearse", "--show-values"]).expect(3), &["secret: \"hunter2\""]);
        prints(&project.run(["plan", "--rehearse", "--json", "--show-values"]).expect(3), &["hunter2"]);
        project.run(["plan", "--rehearse", "--schema-only"]).expect(2).says(&["cannot be used with"]);
    }
}

#[test]
fn tables_that_the_run_would_create_are_created_and_gone_again() {
    for engine in TARGETS {
        let project = Project::new();
        let source = Database::new(Engine::Sqlite, project.path(), "source");
        let target = Database::new(engine, project.path(), "target");
        source.run("
            CREATE TABLE parent (id integer PRIMARY KEY, name text UNIQUE, boss integer REFERENCES parent (id));
            CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent (id));
            CREATE TABLE plain (a integer, b text);
            INSERT INTO parent WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, 'name ' || i, 3001 - i FROM n;
            INSERT INTO child SELECT id, id FROM parent;
            INSERT INTO plain VALUES (1, 'x'), (1, 'x'), (2, NULL)");
        target.run("CREATE TABLE other (id integer PRIMARY KEY)");
        project.write_job(&source.url(), &target.url(), "batch_rows = 500\nmode = \"replace\"\ndeletes = \"hard\"\n");
        let plan = rehearse(&project, &target, 0);
        assert_eq!(plan["rehearsal"]["status"], "succeeded");
        run_does(&project, &plan, 0);
        source.run("DELETE FROM child WHERE id % 7 = 0; UPDATE parent SET name = 'new ' || id WHERE id % 3 = 0; DELETE FROM plain WHERE a = 2");
        let plan = rehearse(&project, &target, 0);
        assert_eq!(entity(&plan["rehearsal"]["entities"], "child")["deleted"], 428);
        run_does(&project, &plan, 0);
        let plan = rehearse(&project, &target, 0);
        assert_eq!(entity(&plan["rehearsal"]["entities"], "parent")["unchanged"], 3000);
    }
}

#[test]
fn a_rehearsal_ends_where_the_limit_of_refused_rows_ends_the_run() {
    for engine in TARGETS {
        let project = Project::new();
        let source = Database::new(Engine::Sqlite, project.path(), "source");
        let target = Database::new(engine, project.path(), "target");
        source.run(
            "
            CREATE TABLE pair (id integer PRIMARY KEY, code text);
            INSERT INTO pair VALUES (1, 'a'), (2, 'a')",
        );
        target.run("CREATE TABLE pair (id integer PRIMARY KEY, code text UNIQUE)");
        project.write_job(&source.url(), &target.url(), "max_quarantined = 0\n");
        let plan = rehearse(&project, &target, 1);
        assert_eq!(plan["rehearsal"]["status"], "failed");
        let error = plan["rehearsal"]["error"].as_str().expect("an error").to_owned();
        assert!(error.contains("were refused"), "{error}");
        let report = project.run(["run", "--json"]).expect(1).json();
        assert!(report["error"]["message"].as_str().expect("a message").contains("were refused"), "{report}");
    }
}

#[test]
fn ids_that_the_target_gives_are_drawn_and_the_plan_says_that_they_are_lost() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Postgres::new(Server::First);
    source.run(
        "
        CREATE TABLE person (id integer PRIMARY KEY, name text, boss integer REFERENCES person (id));
        INSERT INTO person VALUES (1, 'a', 3), (2, 'b', 1), (3, 'c', NULL)",
    );
    target.run("CREATE TABLE person (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text CHECK (name <> 'b'), boss integer REFERENCES person (id));
                INSERT INTO person (name) VALUES ('there')");
    project.write_job(&source.url(), &target.url(), "[[jobs.copy.entities]]\nsource = \"person\"\ngenerated = [\"id\"]\n");
    let target = Database::Postgres(target);
    let plan = rehearse(&project, &target, 3);
    assert_eq!(keys(&entity(&plan["rehearsal"]["entities"], "person")["refused"]), ["2"]);
    assert!(plan["rehearsal"]["notes"].to_string().contains("sequences"), "{plan}");
    run_does(&project, &plan, 3);
}

#[test]
fn a_rehearsal_waits_for_no_fence_and_takes_none() {
    let (project, target) = strict(Engine::Postgres(Server::First));
    let _ = project.run(["run"]).expect(3);
    let Database::Postgres(database) = &target else { unreachable!("it is one") };
    let fence = || database.rows("SELECT job, epoch::text, execution FROM migrate.fence");
    let before = fence();
    // Somebody holds the fence's row, as a run does at its commit.
    let mut holder = database.session();
    holder.run("BEGIN; SELECT FROM migrate.fence FOR UPDATE");
    let _ = project.run(["plan", "--rehearse"]).expect(3);
    holder.run("ROLLBACK");
    assert_eq!(fence(), before);
}

#[test]
fn a_rehearsal_that_is_interrupted_leaves_nothing() {
    let (project, target) = strict(Engine::Postgres(Server::First));
    let Database::Postgres(database) = &target else { unreachable!("it is one") };
    let before = dump(&target);
    // The rehearsal comes to wait for a row that somebody else has inserted.
    let mut other = database.session();
    other.run("BEGIN; INSERT INTO parent VALUES (1, 'other')");
    let mut command = project.command(["plan", "--rehearse"]);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("migrate starts");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while database.count(waits) == 0 {
        assert!(child.try_wait().expect("it is there").is_none(), "it ended before it was to wait");
        std::thread::yield_now();
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    other.run("ROLLBACK");
    while session_count(database) > 1 {
        std::thread::yield_now();
    }
    drop(other);
    assert_eq!(dump(&target), before);
}

#[test]
fn a_copy_for_a_rehearsal_is_removed() {
    let (project, _target) = strict(Engine::Sqlite);
    let folder = project.path().join("temporary");
    std::fs::create_dir(&folder).expect("a folder");
    let output = project.command(["plan", "--rehearse"]).env("TMPDIR", &folder).output().expect("migrate starts");
    let _ = Run::of(output).expect(3);
    assert_eq!(std::fs::read_dir(&folder).expect("it is there").count(), 0);
    let missing = Sqlite::new(project.path().join("new.sqlite"));
    project.write_job(&format!("sqlite:{}", project.path().join("source.sqlite").display()), &missing.url(), "");
    let _ = project.run(["plan", "--rehearse"]).expect(0);
    assert!(!missing.path().exists(), "not even the file is made");
}

#[test]
fn a_plain_writer_rehearses_beside_what_it_may_not_see() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Postgres::new(Server::First);
    source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'b')");
    target.run(&format!(
        "DO $$ BEGIN CREATE ROLE plain_rehearser LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE DEFERRABLE INITIALLY DEFERRED); \
         GRANT SELECT, INSERT, UPDATE ON t TO plain_rehearser; \
         CREATE SCHEMA hidden; CREATE TABLE hidden.u (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); \
         REVOKE CREATE ON DATABASE {} FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        identifier(target.name())
    ));
    project.write_job(&source.url(), &target.url_as("plain_rehearser", None), "mode = \"replace\"\n");
    let plan = project.run(["plan", "--rehearse", "--json"]).expect(1).json();
    assert!(
        plan["rehearsal"]["error"].as_str().expect("an error").contains("migrate target init"),
        "as the run would say: {plan}"
    );
    target.run(&project.run(["target", "init", "--print", "--writer", "plain_rehearser"]).expect(0).stdout);
    let target = Database::Postgres(target);
    let plan = rehearse(&project, &target, 3);
    assert_eq!(entity(&plan["rehearsal"]["entities"], "t")["quarantined"], 1);
    run_does(&project, &plan, 3);
}
