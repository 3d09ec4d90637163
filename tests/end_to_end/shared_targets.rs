//! Several entities that feed one table, and rows of which the target makes one.

use migrate_tests::{Database, PAIRS, Postgres, Project, Server, Sqlite, crosswise};
use serde_json::Value;

const SOURCE: &str = "
    CREATE TABLE goals (id text PRIMARY KEY, title text);
    CREATE TABLE sessions (id text PRIMARY KEY, title text, minutes integer);
    INSERT INTO goals WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT 'g' || i, 'goal ' || i FROM n;
    INSERT INTO sessions WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
        SELECT 's' || i, 'session ' || i, i % 50 FROM n;";

const TARGET: &str =
    "CREATE TABLE sync_data (id varchar(40) PRIMARY KEY, entity_type varchar(20) NOT NULL, title text, minutes integer);
    INSERT INTO sync_data VALUES ('x1', 'other', 'somebody else''s', 1);";

const JOB: &str = "deletes = \"hard\"
    [[jobs.copy.entities]]
    source = \"goals\"
    target = \"sync_data\"
    columns = { set = { entity_type = \"goal\" } }
    [[jobs.copy.entities]]
    source = \"sessions\"
    target = \"sync_data\"
    transform = [{ column = \"entity_type\", constant = \"session\" }]
    ";

fn sum(report: &Value, counter: &str) -> u64 {
    report["entities"].as_array().expect("entities").iter().filter_map(|e| e[counter].as_u64()).sum()
}

#[test]
fn entities_that_feed_one_table_keep_to_their_own_rows() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(SOURCE);
        target.run(TARGET);
        project.write_job(&source.url(), &target.url(), JOB);
        assert_eq!(sum(&project.copy(), "inserted"), 2500);
        let of = |kind: &str| target.matching("sync_data", &format!("entity_type = '{kind}'"));
        assert_eq!((of("goal"), of("session"), of("other")), (1000, 1500, 1));
        assert_eq!(sum(&project.copy(), "unchanged"), 2500, "P4");
        let verified = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(verified["equal"], true, "{verified}");

        source.run("DELETE FROM goals WHERE id LIKE 'g9%'; UPDATE sessions SET minutes = 99 WHERE id = 's7'; INSERT INTO goals VALUES ('new', 'n');");
        let report = project.copy();
        assert_eq!((sum(&report, "deleted"), sum(&report, "updated"), sum(&report, "inserted")), (111, 1, 1), "{report}");
        assert_eq!((of("goal"), of("session"), of("other")), (890, 1500, 1));
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true);

        // WHEN a row of one takes the key of another's
        source.run("INSERT INTO sessions VALUES ('g1', 'a session under the key of a goal', 1)");
        let run = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((sum(&run, "quarantined"), of("goal"), of("session")), (1, 890, 1500), "{run}");
        // AND gives it free
        source.run("DELETE FROM goals WHERE id = 'g1'");
        assert_eq!(sum(&project.copy(), "deleted"), 1);
        assert_eq!((of("goal"), target.matching("sync_data", "id = 'g1' AND entity_type = 'session'")), (889, 1));
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true);
    }
}

/// Equal ids in both entities, and those of somebody else.
const SAME_IDS: &str = "
    CREATE TABLE goals (id integer PRIMARY KEY, title text); CREATE TABLE notes (id integer PRIMARY KEY, title text);
    INSERT INTO goals VALUES (1, 'a goal'), (2, 'another'); INSERT INTO notes VALUES (1, 'a note'), (3, 'one more');";

const BY_TYPE: &str = "
    [[jobs.copy.entities]]
    source = \"goals\"
    target = \"sync_data\"
    columns = { rename = { id = \"entity_id\" }, set = { entity_type = \"goal\" } }
    [[jobs.copy.entities]]
    source = \"notes\"
    target = \"sync_data\"
    columns = { rename = { id = \"entity_id\" }, set = { entity_type = \"note\" } }
    ";

#[test]
fn a_constant_in_the_targets_key_keeps_equal_ids_and_the_rows_of_others_apart() {
    for ((from, to), unique) in crosswise([", PRIMARY KEY (entity_type, entity_id)", ", UNIQUE (entity_id, entity_type)", ""]) {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(SAME_IDS);
        target.run(&format!(
            "CREATE TABLE sync_data (entity_type varchar(9) NOT NULL, entity_id integer NOT NULL, title text{unique});
             INSERT INTO sync_data VALUES ('other', 1, 'somebody else''s');"
        ));
        project.write_job(&source.url(), &target.url(), &format!("deletes = \"hard\"\n{BY_TYPE}"));
        assert_eq!(sum(&project.copy(), "inserted"), 4, "{unique}");
        assert_eq!(target.matching("sync_data", "entity_type = 'other' AND title = 'somebody else''s'"), 1, "{unique}");
        assert_eq!(target.matching("sync_data", "entity_id = 1 AND entity_type IN ('goal', 'note')"), 2, "{unique}");
        assert_eq!(sum(&project.copy(), "unchanged"), 4, "P4 {unique}");
        source.run("UPDATE goals SET title = 'changed' WHERE id = 1; DELETE FROM notes WHERE id = 1");
        let report = project.copy();
        assert_eq!((sum(&report, "updated"), sum(&report, "deleted")), (1, 1), "{unique}: {report}");
        assert_eq!(target.matching("sync_data", "entity_id = 1"), 2, "{unique}");
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true, "{unique}");
    }
}

const PEOPLE: &str = "
    CREATE TABLE customers (id integer PRIMARY KEY, name text); CREATE TABLE suppliers (id integer PRIMARY KEY, name text);
    INSERT INTO customers VALUES (1, 'one'), (3, 'three'), (7, 'seven'); INSERT INTO suppliers VALUES (11, 'eleven'), (12, 'twelve');";

const BY_KIND: &str = "
    [[jobs.copy.entities]]
    source = \"customers\"
    target = \"people\"
    columns = { set = { kind = \"customer\" } }
    [[jobs.copy.entities]]
    source = \"suppliers\"
    target = \"people\"
    columns = { set = { kind = \"supplier\" } }
    ";

#[test]
fn a_row_that_moves_from_one_entity_to_another_stays() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(PEOPLE);
        target.run("CREATE TABLE people (id integer PRIMARY KEY, name text, kind varchar(9))");
        project.write_job(&source.url(), &target.url(), &format!("deletes = \"hard\"\n{BY_KIND}"));
        project.copy();
        source.run("DELETE FROM customers WHERE id = 7; INSERT INTO suppliers VALUES (7, 'seven')");
        let report = project.copy();
        assert_eq!(target.matching("people", "id = 7 AND kind = 'supplier'"), 1, "{report}");
        assert_eq!((target.count("people"), sum(&report, "deleted")), (5, 1), "{report}");
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true);
        assert_eq!(sum(&project.copy(), "unchanged"), 5, "P4");
    }
}

#[test]
fn entities_of_one_table_can_be_run_one_by_one_and_never_take_each_others_rows() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(PEOPLE);
        source.run("INSERT INTO suppliers VALUES (1, 'not the customer')");
        target.run("CREATE TABLE people (id integer PRIMARY KEY, name text, kind varchar(9))");
        project.write_job(&source.url(), &target.url(), &format!("mode = \"init\"\n{BY_KIND}"));
        let _ = project.run(["run", "--entity", "customers"]).expect(0);
        let run = project.run(["run", "--entity", "suppliers", "--max-quarantined", "10", "--json"]).expect(3).json();
        assert_eq!((sum(&run, "inserted"), sum(&run, "quarantined")), (2, 1), "{run}");
        assert_eq!(target.matching("people", "id = 1 AND kind = 'customer' AND name = 'one'"), 1);
        let again = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((sum(&again, "unchanged"), sum(&again, "quarantined")), (5, 1), "{again}");
        // Emptied by hand of the rows of one.
        target.run("DELETE FROM people WHERE kind = 'supplier'");
        let run = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((sum(&run, "inserted"), sum(&run, "unchanged")), (2, 3), "{run}");
    }
}

#[test]
fn keys_that_the_target_takes_for_one_fail_every_run_until_they_are_mended() {
    for to in [PAIRS[0].1, PAIRS[1].1] {
        let project = Project::new();
        let source = Sqlite::new(project.path().join("a.db"));
        let target = Database::new(to, project.path(), "target");
        source
            .run("CREATE TABLE w (k TEXT PRIMARY KEY, v TEXT); INSERT INTO w VALUES ('a', 'lower'), ('A', 'upper'), ('b', 'x')");
        match &target {
            Database::Postgres(server) => server.run("CREATE EXTENSION citext; CREATE TABLE w (k citext PRIMARY KEY, v text)"),
            Database::Sqlite(file) => file.run("CREATE TABLE w (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT)"),
        }
        // Others' rows: by their number alone nothing would be missing.
        target.run("INSERT INTO w VALUES ('zzz', 'of others'), ('yyy', 'of others')");
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = \"hard\"\nmax_quarantined = 10\n");
        for _time in 0..3 {
            let run = project.run(["run"]);
            assert!(run.code == Some(1) || run.code == Some(3), "{}", run.output());
        }
        source.run("DELETE FROM w WHERE k = 'a'");
        project.copy();
        assert_eq!(target.matching("w", "v = 'upper'"), 1);
        assert_eq!(target.count("w"), 4);
        assert_eq!(project.copy()["entities"][0]["unchanged"], 2, "P4");
    }
}

#[test]
fn two_spellings_of_one_key_in_a_column_of_our_own_declaration_fail_instead_of_overwriting_each_other() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run(
        "CREATE TABLE m (k TIMESTAMPTZ_TEXT PRIMARY KEY, v TEXT);
         INSERT INTO m VALUES ('2020-01-01 00:00:00+00', 'a'), ('2020-01-01T01:00:00+01:00', 'b'), ('2021-01-01 00:00:00+00', 'c')",
    );
    target.run("CREATE TABLE m (k timestamptz PRIMARY KEY, v text)");
    // One row at a time: a statement cannot see that it would touch a row twice.
    project.write_job(&source.url(), &target.url(), "");
    for arguments in [&["run", "--batch-size", "1"][..], &["run"], &["run"]] {
        let run = project.run(arguments).expect(1);
        assert!(run.output().contains("entity m") && run.output().contains("one row of the target"), "{}", run.output());
    }
    source.run("DELETE FROM m WHERE v = 'b'");
    project.copy();
    assert_eq!(target.count("SELECT count(*) FROM m WHERE v IN ('a', 'c')"), 2);
}

#[test]
fn entities_whose_rows_cannot_be_told_apart_are_refused() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run(SOURCE);
    let plain = JOB.replace("columns = { set = { entity_type = \"goal\" } }", "");
    project.write_job(&source.url(), &target.url(), &plain);
    project.run(["run"]).expect(2).says(&["sync_data", "not there yet", "nothing tells their rows apart"]);
    target.run(&TARGET.replace("NOT NULL", "DEFAULT ''"));
    project.run(["run"]).expect(2).says(&["sync_data", "nothing tells their rows apart"]);
    assert_eq!(target.count("SELECT count(*) FROM sync_data"), 1);
}

#[test]
fn rows_of_which_the_target_makes_one_fail_the_run_however_many_others_it_holds() {
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run(&format!(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER); INSERT INTO t VALUES ('{uuid}', 1), ('{}', 2)",
        uuid.to_uppercase()
    ));
    // Others' rows: by their number alone nothing would be missing.
    target.run(
        "CREATE TABLE t (k uuid PRIMARY KEY, v int); INSERT INTO t SELECT gen_random_uuid(), i FROM generate_series(1, 50) i",
    );
    // One page, and one page a row: both ways of finding out.
    for batch in ["1000", "1"] {
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n");
        let run = project.run(["run", "--batch-size", batch]);
        assert_ne!(run.code, Some(0), "{}", run.output());
        assert!(run.output().contains("one row") || run.output().contains("refused"), "{}", run.output());
    }
    // Mended as the message says: what is left arrives, though the ledger has known it before.
    source.run("DELETE FROM t WHERE v = 2");
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = \"hard\"\n");
    let _ = project.run(["run"]).expect(0);
    assert_eq!(target.count(&format!("SELECT v FROM t WHERE k = '{uuid}'")), 1);
}

/// Two jobs, each from a source of its own into one table.
fn two_jobs(sources: [&Database; 2], target: &Database, first: &str, second: &str) -> String {
    let url = |database: &Database| database.url().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "[environments.a]\nurl = \"{}\"\n[environments.c]\nurl = \"{}\"\n[environments.b]\nurl = \"{}\"\n[store]\nurl = \"sqlite:store.db\"\n\
         [jobs.one]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n{first}\n[jobs.two]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\n{second}\n",
        url(sources[0]),
        url(sources[1]),
        url(target)
    )
}

#[test]
fn a_job_takes_no_rows_of_another_job_unless_it_says_so_or_a_constant_tells_them_apart() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let database = |engine, name: &str| Database::new(engine, project.path(), name);
        let (one, two, target) = (database(from, "one"), database(from, "two"), database(to, "target"));
        one.run("CREATE TABLE e (id integer PRIMARY KEY, v text); INSERT INTO e VALUES (1, 'one'), (2, 'one')");
        two.run("CREATE TABLE e (id integer PRIMARY KEY, v text); INSERT INTO e VALUES (1, 'two'), (9, 'two')");
        let entity = |job: &str, more: &str| format!("[[jobs.{job}.entities]]\nsource = \"e\"\n{more}");
        let write = |first: &str, second: &str| project.write("migrate.toml", &two_jobs([&one, &two], &target, first, second));
        let case = format!("{from:?} to {to:?}");

        write(&entity("one", ""), &entity("two", ""));
        let _ = project.run(["run", "one"]).expect(0);
        for (command, code) in [("run", 5), ("plan", 5), ("check", 4)] {
            let told = project.run([command, "two"]).expect(code).output();
            for expected in ["the job \"one\" writes to this table as well", "shares_tables = true"] {
                assert!(told.contains(expected), "{case}: {command}: {told}");
            }
        }
        assert_eq!((target.count("e"), target.matching("e", "v = 'one'")), (2, 2), "{case}");
        // The same job goes on, also from another source and for one entity.
        let _ = project.run(["run", "one"]).expect(0);
        let _ = project.run(["run", "one", "--source", "c", "--entity", "e"]).expect(0);
        let _ = project.run(["run", "one"]).expect(0);

        // Constants that are no part of the key keep nobody from overwriting.
        let constant = |job: &str| entity(job, &format!("columns.set = {{ v = \"{job}\" }}\n"));
        write(&constant("one"), &constant("two"));
        let _ = project.run(["run", "one"]).expect(0);
        let _ = project.run(["run", "two"]).expect(5);
        // By its own word it may.
        write(&entity("one", ""), &format!("shares_tables = true\n{}", entity("two", "where = \"id > 5\"\n")));
        let _ = project.run(["run", "two"]).expect(0);
        assert_eq!(target.matching("e", "id = 9 AND v = 'two'"), 1, "{case}");
        project.run(["run", "one"]).expect(5).says(&["the job \"two\""]);

        // In the key they tell rows apart.
        let target = database(to, "keyed");
        target.run("CREATE TABLE e (kind text NOT NULL, id integer NOT NULL, v text, PRIMARY KEY (kind, id))");
        let kind = |job: &str| entity(job, &format!("columns.set = {{ kind = \"{job}\" }}\n"));
        project.write("migrate.toml", &two_jobs([&one, &two], &target, &kind("one"), &kind("two")));
        for _ in 0..2 {
            let _ = project.run(["run", "one"]).expect(0);
            let _ = project.run(["run", "two"]).expect(0);
        }
        let rows = [target.matching("e", "kind = 'one'"), target.matching("e", "kind = 'two'")];
        assert_eq!(rows[1], 2, "{case}");
        assert!(rows[0] >= 2, "{case}");
    }
}
