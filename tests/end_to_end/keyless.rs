//! Tables without a key: what has changed of them, and the rows of others beside them.

use migrate_tests::{Database, Engine, PAIRS, Postgres, Project, Server, Sqlite, crosswise};

const ROWS: &str = "INSERT INTO log WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                    SELECT i, 'a row of some length ' || i FROM n";

fn databases(pair: (migrate_tests::Engine, migrate_tests::Engine), project: &Project) -> (Database, Database) {
    let source = Database::new(pair.0, project.path(), "source");
    let target = Database::new(pair.1, project.path(), "target");
    source.run(&format!("CREATE TABLE log (n integer, v text); {ROWS}"));
    target.run("CREATE TABLE log (n integer, v text); INSERT INTO log VALUES (-1, 'precious')");
    (source, target)
}

#[test]
fn only_append_adds_to_the_rows_of_others_and_nothing_takes_them_away() {
    for pair in PAIRS {
        for mode in ["init", "replace", "update"] {
            let project = Project::new();
            let (source, target) = databases(pair, &project);
            project.write_job(&source.url(), &target.url(), &format!("mode = \"{mode}\"\n"));
            let _ = project.run(["run"]).expect(5);
            assert_eq!(target.count("log"), 1, "{mode}");
        }
        let project = Project::new();
        let (source, target) = databases(pair, &project);
        project.write_job(&source.url(), &target.url(), "mode = \"append\"\nbatch_bytes = 65536\n");
        // A part of them could not be told from the rest later.
        let _ = project.run(["run", "--limit", "1"]).expect(5);
        assert_eq!(target.count("log"), 1);
        assert_eq!(project.copy()["entities"][0]["inserted"], 20_000);
        assert_eq!(project.copy()["entities"][0]["skipped"], 20_000);
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_001, 1));
        source.run("INSERT INTO log VALUES (0, 'new'), (0, 'new'); DELETE FROM log WHERE n = 1");
        let report = project.copy();
        assert_eq!((&report["entities"][0]["inserted"], &report["entities"][0]["skipped"]), (&2.into(), &19_999.into()));
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_003, 1));
        // The job becomes one that might take rows away.
        source.run("INSERT INTO log VALUES (0, 'newer')");
        for mode in ["replace", "update"] {
            project.write_job(&source.url(), &target.url(), &format!("mode = \"{mode}\"\n"));
            let _ = project.run(["run"]).expect(5);
            assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_003, 1), "{mode}");
        }
    }
}

#[test]
fn rows_that_others_have_added_since_are_not_taken_away() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = databases(pair, &project);
        target.run("DELETE FROM log");
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nbatch_bytes = 65536\n");
        assert_eq!(project.copy()["entities"][0]["inserted"], 20_000);
        source.run("INSERT INTO log VALUES (0, 'new')");
        assert_eq!(project.copy()["entities"][0]["inserted"], 1);
        target.run("INSERT INTO log VALUES (-1, 'precious')");
        source.run("INSERT INTO log VALUES (0, 'newer')");
        project.run(["run"]).expect(5).says(&["rows of others"]);
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_002, 1));
    }
}

#[test]
fn a_killed_append_beside_the_rows_of_others_leaves_them_and_adds_all_or_nothing() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = databases(pair, &project);
        project.write_job(&source.url(), &target.url(), "mode = \"append\"\nbatch_bytes = 65536\n");
        let mut run = project.start(["--batch-size", "500"]);
        assert!(run.wait_for("counted"));
        run.kill();
        assert!([1, 20_001].contains(&target.count("log")), "{}", target.count("log"));
        assert_eq!(project.copy()["entities"][0]["read"], 20_000);
        assert_eq!((target.count("log"), target.matching("log", "v = 'precious'")), (20_001, 1));
    }
}

#[test]
fn rows_with_which_others_would_go_are_refused_unless_none_is_taken_away() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run("CREATE TABLE line (what text); INSERT INTO line VALUES ('a'), ('b')");
        let id = match to {
            Engine::Postgres(_) => "id serial",
            Engine::Sqlite => "id integer",
        };
        target.run(&format!(
            "CREATE TABLE line ({id} PRIMARY KEY, what text);
             CREATE TABLE note (line integer REFERENCES line (id) ON DELETE CASCADE)"
        ));
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n");
        project.run(["run"]).expect(1).says(&["ON DELETE CASCADE", "give a key"]);
        assert_eq!(target.count("line"), 0, "{from:?} to {to:?}");
        project.write_job(&source.url(), &target.url(), "mode = \"append\"\n");
        let _ = project.run(["run"]).expect(0);
        assert_eq!(target.count("line"), 2, "{from:?} to {to:?}");
    }
}

#[test]
fn every_refused_row_is_kept() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run(
        "CREATE TABLE log (n, v TEXT); INSERT INTO log VALUES ('a1', 'x'), ('b2', 'y'), ('a1', 'x'), ('c3', 'z'), (5, 'fits')",
    );
    target.run("CREATE TABLE log (n INTEGER, v TEXT) STRICT");
    project.write_job(&source.url(), &target.url(), "max_quarantined = 10\n");
    let report = project.run(["run", "--json"]).expect(3).json();
    assert_eq!((&report["entities"][0]["quarantined"], &report["entities"][0]["inserted"]), (&4.into(), &1.into()), "{report}");
    let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
    assert_eq!(kept["rows"].as_array().map(Vec::len), Some(4), "{kept}");
    let shown = project.run(["quarantine", "show", "--key", "2", "--show-values", "--json"]).expect(0).output();
    assert!(shown.contains("b2") && !shown.contains("c3"), "{shown}");
    // They are not kept twice.
    source.run("INSERT INTO log VALUES (6, 'fits too')");
    let _ = project.run(["run", "--json"]).expect(3);
    let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
    assert_eq!(kept["rows"].as_array().map(Vec::len), Some(4), "{kept}");
}

#[test]
fn refused_rows_are_kept_let_go_of_and_counted_also_where_the_accepted_rows_are_as_they_were() {
    // What is lost beside the refused row, that in append stays, or nothing.
    let choices = [("replace", None), ("append", None), ("append", Some("'2'")), ("update", None)];
    for (pair, (mode, lost)) in crosswise(choices) {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run("CREATE TABLE log (v text); INSERT INTO log VALUES ('1'), ('2')");
        target.run(match pair.1 {
            Engine::Sqlite => "CREATE TABLE log (v INTEGER) STRICT",
            Engine::Postgres(_) => "CREATE TABLE log (v varchar(2))",
        });
        let job = |settings: &str| {
            let settings = format!("mode = \"{mode}\"\n{settings}");
            project.write_job(&source.url(), &target.url(), &settings);
        };
        let kept = || {
            let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
            kept["rows"].as_array().map(Vec::len)
        };
        job("");
        project.copy();
        source.run("INSERT INTO log VALUES ('too long')");
        lost.into_iter().for_each(|lost| source.run(&format!("DELETE FROM log WHERE v = {lost}")));
        // More than the job allows stops it.
        job("max_quarantined = 0\n");
        let stopped = project.run(["run"]).expect(1);
        stopped.says(&["1 of", "rows were refused; the limit is 0"]);
        job("");
        for _ in 0..2 {
            let report = project.run(["run", "--json"]).expect(3).json();
            let entity = &report["entities"][0];
            assert_eq!((&entity["quarantined"], &entity["inserted"]), (&1.into(), &0.into()), "{pair:?} {mode}: {report}");
            assert_eq!(kept(), Some(1), "{pair:?} {mode} {lost:?}");
        }
        // One more, and then one less.
        source.run("INSERT INTO log VALUES ('longer still')");
        let _ = project.run(["run"]).expect(3);
        assert_eq!(kept(), Some(2), "{pair:?} {mode} {lost:?}");
        source.run("DELETE FROM log WHERE v = 'too long'");
        let _ = project.run(["run"]).expect(3);
        assert_eq!(kept(), Some(1), "{pair:?} {mode} {lost:?}");
        let shown = project.run(["quarantine", "show", "--key", "1", "--show-values"]).expect(0).output();
        assert!(shown.contains("longer still"), "{pair:?} {mode}: {shown}");
        source.run("DELETE FROM log WHERE v = 'longer still'");
        assert_eq!(project.copy()["entities"][0]["inserted"], 0, "{pair:?} {mode}");
        assert_eq!((kept(), target.count("log")), (Some(0), 2), "{pair:?} {mode} {lost:?}");
    }
}

#[test]
fn rows_that_another_filter_leaves_out_stay_unless_the_job_says_otherwise() {
    for (left_filter, after) in [("keep", 300), ("delete", 200)] {
        let project = Project::new();
        let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
        source.run(&format!("CREATE TABLE log (n integer, v text); {ROWS}"));
        let job = |below: u32| {
            let mode = format!("mode = \"replace\"\nleft_filter = \"{left_filter}\"\n");
            format!("{mode}[[jobs.copy.entities]]\nsource = \"log\"\nwhere = \"n <= {below}\"\n")
        };
        for (below, there) in [(100, 100), (300, 300), (200, after)] {
            project.write_job(&source.url(), &target.url(), &job(below));
            project.copy();
            assert_eq!(target.count("SELECT count(*) FROM log"), there, "{left_filter}");
        }
    }
}

#[test]
fn another_step_loads_the_own_rows_anew() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run(&format!("CREATE TABLE log (n integer, v text); {ROWS}"));
    for constant in ["one", "two"] {
        let entity = format!("[[jobs.copy.entities]]\nsource = \"log\"\ncolumns.set = {{ v = \"{constant}\" }}\n");
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{entity}"));
        assert_eq!(project.copy()["entities"][0]["inserted"], 20_000);
        assert_eq!(target.count(&format!("SELECT count(*) FROM log WHERE v = '{constant}'")), 20_000);
    }
}

/// Columns whose equal values may differ in their spelling, NULLs among them.
const WIDE: &str = "CREATE TABLE log (n integer, v text, d numeric(12, 4), f double precision, at timestamp)";
const WIDE_ROWS: &str = "INSERT INTO log WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
    SELECT i % 700, CASE WHEN i % 3 = 0 THEN NULL ELSE 'it''s ' || (i % 700) || ' ' END, (i % 700) / 4.0, (i % 700) / 3.0, \
           CASE WHEN i % 2 = 0 THEN '2024-02-29 12:00:00.5' END FROM n";

#[test]
fn of_rows_without_a_key_what_has_changed_is_written_alone_in_every_direction() {
    for pair in PAIRS {
        for own_key in [false, true] {
            let project = Project::new();
            let source = Database::new(pair.0, project.path(), "source");
            let target = Database::new(pair.1, project.path(), "target");
            source.run(&format!("{}; {}", WIDE, typed(WIDE_ROWS, pair.0)));
            if own_key {
                // The target numbers the rows, which the source does not.
                let number = match pair.1 {
                    Engine::Sqlite => "id INTEGER PRIMARY KEY, ",
                    Engine::Postgres(_) => "id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, ",
                };
                target.run(&WIDE.replace("log (", &format!("log ({number}")));
            }
            project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = \"hard\"\n");
            let expect = |inserted: u64, deleted: u64| {
                let plan = project.run(["plan", "--json"]).expect(0).json();
                let hash = plan["hash"].as_str().expect("a hash").to_owned();
                let report = project.run(["run", "--json", "--plan", &hash]).expect(0).json();
                for entity in [&plan["changes"][0], &report["entities"][0]] {
                    let rows = source.count("log");
                    assert_eq!(entity["read"], rows, "{pair:?}: {entity}");
                    let found = ["inserted", "unchanged", "deleted"].map(|counter| entity[counter].as_u64());
                    assert_eq!(found, [inserted, rows - inserted, deleted].map(Some), "{pair:?}: {entity}");
                }
                if !own_key {
                    source.assert_holds(&target, &["log"]);
                }
                let _ = project.run(["verify"]).expect(0);
            };
            expect(3_000, 0);
            expect(0, 0);
            // Of each there are several copies, some of them equal.
            let fives = source.matching("log", "n IN (17, 18)");
            source.run("UPDATE log SET d = d + 0.25 WHERE n IN (17, 18)");
            expect(fives, fives);
            source.run("INSERT INTO log SELECT * FROM log WHERE n = 20 OR n = 21");
            let doubled = source.matching("log", "n IN (20, 21)") / 2;
            expect(doubled, 0);
            // One of many equal copies.
            source
                .run("INSERT INTO log VALUES (1000, 'same', 1, 1, NULL), (1000, 'same', 1, 1, NULL), (1000, 'same', 1, 1, NULL)");
            expect(3, 0);
            let place = if matches!(pair.0, Engine::Sqlite) { "rowid" } else { "ctid" };
            source.run(&format!("DELETE FROM log WHERE {place} = (SELECT min({place}) FROM log WHERE n = 1000)"));
            expect(0, 1);
            source.run("DELETE FROM log WHERE n % 5 = 0");
            let gone = target.count("log") - source.count("log");
            expect(0, gone);
            expect(0, 0);
        }
    }
}

/// A moment as a text is none to PostgreSQL.
fn typed(sql: &str, engine: Engine) -> String {
    match engine {
        Engine::Sqlite => sql.to_owned(),
        Engine::Postgres(_) => sql.replace("'2024-02-29 12:00:00.5'", "timestamp '2024-02-29 12:00:00.5'"),
    }
}

#[test]
fn a_killed_change_of_rows_without_a_key_is_whole_or_not_there() {
    for pair in PAIRS {
        for after in ["log", "counted", ""] {
            let project = Project::new();
            let (source, target) = databases(pair, &project);
            target.run("DELETE FROM log");
            project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = \"hard\"\n");
            assert_eq!(project.copy()["entities"][0]["inserted"], 20_000);
            source.run("UPDATE log SET v = 'another' WHERE n % 4 = 0");
            let mut run = project.start(["--batch-size", "500"]);
            let _ = run.wait_for(after);
            run.kill();
            assert_eq!(target.count("log"), 20_000);
            assert!([0, 5_000].contains(&target.matching("log", "v = 'another'")), "{pair:?}");
            source.run("UPDATE log SET v = 'a third' WHERE n % 8 = 0");
            let report = project.copy();
            assert_eq!(&report["entities"][0]["read"], &20_000);
            source.assert_holds(&target, &["log"]);
            assert_eq!(project.copy()["entities"][0]["unchanged"], 20_000);
        }
    }
}

#[test]
fn where_triggers_may_have_altered_what_was_written_rows_without_a_key_are_loaded_anew() {
    let project = Project::new();
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE log (n integer, v text); INSERT INTO log SELECT i, 'x' FROM generate_series(1, 10) i");
    target.run(
        "CREATE TABLE log (n integer, v text);
         CREATE FUNCTION louder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := upper(NEW.v); RETURN NEW; END $$;
         CREATE TRIGGER louder BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION louder()",
    );
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\ndeletes = \"hard\"\n");
    project.copy();
    source.run("INSERT INTO log VALUES (11, 'y')");
    assert_eq!(project.copy()["entities"][0]["inserted"], 1);
    source.run("DELETE FROM log WHERE n < 5");
    assert_eq!(project.copy()["entities"][0]["inserted"], 7, "loaded anew");
    assert_eq!(target.count("SELECT count(*) FROM log WHERE v IN ('X', 'Y')"), 7);
}

#[test]
fn what_has_left_the_filter_is_not_compared_without_a_key_and_what_the_source_has_lost_is() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(pair.0, project.path(), "source"), Database::new(pair.1, project.path(), "target"));
        source.run("CREATE TABLE kl (v integer, w text)");
        // Every row is there twice.
        for _ in 0..2 {
            source.run(
                "INSERT INTO kl WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT i % 5, 'w' FROM n",
            );
        }
        let job = |filter: &str| format!("mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"kl\"\n{filter}");
        project.write_job(&source.url(), &target.url(), &job(""));
        project.copy();
        project.write_job(&source.url(), &target.url(), &job("where = \"v < 3\"\n"));
        project.copy();
        assert_eq!(target.count("kl"), 20, "{pair:?}");
        let report = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!((&report["entities"][0]["extra"], &report["equal"]), (&0.into(), &true.into()), "{pair:?}: {report}");
        // A row that was never there, and four that are gone from the source.
        target.run("INSERT INTO kl VALUES (9, 'w')");
        source.run("DELETE FROM kl WHERE v = 4");
        let report = project.run(["verify", "--json"]).expect(4).json();
        assert_eq!(
            (&report["entities"][0]["extra"], &report["entities"][0]["missing"]),
            (&5.into(), &0.into()),
            "{pair:?}: {report}"
        );
    }
}
