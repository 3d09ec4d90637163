//! Bad input: one clear error each, nothing written (P11).

use migrate_tests::{Database, Fixture, PAIRS, Postgres, Project, Run, Server, Sqlite};

/// A job file that is wrong in one way, and what its error must say.
struct Case {
    what: &'static str,
    file: &'static str,
    arguments: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const GOOD: &str = "[environments.a]\nurl = \"sqlite:source.sqlite\"\n[environments.b]\nurl = \"sqlite:target.sqlite\"\n";

/// Cases that follow `GOOD`.
const CASES: &[Case] = &[
    Case {
        what: "an unknown key",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmodus = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["migrate.toml", "modus", "mode"],
    },
    Case {
        what: "an unknown mode",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replaec\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["replaec", "replace"],
    },
    Case {
        what: "an unknown environment",
        file: "[jobs.copy]\nsource = \"aa\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["aa", "environment"],
    },
    Case {
        what: "an unknown job",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run", "copi"],
        code: 2,
        says: &["copi", "copy"],
    },
    Case {
        what: "no job, and several to choose from",
        file: "[jobs.one]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n[jobs.two]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["one", "two"],
    },
    Case { what: "no job at all", file: "", arguments: &["run"], code: 2, says: &["job"] },
    Case {
        what: "broken TOML",
        file: "[jobs.copy\nsource = \"a\"\n",
        arguments: &["run"],
        code: 2,
        says: &["migrate.toml", "line 5"],
    },
    Case {
        what: "an unknown kind of database",
        file: "[environments.c]\nurl = \"oracle://host/x\"\n[jobs.copy]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["oracle", "sqlite", "postgres"],
    },
    Case {
        what: "an unset variable of the environment",
        file: "[environments.c]\nurl = \"${MIGRATE_TEST_UNSET}\"\n[jobs.copy]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["MIGRATE_TEST_UNSET", "environment"],
    },
    Case {
        what: "an unreachable server",
        file: "[environments.c]\nurl = \"postgres://nobody@127.0.0.1:1/x\"\n[jobs.copy]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 1,
        says: &["127.0.0.1"],
    },
    Case {
        what: "a source file that is not there",
        file: "[environments.c]\nurl = \"sqlite:missing.sqlite\"\n[jobs.copy]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 1,
        says: &["missing.sqlite"],
    },
    Case {
        what: "a file that is no database",
        file: "[environments.c]\nurl = \"sqlite:migrate.toml\"\n[jobs.copy]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 1,
        says: &["migrate.toml", "database"],
    },
    Case {
        what: "a folder in place of a database",
        file: "[environments.c]\nurl = \"sqlite:.\"\n[jobs.copy]\nsource = \"c\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 1,
        says: &["."],
    },
    Case {
        what: "an unknown table",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Albun\"\n",
        arguments: &["run"],
        code: 2,
        says: &["Albun", "Album"],
    },
    Case {
        what: "an unknown entity on the command line",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run", "--entity", "Albun"],
        code: 2,
        says: &["Albun", "Album"],
    },
    Case {
        what: "an unknown column in a key",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\nkey = [\"AlbumIdd\"]\n",
        arguments: &["run"],
        code: 2,
        says: &["AlbumIdd", "AlbumId", "Album"],
    },
    Case {
        what: "an unknown column to rename",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\ncolumns = { rename = { Titel = \"title\" } }\n",
        arguments: &["run"],
        code: 2,
        says: &["Titel", "Title"],
    },
    Case {
        what: "an unknown column to leave out",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\ncolumns = { exclude = [\"Titel\"] }\n",
        arguments: &["run"],
        code: 2,
        says: &["Titel", "Title"],
    },
    Case {
        what: "two columns of one name",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\ncolumns = { rename = { Title = \"AlbumId\" } }\n",
        arguments: &["run"],
        code: 1,
        says: &["AlbumId"],
    },
    Case {
        what: "a filter's parameter without a value",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\nwhere = \"ArtistId < :most\"\n",
        arguments: &["run"],
        code: 2,
        says: &[":most"],
    },
    Case {
        what: "two entities that feed one table",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\ntarget = \"x\"\n[[jobs.copy.entities]]\nsource = \"Artist\"\ntarget = \"x\"\n",
        arguments: &["run"],
        code: 2,
        says: &["Album", "Artist", "x"],
    },
    Case {
        what: "a key that is not unique",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\nkey = [\"ArtistId\"]\n",
        arguments: &["run"],
        code: 1,
        says: &["Album", "ArtistId", "unique"],
    },
    Case {
        what: "a table onto itself",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"a\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run"],
        code: 2,
        says: &["source", "target"],
    },
    Case { what: "an unknown flag", file: "", arguments: &["run", "--paralel", "2"], code: 2, says: &["--paralel"] },
    Case {
        what: "a parameter without a value",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\nentities = \"*\"\n",
        arguments: &["run", "--param", "most"],
        code: 2,
        says: &["most"],
    },
    Case {
        what: "a parameter that no filter names",
        file: "[jobs.copy]\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"Album\"\nwhere = \"ArtistId < :most\"\n",
        arguments: &["run", "--param", "msot=3", "--param", "most=2"],
        code: 2,
        says: &[":msot", "most"],
    },
    Case {
        what: "a file that is not there",
        file: "",
        arguments: &["run", "-c", "nowhere.toml"],
        code: 2,
        says: &["nowhere.toml"],
    },
];

#[test]
fn every_kind_of_bad_input_gives_one_clear_error_and_leaves_the_target_alone() {
    let project = Project::new();
    let source = Fixture::Chinook.sqlite(project.path());
    std::fs::rename(source.path(), project.path().join("source.sqlite")).expect("the file can be renamed");
    let before = std::fs::read(project.path().join("source.sqlite")).expect("the source is there");
    let mut failures = String::new();
    for case in CASES {
        let target = project.path().join("target.sqlite");
        let _ = std::fs::remove_file(&target);
        project.write("migrate.toml", &format!("{GOOD}{}", case.file));
        let run = project.run(case.arguments);
        let mut complaints: Vec<String> = case
            .says
            .iter()
            .filter(|piece| !run.stderr.contains(**piece))
            .map(|piece| format!("does not say {piece:?}"))
            .collect();
        if run.code != Some(case.code) {
            complaints.push(format!("ends with {:?} instead of {}", run.code, case.code));
        }
        if run.stderr.contains("panicked at") {
            complaints.push("panics".to_owned());
        }
        if target.exists() && !Sqlite::new(&target).tables().is_empty() {
            complaints.push("touches the target".to_owned());
        }
        if project.path().join("missing.sqlite").exists() {
            complaints.push("makes the source".to_owned());
        }
        if !complaints.is_empty() {
            failures.push_str(&format!("{}: {}\n{}\n", case.what, complaints.join(", "), run.stderr));
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert_eq!(before, std::fs::read(project.path().join("source.sqlite")).expect("the source is there"));
}

fn refused(run: Run, pieces: &[&str]) {
    assert!(matches!(run.code, Some(1 | 2 | 5)), "{run:?}");
    assert!(!run.stderr.contains("panicked at"), "{}", run.stderr);
    run.says(pieces);
}

#[test]
fn a_wrong_password_is_refused_and_not_printed() {
    let source = Postgres::new(Server::First);
    source.run(
        "DO $$ BEGIN CREATE ROLE with_password LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         SET password_encryption = 'scram-sha-256'; ALTER ROLE with_password PASSWORD 'the right one'",
    );
    let project = Project::copying(&source.url_as("with_password", Some("hunter2-is-wrong")), "sqlite:target.sqlite");
    for arguments in [&["run", "-v"][..], &["plan"], &["check"], &["run", "--json", "--log-format", "json", "--log-file", "log"]]
    {
        let run = project.run(arguments);
        assert!(matches!(run.code, Some(1 | 2 | 4)), "{run:?}");
        assert!(run.output().contains("with_password"), "the role is named:\n{}", run.output());
        assert!(!run.output().contains("hunter2"), "{}", run.output());
    }
    let log = std::fs::read_to_string(project.path().join("log")).unwrap_or_default();
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn rows_that_row_level_security_would_hide_are_an_error_not_a_smaller_table() {
    let source = Postgres::new(Server::First);
    source.run(
        "CREATE TABLE seen (id int PRIMARY KEY, owner text); INSERT INTO seen VALUES (1, 'me'), (2, 'you'); \
         ALTER TABLE seen ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON seen USING (owner = 'me'); \
         DO $$ BEGIN CREATE ROLE sees_little LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         GRANT SELECT ON seen TO sees_little",
    );
    let project = Project::copying(&source.url_as("sees_little", None), "sqlite:target.sqlite");
    refused(project.run(["run"]), &["seen", "row"]);
    let target = Sqlite::new(project.path().join("target.sqlite"));
    assert!(!target.path().exists() || target.tables().is_empty());
}

#[test]
fn a_missing_right_names_the_table() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE open (id int PRIMARY KEY); CREATE TABLE closed (id int PRIMARY KEY); INSERT INTO open VALUES (1); INSERT INTO closed VALUES (1)");
    for database in [&source, &target] {
        database
            .run("DO $$ BEGIN CREATE ROLE little LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$");
    }
    source.run("GRANT SELECT ON open TO little");
    refused(Project::copying(&source.url_as("little", None), &target.url()).run(["run"]), &["closed", "select"]);
    assert_eq!(target.count("SELECT count(*) FROM pg_class WHERE relname IN ('open', 'closed')"), 0);

    // A target in which the role may create nothing.
    refused(Project::copying(&source.url(), &target.url_as("little", None)).run(["run"]), &["create"]);

    // A target whose table may not be written.
    target.run("CREATE TABLE open (id int PRIMARY KEY); GRANT SELECT ON open TO little");
    let project = Project::new();
    project.write_job(
        &source.url(),
        &target.url_as("little", None),
        "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"open\"\n",
    );
    refused(project.run(["run"]), &["open"]);
    assert_eq!(target.count("SELECT count(*) FROM open"), 0);
}

#[test]
fn a_cycle_of_not_null_references_through_a_table_without_a_key_is_refused_by_name() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    for side in [&source, &target] {
        side.run(
            "CREATE TABLE a (id int UNIQUE, b_id int NOT NULL);
             CREATE TABLE b (id int PRIMARY KEY, a_id int NOT NULL REFERENCES a (id));
             ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b (id)",
        );
    }
    source.run(
        "BEGIN; ALTER TABLE a ALTER CONSTRAINT a_b_id_fkey DEFERRABLE; SET CONSTRAINTS ALL DEFERRED;
         INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); COMMIT",
    );
    refused(Project::copying(&source.url(), &target.url()).run(["run"]), &["public.a", "public.b", "cycle"]);
    assert_eq!(target.count("SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)"), 0);
}

#[test]
fn a_column_that_must_be_filled_and_has_no_source_is_refused_in_the_plan() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    target.run("CREATE TABLE t (id int PRIMARY KEY, must text NOT NULL)");
    refused(Project::copying(&source.url(), &target.url()).run(["run"]), &["t", "must"]);
    // A column of the source that the target lacks would be lost in silence.
    target.run("ALTER TABLE t DROP COLUMN must");
    source.run("ALTER TABLE t ADD COLUMN more text DEFAULT 'x'");
    refused(Project::copying(&source.url(), &target.url()).run(["run"]), &["t", "more"]);
    assert_eq!(target.count("SELECT count(*) FROM t"), 0);
}

#[test]
fn types_that_can_never_fit_are_refused_in_the_plan() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id int PRIMARY KEY, v bytea); INSERT INTO t VALUES (1, 'x')");
    target.run("CREATE TABLE t (id int PRIMARY KEY, v date)");
    refused(Project::copying(&source.url(), &target.url()).run(["run"]), &["v", "bytea", "date"]);
}

#[test]
fn a_table_of_more_columns_than_the_target_can_have_is_refused_in_the_plan() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("source.sqlite")), Postgres::new(Server::First));
    let columns: Vec<String> = (1..=1700).map(|n| format!("c{n} INTEGER")).collect();
    source.run(&format!("CREATE TABLE wide ({})", columns.join(", ")));
    refused(Project::copying(&source.url(), &target.url()).run(["plan"]), &["wide", "1700", "1600"]);
}

#[test]
fn a_filter_that_the_source_does_not_understand_is_refused_before_anything_is_made() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)");
        for (filter, says) in [("idd < 5", "idd"), ("id <", "syntax")] {
            let entity = format!("[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"{filter}\"\n");
            project.write_job(&source.url(), &target.url(), &entity);
            refused(project.run(["run"]), &["t", says]);
            assert!(project.run(["check"]).expect(4).output().contains(says), "{from:?} to {to:?}");
            match &target {
                Database::Postgres(target) => assert_eq!(target.count("SELECT count(*) FROM pg_class WHERE relname = 't'"), 0),
                Database::Sqlite(target) => assert!(!target.path().exists() || target.tables().is_empty(), "{from:?} to {to:?}"),
            }
        }
    }
}

#[test]
fn too_many_refused_rows_stop_the_run() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO t SELECT i, 'a' || char(0) FROM n",
    );
    let target = Postgres::new(Server::First);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let run = project.run(["run"]).expect(1);
    run.says(&["t", "quarantine"]);
    // With leave, all of them may be refused: nothing was written, which is a failure all the same.
    let report = project.run(["run", "--json", "--max-quarantined", "3000"]).json();
    assert_eq!(report["entities"][0]["quarantined"], 3000, "{report}");
    assert_eq!(report["status"], "failed", "{report}");
}
