//! Columns that the source makes of its rows, by SQL of the job's author.

use crate::strategies::{Setup, counts};
use migrate_tests::{Database, Engine, PAIRS, Postgres, Project, Run, Server};

const PEOPLE: &str = "
    CREATE TABLE people (id integer PRIMARY KEY, first text NOT NULL, last text, cents bigint NOT NULL, note text);
    INSERT INTO people WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
        SELECT i, 'Ada ' || i, CASE WHEN i % 5 = 0 THEN NULL ELSE 'O''Hara' END, i * 10, 'Note ' || i FROM n;";

/// A value that would do harm if it were ever part of SQL.
const HARM: &str = "x'); DROP TABLE people; --";

const JOB: &str = "
    mode = \"replace\"
    deletes = \"hard\"
    params = { rate = 3, tag = \"HARM\", least = 1 }
    [[jobs.copy.entities]]
    source = \"people\"
    where = \"id >= :least\"
    transform = [
        { column = \"full_name\", sql = \"first || coalesce(' ' || last, '') -- both\", pure = true },
        { column = \"full_name\", text = [\"upper\"] },
        { column = \"as_it_was\", copy = \"note\" },
        { column = \"note\", sql = \"lower(people.note)\", pure = true },
        { column = \"price\", sql = \"cents * :rate /* :no */\", type = \"bigint\", pure = true },
        { column = \"tag\", sql = \":tag || ' ' || id\", pure = true },
        { column = \"size\", sql = \"length(first)\", pure = true },
    ]
    ";

fn job(from: &str, to: &str) -> String {
    JOB.replace("HARM", HARM).replace(from, to)
}

fn arrived(target: &Database, rate: u32) -> u64 {
    let tag = HARM.replace('\'', "''");
    target.matching(
        "people",
        &format!(
            "full_name = upper(first || coalesce(' ' || last, '')) AND as_it_was = 'Note ' || id AND note = 'note ' || id \
             AND price = cents * {rate} AND tag = '{tag} ' || id AND size = length(first)"
        ),
    )
}

#[test]
fn what_the_source_makes_arrives_is_found_unchanged_and_follows_its_row_in_every_direction() {
    for (from, to) in PAIRS {
        for exists in [false, true] {
            let project = Project::new();
            let source = Database::new(from, project.path(), "source");
            let target = Database::new(to, project.path(), "target");
            source.run(PEOPLE);
            if exists {
                target.run(
                    "CREATE TABLE people (id integer PRIMARY KEY, first text, last text, cents bigint, note text, full_name text, \
                     as_it_was text, price bigint, tag text, size integer)",
                );
            }
            project.write_job(&source.url(), &target.url(), &job("", ""));
            let planned = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(planned["changes"][0]["inserted"], 2500, "{planned}");
            assert_eq!(project.copy()["entities"][0]["inserted"], 2500, "{from:?} {to:?}");
            assert_eq!(arrived(&target, 3), 2500, "{from:?} {to:?}");
            assert_eq!(counts(&project.copy()["entities"][0]), [2500, 0, 0, 2500, 0], "P4 {from:?} {to:?}");

            source.run("UPDATE people SET last = 'Byron', cents = 7 WHERE id IN (5, 2000); DELETE FROM people WHERE id = 9");
            let planned = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(planned["changes"][0]["updated"], 2, "{planned}");
            assert_eq!(counts(&project.copy()["entities"][0]), [2499, 0, 2, 2497, 1], "{from:?} {to:?}");
            assert_eq!(arrived(&target, 3), 2499, "{from:?} {to:?}");

            // Damage is found by the column that is made, and mended with what the source makes now.
            target.run("UPDATE people SET full_name = 'nobody' WHERE id = 77; UPDATE people SET price = 0 WHERE id = 2400");
            let verified = project.run(["verify", "--json"]).expect(4).json();
            assert!(verified.to_string().contains("full_name") && verified.to_string().contains("price"), "{verified}");
            let _ = project.run(["verify", "--repair"]).expect(0);
            assert_eq!(arrived(&target, 3), 2499);
            let verified = project.run(["verify", "--json"]).expect(0).json();
            assert_eq!(verified["equal"], true, "{verified}");

            // Another value of a parameter, or another expression, makes another value of each row.
            project.write_job(&source.url(), &target.url(), &job("rate = 3", "rate = 4"));
            assert_eq!(project.copy()["entities"][0]["updated"], 2499, "{from:?} {to:?}");
            let _ = project.run(["run", "--param", "rate=5"]).expect(0);
            assert_eq!(arrived(&target, 5), 2499, "{from:?} {to:?}");
            project.write_job(&source.url(), &target.url(), &job("cents * :rate", "cents * 5 + :rate - 3"));
            assert_eq!(counts(&project.copy()["entities"][0]), [2499, 0, 0, 2499, 0], "the same values");
            project.write_job(&source.url(), &target.url(), &job("cents * :rate", "-cents * :rate"));
            assert_eq!(project.copy()["entities"][0]["updated"], 2499, "{from:?} {to:?}");
            assert_eq!(target.matching("people", "price = -3 * cents"), 2499);
        }
    }
}

/// An entity `t` with one expression, in a job of a strategy.
fn entity(strategy: &str, sql: &str) -> String {
    format!(
        "mode = \"replace\"\ndeletes = \"hard\"\nstrategy = \"{strategy}\"\ncursor = {{ column = \"at\" }}\n\
         [[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{{ column = \"made\", sql = \"{sql}\" }}]\n"
    )
}

const ROWS: &str = "CREATE TABLE t (id integer PRIMARY KEY, v text, at timestamp, country integer);
    INSERT INTO t SELECT i, 'row ' || i, timestamp '2024-01-01' + i * interval '1 s', i % 3 FROM generate_series(1, 5000) i;
    CREATE TABLE country (id integer PRIMARY KEY, name text); INSERT INTO country SELECT i, 'country ' || i FROM generate_series(0, 2) i;";

#[test]
fn changed_rows_are_found_by_each_strategy_and_no_more_is_read_where_the_expression_is_pure() {
    for (_, to) in &PAIRS[..2] {
        for (strategy, says) in [
            ("auto", "only rows that changed"),
            ("xmin", "only rows that changed"),
            ("ledger", "only blocks whose digest"),
            ("cursor", "only rows whose at has come"),
            ("full", ""),
        ] {
            let pure = entity(strategy, "upper(v)").replace("\" }]", "\", pure = true }]");
            let setup = Setup::new(*to, &pure, ROWS);
            let run = setup.run();
            run.says(&[says]);
            assert_eq!(counts(&run.json()["entities"][0]), [5000, 0, 0, 5000, 0], "P4 {strategy}");
            setup.source.run("UPDATE t SET v = 'changed', at = '2024-02-01' WHERE id IN (7, 3500); INSERT INTO t VALUES (9000, 'new', '2024-02-02', 1)");
            let run = setup.run();
            run.says(&[says]);
            assert_eq!(counts(&run.json()["entities"][0]), [5001, 1, 2, 4998, 0], "{strategy}");
            assert_eq!(setup.target.matching("t", "made = upper(v)"), 5001, "{strategy}");
            assert_eq!(counts(&setup.run().json()["entities"][0]), [5001, 0, 0, 5001, 0], "P4 {strategy}");
            let verified = setup.project.run(["verify", "--json"]).expect(0).json();
            assert_eq!(verified["equal"], true, "{verified}");
        }
    }
}

#[test]
fn what_an_expression_makes_of_more_than_its_row_is_looked_at_in_every_run() {
    for strategy in ["auto", "xmin", "ledger", "cursor", "full"] {
        let setup = Setup::new(PAIRS[0].1, &entity(strategy, "(SELECT name FROM country c WHERE c.id = t.country)"), ROWS);
        assert_eq!(counts(&setup.run().json()["entities"][0]), [5000, 0, 0, 5000, 0], "P4 {strategy}");
        let planned = setup.project.run(["plan"]).expect(0).output();
        assert!(planned.contains("all rows are read in every run: the expression of the column made"), "{planned}");
        assert!(!planned.contains("changes are found by the column"), "{planned}");
        setup.source.run("UPDATE country SET name = 'elsewhere' WHERE id = 1");
        let run = setup.run();
        if strategy != "full" {
            run.says(&["all rows are read: the expression of the column made may give another value"]);
        }
        assert_eq!(counts(&run.json()["entities"][0]), [5000, 0, 1667, 3333, 0], "{strategy}");
        assert_eq!(setup.target.matching("t", "made = 'elsewhere'"), 1667, "{strategy}");
        // Whoever says that it is pure is believed.
        let pure = entity(strategy, "(SELECT name FROM country c WHERE c.id = t.country)").replace("\" }]", "\", pure = true }]");
        setup.project.write_job(&setup.source.url(), &setup.target.url(), &pure);
        assert_eq!(counts(&setup.run().json()["entities"][0]), [5000, 0, 0, 5000, 0], "{strategy}");
        setup.source.run("UPDATE country SET name = 'nowhere' WHERE id = 1");
        let seen = counts(&setup.run().json()["entities"][0])[2];
        let expected = match strategy {
            "ledger" | "full" => 1667,
            // The rows of the last thousand, where the cursor's last value is.
            "cursor" => 333,
            _ => 0,
        };
        assert_eq!(seen, expected, "{strategy}");
    }
}

#[test]
fn from_sqlite_files_a_cursor_finds_what_a_pure_expression_makes() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
    source.run(
        "CREATE TABLE t (id integer PRIMARY KEY, v text, at text);
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, 'row ' || i, '2024-01-01' FROM n",
    );
    let settings = entity("cursor", ":cursor || v").replace("\" }]", "\", pure = true }]");
    // A parameter of the name that the library gives its own.
    project.write_job(&source.url(), &target.url(), &format!("params = {{ cursor = \"c \" }}\n{settings}"));
    project.copy();
    source.run("UPDATE t SET v = 'changed', at = '2024-02-01' WHERE id = 7");
    let run = project.run(["run", "--json"]).expect(0);
    run.says(&["only rows whose at has come"]);
    assert_eq!(counts(&run.json()["entities"][0]), [3000, 0, 1, 2999, 0]);
    assert_eq!(target.matching("t", "made = 'c ' || v"), 3000);
}

#[test]
fn the_servers_types_of_expressions_are_those_of_the_columns() {
    let sql = "CREATE SCHEMA helper; CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN age AS integer CHECK (VALUE >= 0);
         CREATE FUNCTION helper.twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
         CREATE TABLE t (id integer PRIMARY KEY, v text, a numeric(10,2), m mood);
         INSERT INTO t SELECT i, 'row ' || i, i / 4.0, (ARRAY['sad', 'glad'])[1 + i % 2]::mood FROM generate_series(1, 3000) i;
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, helper', current_database()); END $$;";
    let made = [
        ("a * 2", "numeric"),
        ("twice(id)", "integer"),
        ("m", "USER-DEFINED"),
        ("(CASE WHEN id > 5 THEN 'glad' ELSE 'sad' END)::mood", "USER-DEFINED"),
        ("id::age", "integer"),
        ("'2024-01-01 00:00+00'::timestamptz + id * interval '1 s'", "timestamp with time zone"),
        ("jsonb_build_object('a', a, 'v', v)", "jsonb"),
        ("('10.0.0.0'::inet + id)", "inet"),
        ("ARRAY[id, id + 1]", "ARRAY"),
        ("id % 2 = 0 OR NULL", "boolean"),
        ("v::bytea", "bytea"),
        ("'same'", "text"),
        ("NULL", "text"),
        ("v::character(9)", "character"),
        ("B'101'", "bit"),
    ];
    let steps: Vec<String> =
        made.iter().enumerate().map(|(n, (sql, _))| format!("{{ column = \"c{n}\", sql = \"{sql}\", pure = true }}")).collect();
    for (_, to) in &PAIRS[..2] {
        let settings =
            format!("strategy = \"ledger\"\n[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [\n{}\n]\n", steps.join(",\n"));
        let setup = Setup::new(*to, &settings, sql);
        let run = setup.run();
        run.says(&["only blocks whose digest"]);
        assert_eq!(counts(&run.json()["entities"][0]), [3000, 0, 0, 3000, 0], "P4");
        let verified = setup.project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(verified["equal"], true, "{verified}");
        setup.source.run("UPDATE t SET a = a + 0.25 WHERE id = 1234");
        assert_eq!(counts(&setup.run().json()["entities"][0]), [3000, 0, 1, 2999, 0]);
        assert_eq!(setup.target.matching("t", "c11 = 'same' AND c12 IS NULL AND c1 = 2 * id"), 3000);
        if let Database::Postgres(target) = &setup.target {
            for (n, (sql, expected)) in made.iter().enumerate() {
                let query =
                    format!("SELECT data_type FROM information_schema.columns WHERE table_name = 't' AND column_name = 'c{n}'");
                // A domain travels as what it is made of, and says so in another column.
                assert_eq!(target.value(&query).as_deref(), Some(*expected), "{sql}");
            }
            assert_eq!(
                setup
                    .target
                    .matching("t", "c0 = a * 2 AND c2 = m AND c5 = '2024-01-01 00:00+00'::timestamptz + id * interval '1 s'"),
                3000
            );
        }
    }
}

#[test]
fn a_value_of_a_file_has_the_type_that_is_said_or_that_the_data_tell() {
    for to in [Engine::Sqlite, Engine::Postgres(Server::First)] {
        let project = Project::new();
        let source = Database::new(Engine::Sqlite, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, '17'), (2, '18'), (3, 'x')");
        let settings = "params = { rate = 3 }\n[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [\n\
            { column = \"number\", sql = \"id + 0.5\" },\n{ column = \"text\", sql = \"'v' || v\" },\n\
            { column = \"scaled\", sql = \"id * :rate\" },\n{ column = \"exact\", sql = \"v\", type = \"integer\" },\n{ column = \"moment\", sql = \"1700000000 + id\" },\n\
            { column = \"moment\", from = \"unix_s\" },\n]\n";
        project.write_job(&source.url(), &target.url(), settings);
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!((&report["entities"][0]["inserted"], &report["entities"][0]["quarantined"]), (&2.into(), &1.into()));
        let quarantine = project.run(["quarantine", "list"]).expect(0).output();
        assert!(quarantine.contains("exact"), "{quarantine}");
        assert_eq!(
            target.matching("t", "exact = 16 + id AND scaled = 3 * id AND number - 0.5 = id AND text = 'v' || v"),
            2,
            "{to:?}"
        );
        if let Database::Postgres(target) = &target {
            let types = "SELECT string_agg(data_type, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 't'";
            assert_eq!(
                target.value(types).as_deref(),
                Some("bigint,text,double precision,text,bigint,integer,timestamp with time zone")
            );
        }
    }
}

/// Runs a job with one expression, which is refused; asserts that nothing was written.
fn refused(source: &Database, project: &Project, to: &Database, step: &str) -> Run {
    let settings = format!("[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{{ column = \"made\", {step} }}]\n");
    project.write_job(&source.url(), &to.url(), &settings);
    let _ = project.run(["plan"]).expect(2);
    let run = project.run(["run"]).expect(2);
    assert_eq!(to.count("t"), 0, "{step}");
    assert_eq!(run.stderr.matches("error:").count(), 1, "{}", run.stderr);
    run
}

#[test]
fn what_is_no_expression_of_one_row_is_refused_before_anything_is_written() {
    const BOTH: &[(&str, &[&str])] = &[
        ("sql = \"frist || v\"", &["frist", "entity t", "column made", "refuses the expression"]),
        ("sql = \"lower(v\"", &["opening ("]),
        ("sql = \"v) FROM t, (SELECT 1\"", &["closing )"]),
        ("sql = \"v; DROP TABLE t\"", &["semicolon"]),
        ("sql = \"v /* \"", &["opening */"]),
        ("sql = \"'v\"", &["opening '"]),
        ("sql = \"\"", &["is empty"]),
        ("sql = \"-- v\"", &["refuses the expression"]),
        ("sql = \"v, id\"", &["refuses the expression"]),
        ("sql = \"v AS w\"", &["refuses the expression"]),
        ("sql = \"SELECT 1\"", &["refuses the expression"]),
        ("sql = \"count(*)\"", &["refuses the expression", "aggregate"]),
        ("sql = \"row_number() OVER ()\"", &["refuses the expression", "window"]),
        ("sql = \"v || :missing\"", &[":missing", "column made"]),
        ("sql = \"v || $1\"", &["refuses the expression", "written as :name"]),
        ("sql = \"v\", type = \"blob\"", &["no type \\\"blob\\\"", "bytea"]),
        ("type = \"text\", copy = \"v\"", &["type", "belongs to sql"]),
        ("pure = true, copy = \"v\"", &["pure", "belongs to sql"]),
        ("sql = \"v\", copy = \"v\"", &["give two steps"]),
    ];
    const SQLITE: &[(&str, &[&str])] = &[
        // Not a text, as SQLite would have it.
        ("sql = '\"frist\"'", &["frist", "refuses the expression"]),
        ("sql = \"(v, id)\"", &["refuses the expression"]),
        ("sql = \"v || ?\"", &["refuses the expression", "written as :name"]),
        ("sql = \"v || @x_missing\"", &["refuses the expression", "written as :name"]),
    ];
    const POSTGRES: &[(&str, &[&str])] = &[
        ("sql = \"generate_series(1, 2)\"", &["refuses the expression", "set-returning"]),
        ("sql = \"unnest(ARRAY[id, id])\"", &["refuses the expression", "set-returning"]),
        ("sql = \"(v, id)\"", &["refuses the expression", "no value that a column can hold"]),
        // What a string with escapes hides from us, it does not hide from the server.
        ("sql = '''E'\\'' ) UNION ALL SELECT (v || E'\\'' '''", &["refuses the expression"]),
        ("sql = '''E'\\'' ), (v || E'\\'' '''", &["refuses the expression"]),
        ("sql = '''E'\\'' ); DROP TABLE t; SELECT (v || E'\\'' '''", &["refuses the expression"]),
        ("sql = \"a /* /* */ b\"", &["refuses the expression"]),
    ];
    for (from, more) in [(Engine::Sqlite, SQLITE), (Engine::Postgres(Server::Second), POSTGRES)] {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(Engine::Sqlite, project.path(), "target");
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
        for (step, says) in BOTH.iter().chain(more) {
            let says: Vec<String> = says.iter().map(|text| text.replace("\\\"", "\"")).collect();
            refused(&source, &project, &target, step).says(&says.iter().map(String::as_str).collect::<Vec<_>>());
        }
        assert_eq!(source.count("t"), 2);
        // What replaces a column is called as it is.
        let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"v\", sql = \"frist\" }]\n";
        project.write_job(&source.url(), &target.url(), settings);
        project.run(["run"]).expect(2).says(&["frist", "column v,"]);
        // The key is the key.
        let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"id\", sql = \"id + 1\" }]\n";
        project.write_job(&source.url(), &target.url(), settings);
        project.run(["run"]).expect(2).says(&["belongs to the key"]);
    }
}

#[test]
fn nothing_is_run_of_an_expression_that_hides_further_statements_from_us() {
    let project = Project::new();
    let source = Database::new(Engine::Postgres(Server::First), project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let harm = "ROLLBACK; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; CREATE TABLE harm (id integer)";
    for before in ["", ":word || "] {
        // To the server, though not to us, each string ends behind the second quote.
        let sql = format!("{before}E'\\'' ) FROM t; {harm}; SELECT (v || E'\\'' ");
        let settings = format!(
            "params = {{ word = \"x\" }}\n[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{{ column = \"made\", sql = \"\"\"{}\"\"\" }}]\n",
            sql.replace('\\', "\\\\")
        );
        project.write_job(&source.url(), &target.url(), &settings);
        project.run(["run"]).expect(2).says(&["refuses the expression", "column made"]);
        assert_eq!(source.count("harm"), 0, "{sql}");
        assert_eq!(target.count("t"), 0);
    }
}

#[test]
fn parameters_that_nothing_names_are_refused_and_those_of_expressions_are_taken() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source.run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')");
    let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"made\", sql = \"v || :word\" }]\n";
    project.write_job(&source.url(), &target.url(), settings);
    project.run(["run", "--param", "wort=x"]).expect(2).says(&["wort", "did you mean \"word\""]);
    let _ = project.run(["run", "--param", "word=x"]).expect(0);
    assert_eq!(target.matching("t", "made = 'ax'"), 1);
}

#[test]
fn an_expression_that_fails_on_a_row_fails_the_run_and_leaves_the_target_at_a_committed_page() {
    let project = Project::new();
    let source = Postgres::new(Server::First);
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    source
        .run("CREATE TABLE t (id integer PRIMARY KEY, n integer); INSERT INTO t SELECT i, i - 10 FROM generate_series(1, 20) i");
    let settings = "[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"made\", sql = \"100 / n\" }]\n";
    project.write_job(&source.url(), &target.url(), settings);
    project.run(["run"]).expect(1).says(&["entity t", "not valid where it stands"]);
    let guarded = settings.replace("100 / n", "CASE WHEN n <> 0 THEN 100 / n END");
    project.write_job(&source.url(), &target.url(), &guarded);
    assert_eq!(project.copy()["entities"][0]["inserted"], 20);
}

#[test]
fn views_and_tables_without_a_key_have_expressions_too() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE t (v text, n integer); INSERT INTO t VALUES ('a', 1), ('a', 1), ('b', 2), (NULL, 3);
             CREATE TABLE k (id integer PRIMARY KEY, n integer); INSERT INTO k VALUES (1, 5), (2, 6);
             CREATE VIEW w AS SELECT id, n FROM k",
        );
        let settings = "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"made\", sql = \"v || n\" }]\n\
            [[jobs.copy.entities]]\nsource = \"w\"\nkey = [\"id\"]\ntransform = [{ column = \"n\", sql = \"n * id\" }]\n";
        project.write_job(&source.url(), &target.url(), settings);
        project.copy();
        assert_eq!(target.matching("t", "made = 'a1'"), 2, "{from:?} {to:?}");
        assert_eq!(target.matching("w", "n = 12 OR n = 5"), 2, "{from:?} {to:?}");
        let again = project.copy();
        assert_eq!(
            (&again["entities"][0]["unchanged"], &again["entities"][1]["unchanged"]),
            (&4.into(), &2.into()),
            "P4 {again}"
        );
        let verified = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(verified["equal"], true, "{verified}");
    }
}
