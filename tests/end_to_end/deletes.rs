//! Rows that the source has lost: deleted in the order that live references ask for, marked, guarded.

use migrate_tests::{Database, Engine, PAIRS, Postgres, Project, Server, Sqlite};

const TABLES: &str = "
    CREATE TABLE team (id integer PRIMARY KEY, name text NOT NULL UNIQUE);
    CREATE TABLE member (id integer PRIMARY KEY, team integer NOT NULL REFERENCES team (id), boss integer, mail text UNIQUE);
    CREATE TABLE note (member integer NOT NULL REFERENCES member (id), place integer NOT NULL, body text, PRIMARY KEY (member, place));";

/// 40 teams, 400 members, 1,200 notes.
const ROWS: &str = "
    INSERT INTO team WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) SELECT i, 'team ' || i FROM n;
    INSERT INTO member WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
        SELECT i, 1 + i % 40, NULL, 'm' || i FROM n;
    INSERT INTO note SELECT m.id, p.place, 'note' FROM member m, (SELECT 1 AS place UNION SELECT 2 UNION SELECT 3) p;";

/// Five teams go with all that belongs to them, a member moves to another team, and a mail address to a new member.
const CHANGES: &str = "
    UPDATE member SET team = 20 WHERE id = 40;
    DELETE FROM note WHERE member IN (SELECT id FROM member WHERE team <= 5);
    DELETE FROM member WHERE team <= 5;
    DELETE FROM team WHERE id <= 5;
    DELETE FROM note WHERE place = 3 AND member % 7 = 0;
    DELETE FROM note WHERE member = 399; DELETE FROM member WHERE id = 399;
    INSERT INTO member VALUES (1000, 12, NULL, 'm399');
    INSERT INTO team VALUES (50, 'team 3');";

fn settings(deletes: &str) -> String {
    format!("mode = \"replace\"\ndeletes = {deletes}\n")
}

#[test]
fn children_go_before_their_parents_while_references_are_live_and_the_target_equals_the_source() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(&format!("{TABLES}{ROWS}"));
        target.run(TABLES);
        project.write_job(&source.url(), &target.url(), &settings("\"hard\""));
        project.copy();
        source.run(CHANGES);
        let report = project.copy();
        let deleted: u64 = report["entities"].as_array().expect("entities").iter().filter_map(|e| e["deleted"].as_u64()).sum();
        let gone = [("team", 40), ("member", 400), ("note", 1200)].map(|(table, before)| before - source.count(table));
        // One team and one member are new.
        assert_eq!(deleted, gone.iter().sum::<u64>() + 2, "{from:?} to {to:?}: {report}");
        target.assert_holds(&source, &["team", "member", "note"]);
        let again = project.copy();
        for entity in again["entities"].as_array().expect("entities") {
            assert_eq!(entity["read"], entity["unchanged"], "P4: {again}");
            assert_eq!(entity["deleted"], 0, "P4: {again}");
        }
    }
}

#[test]
fn rows_that_refer_to_rows_of_their_own_table_are_deleted_whatever_their_order() {
    for server in [Server::First, Server::Second] {
        let (source, target) = (Postgres::new(Server::First), Postgres::new(server));
        source.run("CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t (id))");
        // Each refers to the next one, so that a row's referrer has the smaller key.
        source.run("INSERT INTO t SELECT i, CASE WHEN i < 3000 THEN i + 1 END FROM generate_series(1, 3000) i");
        let project = Project::copying(&source.url(), &target.url());
        project.write_job(&source.url(), &target.url(), &settings("{ mode = \"hard\", max = \"100%\" }"));
        project.copy();
        source.run("DELETE FROM t WHERE id <= 2500");
        let report = project.copy();
        assert_eq!(report["entities"][0]["deleted"], 2500, "{report}");
        assert_eq!(target.count("SELECT count(*) FROM t"), 500);
    }
}

#[test]
fn a_row_that_somebody_elses_row_refers_to_stays_is_reported_and_goes_once_it_is_free() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)");
    target.run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (t int REFERENCES t (id))");
    let project = Project::new();
    project.write_job(&source.url(), &target.url(), &settings("\"hard\""));
    project.copy();
    target.run("INSERT INTO other VALUES (3)");
    source.run("DELETE FROM t WHERE id IN (3, 4)");
    let run = project.run(["run", "--json"]).expect(3);
    let entity = &run.json()["entities"][0];
    assert_eq!((&entity["deleted"], &entity["conflicts"]), (&1.into(), &1.into()), "{entity}");
    assert_eq!(target.count("SELECT count(*) FROM t WHERE id = 3"), 1);
    target.run("DELETE FROM other");
    assert_eq!(project.copy()["entities"][0]["deleted"], 1);
    assert_eq!(target.count("SELECT count(*) FROM t WHERE id = 3"), 0);
}

#[test]
fn more_deletions_than_allowed_are_refused_with_exit_code_five_and_nothing_goes() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)");
    project.write_job(&source.url(), &target.url(), &settings("{ mode = \"hard\", max = \"10%\" }"));
    project.copy();
    source.run("DELETE FROM t WHERE id > 8");
    project.run(["run"]).expect(5).says(&["2 of 10 rows", "10%", "entity t"]);
    assert_eq!(target.count("SELECT count(*) FROM t"), 10);
    assert_eq!(project.run(["run", "--json", "--max-deletes", "2"]).expect(0).json()["entities"][0]["deleted"], 2);
    assert_eq!(target.count("SELECT count(*) FROM t"), 8);
}

#[test]
fn rows_are_marked_in_a_column_of_the_targets_own_and_lose_the_mark_when_they_are_back() {
    for (engine, column, marked) in [
        (Engine::Postgres(Server::Second), "deleted_at timestamptz", "deleted_at IS NOT NULL"),
        (Engine::Postgres(Server::Second), "gone boolean NOT NULL DEFAULT false", "gone"),
        (Engine::Postgres(Server::Second), "gone date", "gone IS NOT NULL"),
        (Engine::Postgres(Server::Second), "deleted_at text", "deleted_at ~ '^20[0-9-]{8} [0-9:.]+[+]00$'"),
        (Engine::Postgres(Server::Second), "deleted_at varchar(22)", "deleted_at ~ '^20[0-9-]{8} [0-9:]{8}[+]00$'"),
        (Engine::Sqlite, "deleted_at TEXT", "deleted_at GLOB '20??-??-?? ??:??:??*+00'"),
        (Engine::Sqlite, "deleted_at DATETIME", "deleted_at GLOB '20??-??-?? ??:??:??*+00'"),
        (
            Engine::Sqlite,
            "deleted_at INTEGER",
            "typeof(deleted_at) = 'integer' AND abs(unixepoch('now') * 1000 - deleted_at) < 1e6",
        ),
        (Engine::Sqlite, "deleted_at INTEGER NOT NULL DEFAULT 0", "deleted_at > 1e12"),
        (Engine::Sqlite, "gone BOOLEAN NOT NULL DEFAULT 0", "gone = 1"),
    ] {
        let project = Project::new();
        let (source, target) = (Database::new(Engine::Sqlite, project.path(), "a"), Database::new(engine, project.path(), "b"));
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')");
        target.run(&format!("CREATE TABLE t (id integer PRIMARY KEY, v text, {column})"));
        let name = column.split(' ').next().expect("a name");
        project.write_job(&source.url(), &target.url(), &settings(&format!("{{ mode = \"soft\", column = \"{name}\" }}")));
        project.copy();
        let count = |condition: &str| {
            let sql = format!("SELECT count(*) FROM t WHERE {condition}");
            match &target {
                Database::Postgres(database) => database.count(&sql),
                Database::Sqlite(database) => database.count(&sql),
            }
        };
        let marks = || count(marked);
        assert_eq!(marks(), 0, "{column}");
        source.run("DELETE FROM t WHERE id = 2");
        assert_eq!(project.copy()["entities"][0]["deleted"], 1, "{column}");
        assert_eq!((marks(), count("v = 'b'")), (1, 1), "{column}");
        assert_eq!(project.copy()["entities"][0]["deleted"], 0, "P4: {column}");
        source.run("INSERT INTO t VALUES (2, 'b')");
        assert_eq!(project.copy()["entities"][0]["updated"], 1, "{column}");
        assert_eq!(marks(), 0, "{column}");
    }
}

#[test]
fn state_tables_of_the_first_version_gain_what_they_lack() {
    for engine in [Engine::Postgres(Server::First), Engine::Sqlite] {
        let project = Project::new();
        let (source, target) = (Database::new(Engine::Sqlite, project.path(), "a"), Database::new(engine, project.path(), "b"));
        source.run("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
        project.write_job(&source.url(), &target.url(), &settings("\"hard\""));
        project.copy();
        let (table, version) = match engine {
            Engine::Postgres(_) => ("migrate.gone", "migrate.state_version"),
            Engine::Sqlite => ("_migrate_gone", "_migrate_version"),
        };
        target.run(&format!("DROP TABLE {table}; UPDATE {version} SET version = 1"));
        source.run("DELETE FROM t WHERE id = 2");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(plan["changes"][0]["deleted"], 1, "a plan reads them as they are");
        assert_eq!(project.copy()["entities"][0]["deleted"], 1);
    }
}

#[test]
fn rows_are_marked_in_strict_tables_and_what_refuses_the_mark_is_not_said_to_be_a_reference() {
    for (column, marked) in [
        ("deleted_at INTEGER", Some("deleted_at > 1e12")),
        ("deleted_at TEXT", Some("deleted_at GLOB '20??-??-?? ??:??:??*+00'")),
        ("deleted_at INTEGER CHECK (deleted_at IS NULL)", None),
        ("deleted_at REAL", None),
    ] {
        let project = Project::new();
        let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
        source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
        target.run(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, {column}) STRICT"));
        project.write_job(&source.url(), &target.url(), &settings("{ mode = \"soft\", column = \"deleted_at\" }"));
        project.copy();
        source.run("DELETE FROM t WHERE id = 2");
        if let Some(marked) = marked {
            assert_eq!(project.copy()["entities"][0]["deleted"], 1, "{column}");
            assert_eq!(target.count(&format!("SELECT count(*) FROM t WHERE id = 2 AND {marked}")), 1, "{column}");
            assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true, "{column}");
        } else {
            let output = project.run(["run"]).output();
            assert!(!output.contains("refer to"), "{column} {output}");
            assert!(output.contains("the check") || output.contains("can hold no mark"), "{column} {output}");
        }
    }
}

#[test]
fn rows_that_swap_their_unique_values_arrive_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        let table = "CREATE TABLE t (id integer PRIMARY KEY, mail varchar(40) NOT NULL, place integer UNIQUE, UNIQUE (mail));";
        source.run(&format!("{table} INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20), (3, 'c', 30), (4, 'd', NULL)"));
        target.run(table);
        project.write_job(&source.url(), &target.url(), "");
        project.copy();
        source.run(
            "UPDATE t SET mail = 'x' || id, place = NULL; UPDATE t SET mail = 'b', place = 20 WHERE id = 1; UPDATE t SET mail = 'a', place = 30 WHERE id = 2;
             UPDATE t SET mail = 'd', place = 10 WHERE id = 3; UPDATE t SET mail = 'c' WHERE id = 4",
        );
        let report = project.copy();
        assert_eq!(report["entities"][0]["updated"], 4, "{from:?} to {to:?}: {report}");
        target.assert_holds(&source, &["t"]);
        // None is in quarantine any more, where verification would excuse what others do to it.
        assert_eq!(project.run(["quarantine", "list", "--json"]).json()["rows"], serde_json::json!([]), "{from:?} to {to:?}");
        target.run("UPDATE t SET place = 77 WHERE id = 2");
        assert_eq!(project.run(["verify", "--json"]).expect(4).json()["entities"][0]["different"], 1);
        target.run("UPDATE t SET place = 30 WHERE id = 2");
        assert_eq!(project.copy()["entities"][0]["unchanged"], 4, "P4");
    }
}

#[test]
fn a_key_that_is_respelled_is_neither_deleted_nor_marked_where_the_target_takes_both_for_one() {
    const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for (key, old, new, gone) in [
        ("uuid", UUID.to_owned(), UUID.to_uppercase(), "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("numeric", "1.0".to_owned(), "1.00".to_owned(), "7.5"),
        ("citext", "Word".to_owned(), "wORD".to_owned(), "other"),
        ("char(6)", "a".to_owned(), "a  ".to_owned(), "z"),
        ("interval", "24:00:00".to_owned(), "1 day".to_owned(), "2 days"),
        ("jsonb", "[1, 2]".to_owned(), "[1,2]".to_owned(), "[3]"),
    ] {
        for deletes in ["\"hard\"", "{ mode = \"soft\", column = \"gone\" }"] {
            let project = Project::new();
            let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
            source.run(&format!(
                "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER); INSERT INTO t VALUES ('{old}', 1), ('{gone}', 2)"
            ));
            target.run(&format!("CREATE EXTENSION citext; CREATE TABLE t (k {key} PRIMARY KEY, v int, gone timestamptz)"));
            project.write_job(&source.url(), &target.url(), &settings(deletes));
            project.copy();
            source.run(&format!("DELETE FROM t; INSERT INTO t VALUES ('{new}', 3)"));
            let report = project.copy();
            let alive = target.count("SELECT count(*) FROM t WHERE v = 3 AND gone IS NULL");
            assert_eq!(alive, 1, "{key} {deletes}: {report}");
            assert_eq!(report["entities"][0]["deleted"], 1, "the row that is really gone: {key} {deletes}: {report}");
            let again = project.copy();
            assert_eq!(target.count("SELECT count(*) FROM t WHERE v = 3 AND gone IS NULL"), 1, "{key} {deletes}: {again}");
        }
    }
}

#[test]
fn a_key_in_other_letters_is_neither_deleted_nor_marked_where_sqlite_takes_both_for_one() {
    for deletes in ["\"hard\"", "{ mode = \"soft\", column = \"gone\" }"] {
        let project = Project::new();
        let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
        source.run("CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER); INSERT INTO t VALUES ('Word', 1), ('other', 2)");
        target.run("CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v INTEGER, gone TEXT)");
        project.write_job(&source.url(), &target.url(), &settings(deletes));
        project.copy();
        source.run("UPDATE t SET k = 'wORD', v = 3 WHERE k = 'Word'; DELETE FROM t WHERE k = 'other'");
        let report = project.copy();
        assert_eq!(report["entities"][0]["deleted"], 1, "the row that is really gone: {report}");
        assert_eq!(target.count("SELECT count(*) FROM t WHERE k = 'wORD' COLLATE BINARY AND v = 3 AND gone IS NULL"), 1);
        assert_eq!(project.copy()["entities"][0]["unchanged"], 1, "P4");
    }
}

#[test]
fn numbers_that_are_keys_are_found_again_in_a_column_of_text_or_are_refused() {
    for deletes in ["\"hard\"", "{ mode = \"soft\", column = \"gone\" }"] {
        let project = Project::new();
        let (source, target) = (Postgres::new(Server::First), Sqlite::new(project.path().join("b.db")));
        source.run("CREATE TABLE t (k numeric(6,2) PRIMARY KEY, v int); INSERT INTO t VALUES (1.5, 1), (2, 2), (-20, 3)");
        target.run("CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER, gone TEXT)");
        project.write_job(&source.url(), &target.url(), &settings(deletes));
        project.copy();
        source.run("DELETE FROM t WHERE k = 2; UPDATE t SET k = -21 WHERE k = -20");
        assert_eq!(project.copy()["entities"][0]["deleted"], 2);
        assert_eq!(target.texts("SELECT k FROM t WHERE gone IS NULL ORDER BY v"), ["1.50", "-21.00"]);

        // 1.5 and 1.50 would be one row there and two here.
        source.run("CREATE TABLE n (k numeric PRIMARY KEY)");
        target.run("CREATE TABLE n (k TEXT PRIMARY KEY, gone TEXT)");
        project.run(["run"]).expect(1).says(&["column k", "1.0 and 1.00", "entity n"]);
    }
}

#[test]
fn rows_that_are_gone_are_noticed_although_filter_or_steps_have_changed_since() {
    for (from, to) in PAIRS {
        for deletes in ["\"hard\"", "{ mode = \"soft\", column = \"gone\" }"] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run("CREATE TABLE t (id integer PRIMARY KEY, u text, v text); INSERT INTO t VALUES (1,'x','a'),(2,'x','b'),(3,'y','c'),(4,'y','d')");
            let job = |more: &str| format!("deletes = {deletes}\n[[jobs.copy.entities]]\nsource = \"t\"\n{more}\n");
            let there = |id: u32| {
                let hard = deletes.contains("hard");
                target.matching("t", &format!("id = {id}{}", if hard { "" } else { " AND gone IS NULL" }))
            };
            project.write_job(&source.url(), &target.url(), &job("where = \"v <> ''\""));
            project.copy();
            source.run("DELETE FROM t WHERE id = 1");
            project.write_job(&source.url(), &target.url(), &job("where = \"u = 'x'\""));
            let report = project.copy();
            assert_eq!(report["entities"][0]["deleted"], 1, "another filter: {report}");
            assert_eq!((there(1), there(2), there(3)), (0, 1, 1), "what left the filter stays");
            project.write_job(&source.url(), &target.url(), &job("where = \"v <> ''\""));
            project.copy();
            source.run("DELETE FROM t WHERE id = 2");
            project.write_job(
                &source.url(),
                &target.url(),
                &job("where = \"v <> ''\"\ntransform = [{ column = \"v\", text = [\"upper\"] }]"),
            );
            let report = project.copy();
            assert_eq!(
                (&report["entities"][0]["deleted"], &report["entities"][0]["updated"]),
                (&1.into(), &2.into()),
                "{report}"
            );
            assert_eq!((there(2), target.matching("t", "id = 3 AND v = 'C'")), (0, 1), "another step: {report}");
            assert_eq!(project.copy()["entities"][0]["unchanged"], 2, "P4");
        }
    }
}

#[test]
fn rows_that_leave_the_filter_go_where_the_job_says_so() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source
            .run("CREATE TABLE t (id integer PRIMARY KEY, v integer); INSERT INTO t VALUES (1,1),(2,2),(3,3),(4,4),(5,5),(6,6)");
        let settings =
            "left_filter = \"delete\"\n[jobs.copy.params]\nn = 6\n[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"v <= :n\"\n";
        project.write_job(&source.url(), &target.url(), settings);
        project.copy();
        source.run("UPDATE t SET v = 9 WHERE id = 1");
        assert_eq!(project.copy()["entities"][0]["deleted"], 1, "a row that changed");
        let report = project.run(["run", "--param", "n=4", "--json"]).expect(0).json();
        assert_eq!(report["entities"][0]["deleted"], 2, "a filter that changed: {report}");
        assert_eq!((target.count("t"), target.matching("t", "v <= 4")), (3, 3));
    }
}

#[test]
fn a_row_that_stays_is_reported_also_where_its_entity_is_walked_once_more() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE x (id integer PRIMARY KEY, u varchar(9)); INSERT INTO x VALUES (1, 'a'), (2, 'b'), (4, 'd')");
        target.run("CREATE TABLE x (id integer PRIMARY KEY, u varchar(9) UNIQUE); CREATE TABLE y (x integer REFERENCES x (id))");
        project.write_job(&source.url(), &target.url(), &settings("\"hard\""));
        project.copy();
        target.run("INSERT INTO y VALUES (1)");
        source.run("DELETE FROM x WHERE id < 3; INSERT INTO x VALUES (3, 'b')");
        let report = project.run(["run", "--max-deletes", "9", "--json"]).expect(3).json();
        assert_eq!(report["entities"][0]["conflicts"], 1, "{report}");
        assert_eq!((target.count("x"), target.matching("x", "id = 3 AND u = 'b'")), (3, 1), "{report}");
    }
}

#[test]
fn a_repair_that_deletes_strangers_goes_on_marking_the_jobs_own_rows() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c'),(4,'d'),(5,'e'),(6,'f')");
        project.write_job(&source.url(), &target.url(), &settings("{ mode = \"soft\", column = \"gone\" }"));
        project.copy();
        source.run("DELETE FROM t WHERE id = 5");
        project.copy();
        // One is back, another was lost since, and a third was never the job's.
        source.run("INSERT INTO t VALUES (5, 'e'); DELETE FROM t WHERE id = 6");
        target.run("INSERT INTO t (id, v) VALUES (99, 'stranger')");
        let _ = project.run(["verify", "--repair", "--delete-extra"]).expect(0);
        let held = |condition: &str| target.matching("t", condition);
        let found = [held("id = 5 AND gone IS NULL"), held("id = 6 AND gone IS NOT NULL"), held("id = 99"), target.count("t")];
        assert_eq!(found, [1, 1, 0, 6], "{from:?} to {to:?}");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(plan["changes"][0]["unchanged"], 5, "{from:?} to {to:?}: {plan}");
        assert_eq!(project.copy()["entities"][0]["unchanged"], 5, "{from:?} to {to:?}");
    }
}
