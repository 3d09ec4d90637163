//! Every kind of value in all four directions (P5), compared by what each engine prints of it.

use migrate_tests::{Postgres, Project, Rows, Server, Sqlite, assert_same_sqlite_file, identifier, postgres_columns};

/// Types that must exist before tables can use them. Extensions are created on targets as well: that takes their owner.
const EXTENSIONS: &str = "CREATE EXTENSION hstore SCHEMA public; CREATE EXTENSION citext SCHEMA public;";

const TYPES: &str = r#"
    CREATE TYPE "mood of day" AS ENUM ('sad', 'it''s', 'a,b', ' spaced ', 'größe', '"quoted"');
    CREATE DOMAIN positive AS numeric(12,4) CHECK (VALUE > 0);
    CREATE DOMAIN "short text" AS varchar(10);
    CREATE DOMAIN very_positive AS positive CHECK (VALUE > 10);
    CREATE DOMAIN labels AS text[];
    CREATE TYPE "a point" AS (x int, "the y" text, z numeric, at timestamptz);
"#;

/// A table of each type: its name, the column's type, and the values in SQL.
const VALUES: &[(&str, &str, &[&str])] = &[
    ("bool", "boolean", &["true", "false"]),
    ("int2", "smallint", &["0", "-32768", "32767"]),
    ("int4", "integer", &["0", "-2147483648", "2147483647"]),
    ("int8", "bigint", &["0", "(-9223372036854775808)::bigint", "9223372036854775807", "9007199254740993"]),
    (
        "float4",
        "real",
        &["'-0'", "'NaN'", "'Infinity'", "'-Infinity'", "3.4028235e38", "'1e-45'", "0.1", "16777216", "1.17549435e-38"],
    ),
    (
        "float8",
        "double precision",
        &[
            "'-0'",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "1.7976931348623157e308",
            "'5e-324'",
            "0.1::float8 + 0.2::float8",
            "9007199254740993",
            "2.2250738585072014e-308",
            "1e16",
            "123456789012345680",
            "1e-7",
            "(1::float8/3)",
        ],
    ),
    (
        "numeric",
        "numeric",
        &[
            "0",
            "0.00",
            "-0.000001",
            "1.10",
            "1.1",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "10::numeric ^ 400",
            "repeat('9', 900)::numeric",
            "('0.' || repeat('0', 400) || '1')::numeric",
            "12345678901234567890.12345678901234567890",
            "100000000",
            "10000",
        ],
    ),
    (
        "numeric_1000_500",
        "numeric(1000,500)",
        &["repeat('7', 500)::numeric", "('-0.' || repeat('3', 500))::numeric", "0", "'NaN'"],
    ),
    ("numeric_5_2", "numeric(5,2)", &["999.99", "-0.01", "0", "'NaN'", "1.10"]),
    ("numeric_negative_scale", "numeric(3,-2)", &["12300", "-99900", "0"]),
    ("numeric_scale_above_precision", "numeric(2,5)", &["0.00012", "0"]),
    ("money", "money", &["'$1,234.56'", "'-$0.01'", "0"]),
    (
        "text",
        "text",
        &[
            "''",
            "' '",
            "'NULL'",
            "'\\N'",
            "'\\.'",
            "E'\\n\\r\\t\\b\\f\\v'",
            "chr(1) || chr(127) || chr(128) || chr(159)",
            "chr(55295) || chr(57344) || chr(65533) || chr(65535)",
            "chr(65536) || chr(131072) || chr(196608) || chr(917505) || chr(983040) || chr(1114109)",
            "'e' || chr(769) || ' é ' || chr(8238) || chr(65279)",
            "'it''s \"quoted\" \\ back'",
            "'👩‍👩‍👧‍👦 שלום 漢字 ﷽'",
            "'1.0'",
            "'007'",
            "'NaN'",
            "'{}'",
            "repeat('long ', 100000)",
        ],
    ),
    ("varchar", "varchar(10)", &["''", "'1234567890'", "'äöü   '"]),
    ("char", "char(5)", &["''", "'ab'", "'ab   '", "'äöüß1'"]),
    ("internal_char", "\"char\"", &["''", "'x'", "'é'"]),
    ("name", "name", &["''", "'pg_class'", "repeat('n', 63)"]),
    ("bytea", "bytea", &["''", "'\\x00'", "'\\xff00ff0d0a5c27'", "decode(repeat('00ff', 50000), 'hex')"]),
    (
        "date",
        "date",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-01-01 BC'",
            "'0001-12-31 BC'",
            "'0001-01-01'",
            "'2000-02-29'",
            "'5874897-12-31'",
            "'20000-01-01'",
        ],
    ),
    (
        "timestamp",
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-11-24 00:00:00 BC'",
            "'0044-03-15 12:00:00.5 BC'",
            "'2024-01-01 00:00:00.000001'",
            "'1969-12-31 23:59:59.999999'",
            "'294276-12-31 23:59:59.999999'",
            "'2016-12-31 23:59:60'",
        ],
    ),
    ("timestamp_3", "timestamp(3)", &["'2024-01-01 00:00:00.0015'", "'infinity'"]),
    (
        "timestamptz",
        "timestamptz",
        &[
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 12:00:00.5 BC'",
            "'1999-12-31 23:59:59.999999+05:45'",
            "'1900-01-01 00:00:00 Europe/Amsterdam'",
            "'2024-03-31 02:30:00 Europe/Berlin'",
            "'294276-12-31 23:59:59.999999 UTC'",
        ],
    ),
    ("time", "time", &["'00:00'", "'24:00:00'", "'23:59:59.999999'", "'12:00:00.5'"]),
    ("timetz", "timetz", &["'12:34:56.789+05:30'", "'24:00:00-15:59'", "'00:00:00+15:59:59'", "'12:00Z'"]),
    (
        "interval",
        "interval",
        &[
            "'0'",
            "'1 mon'",
            "'30 days'",
            "'720:00:00'",
            "'-1 year 2 mons -3 days +04:05:06.789'",
            "'178000000 years'",
            "'-00:00:00.000001'",
            "'1 year -1 day'",
            "'-2147483648 days'",
        ],
    ),
    ("interval_day_to_second", "interval day to second(3)", &["'1 day 02:03:04.5678'"]),
    ("interval_year_to_month", "interval year to month", &["'1 year 5 mons'"]),
    ("uuid", "uuid", &["'00000000-0000-0000-0000-000000000000'", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    (
        "json",
        "json",
        &[
            "'{\"b\": 1,   \"a\":[ ] , \"b\":2}'",
            "'12345678901234567890123456789'",
            "' null '",
            "'\"\\u00e9 \\ud83d\\ude00\"'",
            "'1.0'",
            "'1e5'",
            "'\"\"'",
            "E'{\\n\\t\"x\":9007199254740993}'",
            "'\"{\\\"nested\\\": true}\"'",
        ],
    ),
    (
        "jsonb",
        "jsonb",
        &[
            "'{\"b\": 1,   \"a\":[ ] , \"b\":2}'",
            "'9007199254740993'",
            "'1.10'",
            "'null'",
            "'\"\\u00e9\"'",
            "'1e5'",
            "'{\"aa\":1,\"b\":2}'",
            "'-0.0'",
            "'[]'",
            "'\"{\\\"nested\\\": true}\"'",
        ],
    ),
    ("enum", "\"mood of day\"", &["'sad'", "'it''s'", "'a,b'", "' spaced '", "'größe'", "'\"quoted\"'"]),
    ("ints", "integer[]", &["'{}'", "'{{1,NULL},{3,4}}'", "'[0:2]={1,2,3}'", "'{NULL}'", "'{{{1},{2}},{{3},{4}}}'"]),
    ("texts", "text[]", &["ARRAY[NULL, 'NULL', 'null', '', 'a b', 'q\"x', 'back\\slash', '{}', ',', E'\\n']", "'{}'"]),
    ("varchars", "varchar(4)[]", &["ARRAY['abcd', NULL]"]),
    ("numerics", "numeric(10,3)[]", &["ARRAY[[1.5, NULL], ['NaN'::numeric, 0]]"]),
    ("timestamptzs", "timestamptz[]", &["ARRAY['infinity'::timestamptz, '2024-01-01 00:00:00.000001Z', NULL]"]),
    ("byteas", "bytea[]", &["ARRAY['\\x00ff'::bytea, ''::bytea, NULL]"]),
    ("jsons", "json[]", &["ARRAY['{\"a\":  1}'::json, NULL, '\"\"']"]),
    ("enums", "\"mood of day\"[]", &["ARRAY['sad', 'a,b', NULL]::\"mood of day\"[]"]),
    ("floats", "float8[]", &["ARRAY['-0'::float8, 'NaN', 0.1, 5e-324]"]),
    ("int4range", "int4range", &["'[1,5)'", "'empty'", "'(,)'", "'[7,7]'", "'(,3]'"]),
    ("int8range", "int8range", &["'[1,9223372036854775806]'"]),
    ("numrange", "numrange", &["'[1.10,2.200]'", "'(,Infinity)'", "'empty'"]),
    ("tsrange", "tsrange", &["'[2024-01-01,infinity]'", "'(,\"2024-01-01 10:00:00.5\")'"]),
    ("tstzrange", "tstzrange", &["'[\"2024-01-01 10:00:00+05:30\",)'"]),
    ("daterange", "daterange", &["'[2024-01-01,2024-01-31]'", "'[-infinity,infinity)'"]),
    ("multirange", "int4multirange", &["'{[1,3),[5,7)}'", "'{}'"]),
    ("inet", "inet", &["'192.168.1.5/24'", "'192.168.1.5'", "'::1'", "'2001:db8::ff00:42:8329/64'"]),
    ("cidr", "cidr", &["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", "macaddr", &["'08-00-2b-01-02-03'"]),
    ("macaddr8", "macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit", "bit(5)", &["B'10101'", "B'00000'"]),
    ("varbit", "bit varying", &["B''", "B'1'", "B'000000000001'"]),
    ("varbit_4", "bit varying(4)", &["B''", "B'1010'"]),
    ("tsvector", "tsvector", &["''", "'''it''''s'':3 a:1A,2B fat:2,4C'", "'a b a'"]),
    ("tsquery", "tsquery", &["'fat & (rat | !cat:AB*)'", "''"]),
    ("point", "point", &["'(0.1,-0)'", "'(Infinity,NaN)'", "'(1e300,5e-324)'"]),
    ("line", "line", &["'{1,2,3.5}'"]),
    ("lseg", "lseg", &["'[(1,2),(3.25,4)]'"]),
    ("box", "box", &["'(2,3),(0,1)'"]),
    ("path", "path", &["'[(1,2),(3,4)]'", "'((1,2),(3,4))'"]),
    ("polygon", "polygon", &["'((1,2),(3,4),(5,0.1))'"]),
    ("circle", "circle", &["'<(1,2),3.3>'"]),
    ("hstore", "hstore", &["''", "'a=>1, b=>NULL, \"\"=>\"\", \"k\\\"\"=>\"v\\\\\"'"]),
    ("citext", "citext", &["''", "'MiXeD'"]),
    ("xml", "xml", &["'<a b=\"c\">é &amp; ü</a>'", "'text <b/> and more'", "''"]),
    ("jsonpath", "jsonpath", &["'$.\"a\"[*] ? (@ > 1)'"]),
    ("pg_lsn", "pg_lsn", &["'16/B374D848'"]),
    ("oid", "oid", &["0", "4294967295"]),
    ("regclass", "regclass", &["'pg_catalog.pg_class'"]),
    ("xid8", "xid8", &["'18446744073709551615'"]),
    ("tid", "tid", &["'(0,1)'"]),
    ("composite", "\"a point\"", &["ROW(1, 'a \"b\", c', NULL, '2024-01-01 00:00:00.5Z')", "ROW(NULL, '', 'NaN', 'infinity')"]),
    ("composites", "\"a point\"[]", &["ARRAY[ROW(1, 'x', 1.10, NULL)::\"a point\", NULL]"]),
    ("domain", "positive", &["0.0001", "12345678.9"]),
    ("domain_of_text", "\"short text\"", &["''", "'ten chars!'"]),
    ("domain_of_domain", "very_positive", &["10.0001"]),
    ("domain_of_array", "labels", &["'{a,NULL}'"]),
];

/// Creates one table for each type, with a NULL beside its values.
fn fill(database: &Postgres) {
    database.run(EXTENSIONS);
    database.run(TYPES);
    let tables = VALUES.iter().map(|(name, kind, values)| {
        let table = identifier(&format!("m {name}"));
        let inserts = values.iter().enumerate().map(|(i, value)| format!("INSERT INTO {table} VALUES ({}, {value});\n", i + 1));
        format!(
            "CREATE TABLE {table} (id integer PRIMARY KEY, v {kind}); INSERT INTO {table} VALUES (0, NULL);\n{}",
            inserts.collect::<String>()
        )
    });
    database.run(&tables.collect::<String>());
}

/// The tables whose rows differ, each with its difference.
fn differences(source: &dyn Rows, target: &dyn Rows, columns: impl Fn(&str) -> Vec<(String, String)>) -> String {
    let mut text = String::new();
    for (name, _, _) in VALUES {
        let table = identifier(&format!("m {name}"));
        let columns = columns(&table);
        let difference =
            migrate_tests::Difference::between(*name, source.printed(&table, &columns), target.printed(&table, &columns));
        if !difference.is_empty() {
            text.push_str(&difference.to_string());
        }
    }
    text
}

/// Compares to the letter what both servers print.
fn verbatim(_table: &str) -> Vec<(String, String)> {
    ["id", "v"].map(|name| (name.to_owned(), String::new())).into()
}

/// The type of each table's column, as the server spells it.
fn types(database: &Postgres) -> Vec<Vec<Option<String>>> {
    database.rows(
        "SELECT c.relname, format_type(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'v' \
         WHERE c.relname LIKE 'm %' AND c.relkind = 'r' ORDER BY 1",
    )
}

#[test]
fn every_value_survives_from_postgresql_to_postgresql() {
    let source = Postgres::new(Server::First);
    fill(&source);
    let target = Postgres::new(Server::Second);
    target.run(EXTENSIONS);
    Project::copying(&source.url(), &target.url()).copy_inline();
    let differences = differences(&source, &target, verbatim);
    assert!(differences.is_empty(), "{differences}");
    assert_eq!(types(&source), types(&target));
}

#[test]
fn every_value_survives_from_postgresql_through_sqlite_files_and_back() {
    let source = Postgres::new(Server::Second);
    fill(&source);
    let project = Project::new();
    let (first, second) = (Sqlite::new(project.path().join("first.sqlite")), Sqlite::new(project.path().join("second.sqlite")));

    project.write_job(&source.url(), &first.url(), "mode = \"replace\"\nentities = \"*\"\n");
    project.copy_inline();
    let into_sqlite = differences(&source, &first, |table| postgres_columns(&source, table));
    assert!(into_sqlite.is_empty(), "PostgreSQL → SQLite\n{into_sqlite}");

    Project::copying(&first.url(), &second.url()).copy_inline();
    assert_same_sqlite_file(&first, &second);

    let back = Postgres::new(Server::First);
    back.run(EXTENSIONS);
    // What only its database defines cannot be told from a SQLite file: it is created by the target's owner, as he wants it.
    back.run(TYPES);
    Project::copying(&second.url(), &back.url()).copy_inline();
    let back_again = differences(&source, &back, verbatim);
    assert!(back_again.is_empty(), "SQLite → PostgreSQL\n{back_again}");
}

#[test]
fn every_value_can_be_a_row_of_a_table_that_exists_already() {
    let source = Postgres::new(Server::Second);
    fill(&source);
    let target = Postgres::new(Server::First);
    fill(&target);
    // GIVEN a target whose rows are all there but say something else or nothing
    for (name, _, _) in VALUES {
        let table = identifier(&format!("m {name}"));
        target.run(&format!("UPDATE {table} SET v = NULL WHERE id = 1; DELETE FROM {table} WHERE id = 2"));
    }
    Project::copying(&source.url(), &target.url()).copy_inline();
    let differences = differences(&source, &target, verbatim);
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn a_second_run_finds_every_value_unchanged() {
    let source = Postgres::new(Server::First);
    fill(&source);
    let target = Postgres::new(Server::Second);
    target.run(EXTENSIONS);
    let project = Project::copying(&source.url(), &target.url());
    project.copy_inline();
    let second = project.copy_inline();
    for entity in second["entities"].as_array().expect("entities") {
        assert_eq!(entity["read"], entity["unchanged"], "{entity}");
    }
}

#[test]
fn sqlite_cells_that_belie_their_columns_type_arrive_as_what_they_are() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "CREATE TABLE odd (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, n NUMERIC(10,2), dt DATETIME, ms TIMESTAMP, b BOOLEAN, nb BOOLEAN, \
            free, x BLOB, s VARCHAR(3), big INTEGER);
         INSERT INTO odd VALUES
            (1, 12, 0.1, '', 0.125, '2021-01-01T00:00:00Z', 1577836800000, 0, 0, 1, x'00ff', 'longer than three', 9007199254740993),
            (2, 'twelve', -1.5, NULL, 3, '2021-01-01 00:00:00', 1577836800001, 1, 1, 'one', x'', '', 9223372036854775807),
            (3, '', 1.7976931348623157e308, 'ü''\"', 1e20, '', 0, NULL, 2, 1.5, NULL, NULL, -9223372036854775808),
            (4, NULL, 5e-324, ' ', NULL, NULL, NULL, 1, -1, NULL, x'61', 'äöü', 0)",
    );
    let target = Postgres::new(Server::Second);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let report = project.copy_inline();
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["entities"][0]["inserted"], 4);

    let column = |name: &str| -> Vec<Option<String>> {
        target.rows(&format!("SELECT {name} FROM odd ORDER BY id")).into_iter().map(|mut row| row.remove(0)).collect()
    };
    let texts = |values: [Option<&str>; 4]| values.map(|v| v.map(str::to_owned)).to_vec();
    assert_eq!(column("i"), texts([Some("12"), Some("twelve"), Some(""), None]));
    assert_eq!(
        column("encode(float8send(r), 'hex')"),
        texts([Some("3fb999999999999a"), Some("bff8000000000000"), Some("7fefffffffffffff"), Some("0000000000000001")])
    );
    assert_eq!(column("t"), texts([Some(""), None, Some("ü'\""), Some(" ")]));
    assert_eq!(
        column("n = ANY (ARRAY[0.125, 3, 1e20]::numeric[]::double precision[])"),
        texts([Some("t"), Some("t"), Some("t"), None])
    );
    assert_eq!(column("dt"), texts([Some("2021-01-01T00:00:00Z"), Some("2021-01-01 00:00:00"), Some(""), None]));
    assert_eq!(column("ms"), texts([Some("1577836800000"), Some("1577836800001"), Some("0"), None]));
    assert_eq!(column("b"), texts([Some("f"), Some("t"), None, Some("t")]));
    assert_eq!(column("nb"), texts([Some("0"), Some("1"), Some("2"), Some("-1")]));
    assert_eq!(column("free"), texts([Some("1"), Some("one"), Some("1.5"), None]));
    assert_eq!(column("x"), texts([Some("\\x00ff"), Some("\\x"), None, Some("\\x61")]));
    assert_eq!(column("s"), texts([Some("longer than three"), Some(""), None, Some("äöü")]));
    assert_eq!(
        column("big"),
        texts([Some("9007199254740993"), Some("9223372036854775807"), Some("-9223372036854775808"), Some("0")])
    );
}

#[test]
fn sqlite_text_that_postgresql_cannot_hold_is_refused_with_its_row_alone() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT);
         INSERT INTO notes VALUES (1, 'fine'), (2, 'zero' || char(0) || 'unspeakable'), (3, CAST(x'c3286162' AS TEXT)), (4, '');",
    );
    let target = Postgres::new(Server::First);
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let run = project.run(["run", "--json"]).expect(3);
    let report = run.json();
    assert_eq!(report["status"], "partial", "{report}");
    let entity = &report["entities"][0];
    assert_eq!((&entity["read"], &entity["inserted"], &entity["quarantined"]), (&4.into(), &2.into(), &2.into()), "{entity}");
    assert_eq!(
        target.rows("SELECT id, body FROM notes ORDER BY id"),
        [["1", "fine"], ["4", ""]].map(|row| row.map(|cell| Some(cell.to_owned())).to_vec())
    );
    assert_eq!(target.count("SELECT count(*) FROM migrate.quarantine"), 2);
    assert!(!run.output().contains("unspeakable"), "a cell's value is printed:\n{}", run.output());

    // Between SQLite files nothing needs to be refused.
    let copy = Sqlite::new(project.path().join("copy.sqlite"));
    project.write_job(&source.url(), &copy.url(), "mode = \"replace\"\nentities = \"*\"\n");
    assert_eq!(project.copy()["status"], "succeeded");
    assert_same_sqlite_file(&source, &copy);
}

#[test]
fn what_a_column_of_an_existing_table_cannot_hold_exactly_is_quarantined_never_changed() {
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n, i, d, b, u, s, f);
         INSERT INTO t VALUES
            (1, 1.5, 7, '2024-02-29', 1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'abc', 0.5),
            (2, 0.125, NULL, NULL, NULL, NULL, NULL, NULL),
            (3, NULL, 40000, NULL, NULL, NULL, NULL, NULL),
            (4, NULL, NULL, '2023-02-29', NULL, NULL, NULL, NULL),
            (5, NULL, NULL, NULL, 'perhaps', NULL, NULL, NULL),
            (6, NULL, NULL, NULL, NULL, 'not a uuid', NULL, NULL),
            (7, NULL, NULL, NULL, NULL, NULL, 'abcd', NULL),
            (8, NULL, NULL, NULL, NULL, NULL, NULL, 16777217),
            (9, 100000, NULL, NULL, NULL, NULL, NULL, NULL),
            (10, NULL, 1.5, NULL, NULL, NULL, NULL, NULL),
            (11, 999.99, -32768, '0001-01-01', 0, NULL, '', -0.0);",
    );
    let target = Postgres::new(Server::Second);
    target.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, n numeric(5,2), i smallint, d date, b boolean, u uuid, s varchar(3), f real)",
    );
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let report = project.run(["run", "--json"]).expect(3).json();
    let entity = &report["entities"][0];
    assert_eq!((&entity["inserted"], &entity["quarantined"]), (&2.into(), &9.into()), "{entity}");
    let rows = target.rows("SELECT * FROM t ORDER BY id");
    let row = |cells: [Option<&str>; 8]| cells.map(|c| c.map(str::to_owned)).to_vec();
    assert_eq!(
        rows,
        [
            row([
                Some("1"),
                Some("1.50"),
                Some("7"),
                Some("2024-02-29"),
                Some("t"),
                Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                Some("abc"),
                Some("0.5")
            ]),
            row([Some("11"), Some("999.99"), Some("-32768"), Some("0001-01-01"), Some("f"), None, Some(""), Some("-0")]),
        ]
    );
    // Each refusal names its column.
    let columns: Vec<_> = target.rows("SELECT column_name FROM migrate.quarantine ORDER BY 1").concat();
    let columns: Vec<_> = columns.iter().map(|c| c.as_deref().expect("a column")).collect();
    assert_eq!(columns, ["b", "d", "f", "i", "i", "n", "n", "s", "u"]);
}
