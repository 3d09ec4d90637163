//! The command line's contract: arguments, exit codes, reports and records.

use migrate_tests::{Database, Engine, Postgres, Project, Server, Sqlite, assert_same_sqlite_file};
use serde_json::Value;

/// A source with two tables, one of which refers to the other, and a target that does not exist yet.
fn small() -> (Project, Sqlite, Sqlite) {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT NOT NULL, note TEXT);
         CREATE TABLE album (id INTEGER PRIMARY KEY, artist INTEGER NOT NULL REFERENCES artist, title TEXT);
         INSERT INTO artist VALUES (1, 'one', 'x'), (2, 'two', NULL), (3, 'three', '');
         INSERT INTO album VALUES (10, 1, 'a'), (11, 1, 'b'), (12, 3, 'c'), (13, 2, NULL);",
    );
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job("sqlite:source.sqlite", "sqlite:target.sqlite", "mode = \"replace\"\nentities = \"*\"\n");
    (project, source, target)
}

fn entity<'a>(report: &'a Value, name: &str) -> &'a Value {
    let entities = report["entities"].as_array().expect("entities");
    entities.iter().find(|e| e["name"] == name).unwrap_or_else(|| panic!("{name} is in {report}"))
}

#[test]
fn run_prints_one_json_document_with_every_counter_of_every_entity() {
    let (project, _, _) = small();
    let report = project.copy();
    assert_eq!(report["status"], "succeeded");
    assert!(report["execution_id"].is_string(), "{report}");
    let fields = [
        "name",
        "source",
        "target",
        "read",
        "inserted",
        "updated",
        "unchanged",
        "skipped",
        "filtered",
        "quarantined",
        "deleted",
        "conflicts",
        "pending",
        "orphans",
        "seconds",
    ];
    for name in ["artist", "album"] {
        for field in fields {
            assert!(!entity(&report, name)[field].is_null(), "{field} of {name} in {report}");
        }
    }
    assert_eq!((&entity(&report, "artist")["inserted"], &entity(&report, "album")["inserted"]), (&3.into(), &4.into()));
}

#[test]
fn without_json_run_prints_a_table_and_says_where_to_look_again() {
    let (project, _, _) = small();
    let run = project.run(["run"]).expect(0);
    for piece in ["artist", "album", "read", "inserted", "updated", "unchanged", "skipped", "filtered", "quarantined"] {
        assert!(run.stdout.contains(piece), "{piece} is expected in:\n{}", run.stdout);
    }
}

#[test]
fn the_job_file_is_found_by_its_path_and_its_own_paths_are_relative_to_it() {
    let (project, _, target) = small();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let file = project.path().join("migrate.toml");
    let output = project.command(["run", "copy", "--json", "-c"]).arg(&file).current_dir(elsewhere.path()).output();
    let _ = migrate_tests::Run::of(output.expect("migrate starts")).expect(0);
    assert_eq!(target.count("SELECT count(*) FROM album"), 4);
    assert_eq!(std::fs::read_dir(elsewhere.path()).expect("a folder").count(), 0, "nothing is written to the working folder");
}

#[test]
fn executions_are_listed_and_shown_with_their_entities_and_logs() {
    let (project, _, _) = small();
    let id = project.copy()["execution_id"].as_str().expect("an id").to_owned();
    let listed = project.run(["executions", "--json"]).expect(0).json();
    assert!(listed.to_string().contains(&id), "{listed}");
    assert_eq!(project.run(["executions", "list", "--json"]).expect(0).json(), listed);
    let shown = project.run(["executions", "show", &id, "--json"]).expect(0).json();
    for piece in ["succeeded", "artist", "album", id.as_str()] {
        assert!(shown.to_string().contains(piece), "{piece} is expected in {shown}");
    }
    for arguments in [["executions", "show", &id], ["executions", "logs", &id]] {
        assert!(!project.run(arguments).expect(0).stdout.is_empty(), "{arguments:?}");
    }
    let human = project.run(["executions"]).expect(0).stdout;
    assert!(human.contains("copy") && human.contains("succeeded"), "{human}");
    let unknown = project.run(["executions", "show", "no-such-id"]);
    assert!(matches!(unknown.code, Some(1 | 2)), "{unknown:?}");
    unknown.says(&["no-such-id"]);
}

#[test]
fn plan_and_dry_run_say_what_would_happen_and_write_nothing() {
    let (project, _, target) = small();
    for arguments in [&["plan", "--json"][..], &["run", "--dry-run", "--json"], &["plan", "copy", "--json"]] {
        let plan = project.run(arguments).expect(0).json().to_string();
        assert!(plan.contains("artist") && plan.contains("album"), "{plan}");
        assert!(!target.path().exists(), "{arguments:?} made the target");
    }
    let human = project.run(["plan"]).expect(0).stdout;
    assert!(human.contains("artist") && human.contains("album"), "{human}");
    let listed = project.run(["executions", "--json"]).expect(0).json();
    assert!(!listed.to_string().contains("artist"), "a plan is no execution: {listed}");
}

#[test]
fn check_reads_both_sides_and_writes_nothing() {
    let (project, _, target) = small();
    let report = project.run(["check", "--json"]).expect(0);
    let _ = report.json();
    assert!(!target.path().exists());
    std::fs::remove_file(project.path().join("source.sqlite")).expect("the source can be removed");
    let broken = project.run(["check"]);
    assert!(matches!(broken.code, Some(1 | 4)), "{broken:?}");
    assert!(broken.output().contains("source.sqlite"), "{}", broken.output());
    assert!(!project.path().join("source.sqlite").exists(), "a source is never made");
}

#[test]
fn init_writes_a_commented_starter_file_and_never_overwrites_one() {
    let project = Project::new();
    let _ = project.run(["init"]).expect(0);
    let text = std::fs::read_to_string(project.path().join("migrate.toml")).expect("the file is written");
    assert!(text.contains("[jobs.") && text.contains("# "), "{text}");
    // What it says is a job file: what is wrong can only be the databases that it names.
    let check = project.run(["check"]);
    assert!(!check.stderr.contains("unknown"), "{}", check.stderr);
    project.write("migrate.toml", "# mine\n");
    let again = project.run(["init"]);
    assert!(matches!(again.code, Some(1 | 2)), "{again:?}");
    assert_eq!(std::fs::read_to_string(project.path().join("migrate.toml")).expect("the file is there"), "# mine\n");
}

#[test]
fn an_entity_a_limit_and_a_parameter_narrow_a_run() {
    let (project, _, target) = small();
    project.write_job(
        "sqlite:source.sqlite",
        "sqlite:target.sqlite",
        "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"artist\"\nwhere = \"id <= :most AND name <> ':most'\"\n\
         [[jobs.copy.entities]]\nsource = \"album\"\nname = \"albums\"\nwhere = \"artist <= :most\"\n[jobs.copy.params]\nmost = 100\n",
    );
    let report = project.run(["run", "--json", "--entity", "artist", "--param", "most=2"]).expect(0).json();
    assert_eq!(entity(&report, "artist")["read"], 2, "{report}");
    assert_eq!(report["entities"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(target.count("SELECT count(*) FROM artist"), 2);

    // Text that looks like SQL is a value, nothing else.
    let injected = project.run(["run", "--json", "--entity", "artist", "--param", "most=1 OR 1=1"]).expect(0).json();
    assert!(entity(&injected, "artist")["read"].as_u64().is_some_and(|n| n == 0 || n == 3), "{injected}");

    let report = project.run(["run", "--json", "--limit", "1"]).expect(0).json();
    for name in ["artist", "albums"] {
        assert_eq!(entity(&report, name)["read"], 1, "{report}");
    }
}

#[test]
fn a_number_on_the_command_line_is_found_in_text_columns_and_in_integer_columns() {
    for engine in [Engine::Sqlite, Engine::Postgres(Server::Second)] {
        let project = Project::new();
        let source = Database::new(engine, project.path(), "source");
        let target = Database::new(Engine::Sqlite, project.path(), "target");
        source.run(
            "CREATE TABLE t (id integer PRIMARY KEY, user_id text, big bigint, code varchar(9)); \
             INSERT INTO t VALUES (1, '42', 42, '1.50'), (2, '042', 41, '1.5'), (3, 'true', 40, '7')",
        );
        let read = |condition: &str, params: &str, given: &str| {
            let settings = format!("[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"{condition}\"\n{params}");
            project.write_job(&source.url(), &target.url(), &settings);
            project.run(["run", "--json", "--param", given]).expect(0).json()["entities"][0]["read"].clone()
        };
        for (condition, given, rows) in [
            ("user_id = :user", "user=42", 1),
            ("user_id = :user", "user=042", 1),
            ("big = :user", "user=42", 1),
            ("big < :user", "user=41.5", 2),
            ("code = :user", "user=1.50", 1),
            ("code = :user", "user=1.5", 1),
            ("code = :user", "user=7", 1),
        ] {
            for params in ["", "[jobs.copy.params]\nuser = \"42\"\n"] {
                if !params.is_empty() && given == "user=41.5" {
                    // A text, as the job says, and PostgreSQL takes no such text for an integer.
                    continue;
                }
                assert_eq!(read(condition, params, given), rows, "{engine:?} {condition} {given} {params}");
            }
        }
        let settings = "[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"user_id = :user\"\n";
        project.write_job(&source.url(), &target.url(), settings);
        project.run(["run"]).expect(2).says(&[":user", "--param user=…", "entity t"]);
    }
}

#[test]
fn batches_of_one_row_give_the_same_result() {
    let (project, source, target) = small();
    let _ = project.run(["run", "--batch-size", "1", "--parallel", "1"]).expect(0);
    assert_same_sqlite_file(&source, &target);
    let again = project.run(["run", "--json", "--batch-size", "2"]).expect(0).json();
    assert_eq!(
        (&entity(&again, "artist")["unchanged"], &entity(&again, "album")["unchanged"]),
        (&3.into(), &4.into()),
        "{again}"
    );
}

#[test]
fn columns_are_renamed_left_out_and_set() {
    let (project, _, target) = small();
    project.write_job(
        "sqlite:source.sqlite",
        "sqlite:target.sqlite",
        "mode = \"replace\"\n[[jobs.copy.entities]]\nname = \"people\"\nsource = \"artist\"\ntarget = \"person\"\nkey = [\"id\"]\n\
         columns = { rename = { name = \"full name\" }, exclude = [\"note\"], set = { origin = \"legacy\" } }\n",
    );
    project.copy();
    assert_eq!(
        target.texts("SELECT id || ' ' || \"full name\" || ' ' || origin FROM person ORDER BY id"),
        ["1 one legacy", "2 two legacy", "3 three legacy"]
    );
    assert_eq!(target.count("SELECT count(*) FROM pragma_table_info('person')"), 3);
    let again = project.copy();
    assert_eq!(entity(&again, "people")["unchanged"], 3, "{again}");
}

#[test]
fn modes_differ_in_what_they_do_with_rows_that_are_there() {
    let (project, source, target) = small();
    project.copy();
    source.run("UPDATE artist SET name = 'ONE' WHERE id = 1; INSERT INTO artist VALUES (4, 'four', NULL); DELETE FROM album WHERE id = 12");
    let job = |mode: &str| {
        project.write_job("sqlite:source.sqlite", "sqlite:target.sqlite", &format!("mode = \"{mode}\"\nentities = \"*\"\n"));
    };

    // append: only keys that are not there.
    job("append");
    let report = project.copy();
    assert_eq!(
        (&entity(&report, "artist")["inserted"], &entity(&report, "artist")["updated"]),
        (&1.into(), &0.into()),
        "{report}"
    );
    assert_eq!(target.texts("SELECT name FROM artist ORDER BY id"), ["one", "two", "three", "four"]);

    // replace: whole rows; what is only at the target stays, as nothing asks for deletes.
    job("replace");
    let report = project.copy();
    assert_eq!(
        (&entity(&report, "artist")["inserted"], &entity(&report, "artist")["updated"]),
        (&0.into(), &1.into()),
        "{report}"
    );
    assert_eq!(target.texts("SELECT name FROM artist ORDER BY id"), ["ONE", "two", "three", "four"]);
    assert_eq!(target.count("SELECT count(*) FROM album"), 4);

    // init: the target must be empty.
    let other = Sqlite::new(project.path().join("other.sqlite"));
    other.run("CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT NOT NULL, note TEXT); INSERT INTO artist VALUES (9, 'nine', NULL)");
    project.write_job("sqlite:source.sqlite", "sqlite:other.sqlite", "mode = \"init\"\nentities = \"*\"\n");
    let refused = project.run(["run"]);
    assert!(matches!(refused.code, Some(1 | 5)), "{refused:?}");
    refused.says(&["artist"]);
    assert_eq!(other.texts("SELECT name FROM artist"), ["nine"]);
    other.run("DELETE FROM artist");
    assert_eq!(entity(&project.copy(), "artist")["inserted"], 4);
}

#[test]
fn other_environments_can_be_named_on_the_command_line() {
    let (project, _, _) = small();
    let file = std::fs::read_to_string(project.path().join("migrate.toml")).expect("the file is there");
    project.write(
        "migrate.toml",
        &format!(
            "{file}\n[environments.other]\nurl = \"sqlite:other.sqlite\"\n[environments.unused]\nurl = \"${{NOBODY_SET_THIS}}\"\n"
        ),
    );
    let _ = project.run(["run", "--target", "other"]).expect(0);
    assert_eq!(Sqlite::new(project.path().join("other.sqlite")).count("SELECT count(*) FROM album"), 4);
    assert!(!project.path().join("target.sqlite").exists());
    let unset = project.run(["run", "--target", "unused"]).expect(2);
    unset.says(&["NOBODY_SET_THIS"]);
}

#[test]
fn logs_go_to_standard_error_as_json_lines_and_to_a_file_that_grows() {
    let (project, _, _) = small();
    let run = project.run(["run", "--json", "--log-format", "json", "--log-file", "all.log", "-v"]).expect(0);
    let _ = run.json();
    let lines: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!lines.is_empty(), "{}", run.stderr);
    for line in lines {
        let _: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    let length = || std::fs::metadata(project.path().join("all.log")).expect("the log file is there").len();
    let once = length();
    assert!(once > 0);
    let _ = project.run(["run", "--log-file", "all.log", "-v"]).expect(0);
    assert!(length() > once, "a second run appends");
}

#[test]
fn the_store_can_be_a_postgresql_database() {
    let (project, _, _) = small();
    let store = Postgres::new(Server::Second);
    let file = std::fs::read_to_string(project.path().join("migrate.toml")).expect("the file is there");
    project.write("migrate.toml", &file.replace("sqlite:store.db", &store.url()));
    let id = project.copy()["execution_id"].as_str().expect("an id").to_owned();
    let shown = project.run(["executions", "show", &id, "--json"]).expect(0).json();
    assert!(shown.to_string().contains("succeeded"), "{shown}");
    assert!(!project.path().join("store.db").exists());
}

#[test]
fn the_source_stays_as_it_is_to_the_last_byte() {
    // P7: not even SQLite's own bookkeeping in the file's head may change.
    let (project, source, _) = small();
    let before = std::fs::read(source.path()).expect("the source is there");
    project.copy();
    project.copy();
    assert_eq!(before, std::fs::read(source.path()).expect("the source is there"));
    for suffix in ["-wal", "-shm", "-journal"] {
        assert!(!project.path().join(format!("source.sqlite{suffix}")).exists(), "{suffix}");
    }
}

#[test]
fn a_source_that_only_allows_reading_is_enough() {
    let source = Postgres::new(Server::First);
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 500) i; \
         DO $$ BEGIN CREATE ROLE only_reads LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
         GRANT USAGE ON SCHEMA public TO only_reads; GRANT SELECT ON t TO only_reads;",
    );
    source.run(&format!("REVOKE ALL ON DATABASE {0} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO only_reads; ALTER ROLE only_reads IN DATABASE {0} SET default_transaction_read_only = on", migrate_tests::identifier(source.name())));
    let project = Project::new();
    project.write_job(&source.url_as("only_reads", None), "sqlite:target.sqlite", "mode = \"replace\"\nentities = \"*\"\n");
    assert_eq!(entity(&project.copy(), "t")["inserted"], 500);
}

#[test]
fn the_graph_of_references_is_printed_in_load_order_and_for_other_programs() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.db"));
    source.run(
        "CREATE TABLE \"line \"\"item\"\"\" (id INTEGER PRIMARY KEY, invoice INTEGER REFERENCES invoice (id));
         CREATE TABLE invoice (id INTEGER PRIMARY KEY, staff INTEGER REFERENCES staff (id));
         CREATE TABLE staff (id INTEGER PRIMARY KEY, boss INTEGER REFERENCES staff (id))",
    );
    project.write_job(&source.url(), &format!("sqlite:{}", project.path().join("target.db").display()), "");
    let text = project.run(["graph"]).expect(0).output();
    let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name} in:\n{text}"));
    assert!(place("staff") < place("invoice") && place("invoice") < place("line"), "{text}");
    assert!(text.contains("cycle: staff → staff") && text.contains("after the load"), "{text}");
    let dot = project.run(["graph", "--format", "dot"]).expect(0).output();
    assert!(dot.starts_with("digraph") && dot.contains(r#""line \"item\"" -> "invoice" [label = "invoice\nthe job"#), "{dot}");
    let mermaid = project.run(["graph", "--format", "mermaid"]).expect(0).output();
    assert!(mermaid.starts_with("flowchart") && mermaid.contains("line #quot;item#quot;"), "{mermaid}");
    let graph = project.run(["graph", "--json"]).expect(0).json();
    assert_eq!(graph["cycles"], serde_json::json!([["staff"]]), "{graph}");
    // Once the tables are there, a reference inside a cycle is no longer bound like the others.
    let _ = project.run(["run"]).expect(0);
    let graph = project.run(["graph", "--json"]).expect(0).json();
    let of = |child: &str| {
        graph["references"].as_array().expect("a list").iter().find(|r| r["child"] == child).expect(child)["binding"].clone()
    };
    assert_eq!((of("staff"), of("invoice")), ("late".into(), "with_row".into()), "{graph}");
}

#[test]
fn the_graph_shows_every_cycle_and_in_drawings_levels_and_what_is_bound_late() {
    for engine in [Engine::Sqlite, Engine::Postgres(Server::First)] {
        let project = Project::new();
        let (source, target) = (Database::new(engine, project.path(), "source"), Database::new(engine, project.path(), "target"));
        let (early, late) = match engine {
            Engine::Sqlite => (" REFERENCES addr (id)", ""),
            Engine::Postgres(_) => ("", "; ALTER TABLE person ADD FOREIGN KEY (home) REFERENCES addr (id)"),
        };
        for database in [&source, &target] {
            database.run(&format!(
                "CREATE TABLE person (id integer PRIMARY KEY, boss integer REFERENCES person (id), home integer{early});
                 CREATE TABLE addr (id integer PRIMARY KEY, owner integer REFERENCES person (id)){late};
                 CREATE TABLE pet (id integer PRIMARY KEY, owner integer NOT NULL REFERENCES person (id))"
            ));
        }
        project.write_job(&source.url(), &target.url(), "");
        let text = project.run(["graph"]).expect(0).output();
        let spelled = ["cycle: addr → person → addr", "cycle: person → addr → person"];
        assert!(spelled.iter().any(|cycle| text.contains(cycle)) && text.contains("cycle: person → person"), "{text}");
        let graph = project.run(["graph", "--json"]).expect(0).json();
        let cycles = graph["cycles"].as_array().expect("cycles");
        assert!(cycles.len() == 2 && cycles.iter().any(|cycle| cycle.as_array().is_some_and(|c| c.len() == 2)), "{graph}");
        let dot = project.run(["graph", "--format", "dot"]).expect(0).output();
        for piece in [
            "// cycle: person → person",
            "\"person\" [label = \"person\\nlevel 0\", style = filled",
            "\"pet\" [label = \"pet\\nlevel 1\"];",
            "\"person\" -> \"person\" [label = \"boss\\nin a cycle of existing tables: NULL until the parent is there\", style = dashed];",
            "\"pet\" -> \"person\" [label = \"owner\\nparents load first\"];",
        ] {
            assert!(dot.contains(piece), "{piece} in {dot}");
        }
        let mermaid = project.run(["graph", "--format", "mermaid"]).expect(0).output();
        for piece in [
            "%% cycle: person → person",
            "person<br/>level 0\"]:::cycle",
            "-.->|\"boss<br/>in a cycle",
            "-->|\"owner<br/>parents",
        ] {
            assert!(mermaid.contains(piece), "{piece} in {mermaid}");
        }
        // What cannot be bound in order is refused with the cycle that it closes, not with another of its entity.
        let boss = "[[jobs.copy.entities]]\nsource = \"person\"\nreferences = [{ columns = [\"home\"], entity = \"addr\", bind = \"order\" }]\n\
                    [[jobs.copy.entities]]\nsource = \"addr\"\nreferences = [{ columns = [\"owner\"], entity = \"person\", bind = \"order\" }]\n";
        project.write_job(&source.url(), &target.url(), boss);
        let refused = project.run(["graph"]).expect(2);
        let cycle = |a: &str, b: &str| {
            let prefix = if engine == Engine::Sqlite { "" } else { "public." };
            format!("{prefix}{a} → {prefix}{b} → {prefix}{a}")
        };
        let spelled = [cycle("person", "addr"), cycle("addr", "person")];
        assert!(spelled.iter().any(|cycle| refused.stderr.contains(cycle)), "{}", refused.stderr);
        // Together, though its columns may be NULL: the job file says so, and so does the note.
        project.write_job(&source.url(), &target.url(), &boss.replace("order", "together"));
        let plan = project.run(["plan"]).expect(0).output();
        assert!(plan.contains("in a cycle that the job file binds together: ") && !plan.contains("never NULL"), "{plan}");
    }
}
