//! Values that change on the way, as the job file says.

use migrate_tests::{Database, Engine, PAIRS, Project, Run, Server};

/// Practice sessions: the time in milliseconds, tags as JSON that may be broken, notes that may be missing or empty.
const SOURCE: &str = "
    CREATE TABLE logbook (id integer PRIMARY KEY, player text NOT NULL, at bigint, notes text, tags text, minutes integer, mail text);
    INSERT INTO logbook WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
        SELECT i, 'player ' || (i % 7), 1700000000000 + i * 60000,
               CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'étude \u{1F3B5} ' || i END,
               CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '[]' ELSE '[\"scale\", ' || i || ']' END,
               i % 60, 'm' || i || '@example.org' FROM n;
    INSERT INTO logbook VALUES (5001, 'player 1', 1700000000000, 'x', '{broken', 1, 'a@example.org'),
                               (5002, 'player 2', NULL, NULL, NULL, NULL, NULL);";

const JOB: &str = "
    [[jobs.copy.entities]]
    source = \"logbook\"
    target = \"sync_data\"
    columns = { rename = { player = \"user_name\" } }
    transform = [
        { column = \"at\", from = \"unix_ms\" },
        { column = \"tags\", parse_json = { on_error = \"refuse\", default = [] } },
        { column = \"data\", pack = [\"notes\", \"tags\", \"minutes\"] },
        { column = \"entity_type\", constant = \"logbook_entry\" },
        { column = \"mail\", mask = \"hash\" },
        { column = \"player\", text = [\"upper\"] },
    ]
    ";

fn count(target: &Database, postgres: &str, sqlite: &str) -> u64 {
    target.matching("sync_data", if matches!(target, Database::Postgres(_)) { postgres } else { sqlite })
}

#[test]
fn transformed_rows_arrive_are_found_unchanged_and_what_cannot_be_is_quarantined_by_column() {
    for (from, to) in PAIRS {
        for exists in [false, true] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run(&SOURCE.replace("\\u{1F3B5}", "\u{1F3B5}"));
            if exists {
                target.run(
                    "CREATE TABLE sync_data (id integer PRIMARY KEY, user_name text NOT NULL, entity_type text, at timestamptz_text, \
                     data json, mail varchar(64))"
                        .replace("timestamptz_text", if matches!(target, Database::Postgres(_)) { "timestamptz" } else { "text" })
                        .as_str(),
                );
            }
            project.write_job(&source.url(), &target.url(), JOB);
            let report = project.run(["run", "--json"]).expect(3).json();
            let entity = &report["entities"][0];
            assert_eq!((&entity["inserted"], &entity["quarantined"]), (&1201.into(), &1.into()), "{from:?} {to:?} {report}");

            // The expected numbers are the source's own.
            assert_eq!(target.matching("sync_data", "entity_type = 'logbook_entry' AND user_name LIKE 'PLAYER %'"), 1201);
            let noon = count(
                &target,
                "at = timestamptz '2023-11-14 22:13:20+00' + id * interval '1 minute'",
                "CAST(strftime('%s', substr(at, 1, 19)) AS integer) = 1700000000 + id * 60",
            );
            assert_eq!((noon, target.matching("sync_data", "at IS NULL")), (1200, 1));
            let minutes =
                count(&target, "(data::json ->> 'minutes')::int = id % 60", "json_extract(data, '$.minutes') = id % 60");
            assert_eq!(minutes, 1200);
            let tags = |value: &str| {
                let (pg, lite) =
                    (format!("data::json ->> 'tags' = '{value}'"), format!("json_extract(data, '$.tags') = '{value}'"));
                count(&target, &pg, &lite)
            };
            // Missing tags become [], like those that were empty.
            assert_eq!(tags("[]"), 601);
            let empty = count(&target, "data::json ->> 'notes' = ''", "json_extract(data, '$.notes') = ''");
            let null = count(&target, "data::json ->> 'notes' IS NULL", "json_extract(data, '$.notes') IS NULL");
            assert_eq!((empty, null), (400, 401), "empty stays apart from NULL");
            assert_eq!(target.matching("sync_data", "length(mail) = 64 AND mail NOT LIKE '%@%'"), 1200);

            let quarantine = project.run(["quarantine", "list"]).expect(0).output();
            assert!(quarantine.contains("tags") && quarantine.contains("JSON"), "{quarantine}");

            let again = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(again["entities"][0]["unchanged"], 1201, "P4: {again}");
            let verified = project.run(["verify", "--json"]).expect(0).json();
            assert_eq!((&verified["equal"], &verified["entities"][0]["quarantined"]), (&true.into(), &1.into()), "{verified}");

            // WHEN the source's row is mended, and another step is asked for
            source.run("UPDATE logbook SET tags = '[1]' WHERE id = 5001");
            let job = JOB.replace("[\"upper\"]", "[\"lower\"]");
            project.write_job(&source.url(), &target.url(), &job);
            let report = project.copy();
            let entity = &report["entities"][0];
            assert_eq!((&entity["inserted"], &entity["updated"]), (&1.into(), &1201.into()), "{from:?} {to:?} {report}");
            assert_eq!(target.matching("sync_data", "user_name LIKE 'player %'"), 1202);
        }
    }
}

#[test]
fn a_transformation_that_does_not_fit_is_refused_before_anything_is_written() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run("CREATE TABLE t (id integer PRIMARY KEY, name text)");
    for (step, says) in [
        ("{ column = \"nam\", mask = \"hash\" }", "did you mean \"name\""),
        ("{ column = \"id\", mask = \"hash\" }", "belongs to the key"),
        ("{ column = \"name\" }", "does not say what becomes of it"),
        ("{ column = \"name\", mask = \"hash\", cast = \"json\" }", "give two steps"),
        ("{ column = \"name\", cats = \"json\" }", "cast"),
    ] {
        let settings = format!("[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{step}]\n");
        project.write_job(&source.url(), &target.url(), &settings);
        project.run(["run"]).expect(2).says(&[says]);
        assert_eq!(target.count("t"), 0);
    }
}

#[test]
fn a_key_of_pseudonyms_is_read_from_the_environment_and_only_for_the_entity_that_has_it() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run("CREATE TABLE t (id integer PRIMARY KEY, mail text); INSERT INTO t VALUES (1, 'a@example.org')");
    source.run("CREATE TABLE other (id integer PRIMARY KEY); INSERT INTO other VALUES (1)");
    let settings = "[[jobs.copy.entities]]\nsource = \"t\"\n\
        transform = [{ column = \"mail\", mask = { pseudonym = { key = \"${MIGRATE_TEST_KEY}\" } } }]\n\
        [[jobs.copy.entities]]\nsource = \"other\"\n";
    project.write_job(&source.url(), &target.url(), settings);
    let run = |key: Option<&str>, arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env_remove("MIGRATE_TEST_KEY");
        if let Some(key) = key {
            command.env("MIGRATE_TEST_KEY", key);
        }
        Run::of(command.output().expect("migrate starts"))
    };
    for command in ["plan", "run"] {
        run(None, &[command]).expect(2).says(&["MIGRATE_TEST_KEY", "is not set", "entity t", "column mail"]);
        run(Some(""), &[command]).expect(2).says(&["${MIGRATE_TEST_KEY}", "is empty", "entity t", "column mail"]);
    }
    let _ = run(None, &["run", "--entity", "other"]).expect(0);
    // HMAC-SHA-256 of the mail under each key, by another implementation.
    for (key, pseudonym) in
        [("first key", "1eb4887db10cdd945cb9129c1b3f75cb"), ("second key", "3410636f6a617de41379e2f6dcf47e2d")]
    {
        let report = run(Some(key), &["run", "--json"]).expect(0);
        assert_eq!(target.matching("t", &format!("mail = '{pseudonym}'")), 1, "{}", report.output());
        let again = run(Some(key), &["run", "--json"]).expect(0).json();
        assert_eq!(again["entities"][0]["unchanged"], 1, "P4: {again}");
    }
}

#[test]
fn a_bad_cell_of_a_column_that_is_left_out_and_that_no_step_takes_refuses_nothing() {
    for to in [Engine::Sqlite, Engine::Postgres(Server::Second)] {
        let project = Project::new();
        let source = Database::new(Engine::Sqlite, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE t (note TEXT, id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (CAST(x'ff' AS TEXT), 1, 'a'), ('', 2, 'b')",
        );
        let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ncolumns = { exclude = [\"note\"] }\n\
            transform = [{ column = \"name\", text = [\"upper\"] }]\n";
        project.write_job(&source.url(), &target.url(), settings);
        assert_eq!(project.copy()["entities"][0]["inserted"], 2);
        assert_eq!(target.matching("t", "name IN ('A', 'B')"), 2);
        let verified = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(verified["equal"], true, "{verified}");
        // A step that takes it still refuses the row.
        let taken = settings.replace("[{", "[{ column = \"both\", join = { columns = [\"name\", \"note\"] } }, {");
        project.write_job(&source.url(), &target.url(), &taken);
        target.run("DROP TABLE t");
        let _ = project.run(["run"]).expect(3);
    }
}

#[test]
fn a_plan_says_that_a_column_refuses_null_only_where_a_step_can_make_null() {
    for to in [Engine::Sqlite, Engine::Postgres(Server::First)] {
        let project = Project::new();
        let source = Database::new(Engine::Sqlite, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b TEXT)");
        target.run(
            "CREATE TABLE t (id integer PRIMARY KEY, kind text NOT NULL, a bigint NOT NULL, data text NOT NULL, b text NOT NULL)",
        );
        let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [\n\
            { column = \"kind\", constant = \"x\" },\n{ column = \"data\", copy = \"a\" },\n\
            { column = \"b\", DEFAULT },\n]\n";
        for (step, noted) in [("default = \"\"", false), ("text = [\"trim\"]", true)] {
            project.write_job(&source.url(), &target.url(), &settings.replace("DEFAULT", step));
            let plan = project.run(["plan", "--json"]).expect(0).output();
            assert_eq!(plan.matches("refuses NULL").count(), usize::from(noted), "{to:?} {plan}");
        }
    }
}

#[test]
fn numbers_and_moments_become_iso_text_also_inside_packed_json_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        let moment = if matches!(source, Database::Postgres(_)) { "timestamptz" } else { "text" };
        source.run(&format!(
            "CREATE TABLE t (id integer PRIMARY KEY, s bigint, ms bigint, at {moment}); \
             INSERT INTO t VALUES (1, 1700014400, 1700014400022, '2023-11-15 04:13:20.022+02'), (2, NULL, NULL, NULL)"
        ));
        let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [\n\
            { column = \"s\", from = \"unix_s\" },\n{ column = \"s\", to = \"iso8601\" },\n\
            { column = \"ms\", from = \"unix_ms\" },\n{ column = \"ms\", to = \"iso8601\" },\n\
            { column = \"at\", to = \"iso8601\" },\n{ column = \"both\", copy = \"ms\" },\n\
            { column = \"data\", pack = [\"ms\", \"at\"] },\n]\n";
        project.write_job(&source.url(), &target.url(), settings);
        project.copy();
        let iso = "2023-11-15T02:13:20.022Z";
        let json = format!("{{\"ms\":\"{iso}\",\"at\":\"{iso}\"}}");
        let row = format!("s = '2023-11-15T02:13:20.000Z' AND both = '{iso}' AND CAST(data AS text) = '{json}'")
            .replace("both", "\"both\"");
        assert_eq!(target.matching("t", &row), 1, "{from:?} {to:?}");
        let nulls = "s IS NULL AND \"both\" IS NULL AND CAST(data AS text) = '{\"ms\":null,\"at\":null}'";
        assert_eq!(target.matching("t", nulls), 1, "{from:?} {to:?}");
        assert_eq!(project.copy()["entities"][0]["unchanged"], 2, "P4");
    }
}
