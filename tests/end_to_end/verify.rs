//! Comparing both sides as they are, and repairing what differs.

use migrate_tests::{Database, PAIRS, Postgres, Project, Server, Sqlite};
use serde_json::Value;

const TABLE: &str = "CREATE TABLE t (k text NOT NULL, id integer NOT NULL, body text, amount numeric, PRIMARY KEY (k, id));";

/// 3,000 rows with a text in the key, whose order differs between engines.
const ROWS: &str = "
    INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        SELECT CASE i % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'B' WHEN 2 THEN 'é' ELSE '_' END, i, CASE WHEN i % 10 > 0 THEN 'body ' || i ELSE '' END, i FROM n;";

fn counts(report: &Value) -> [u64; 3] {
    ["missing", "extra", "different"].map(|kind| report["entities"][0][kind].as_u64().expect("a count"))
}

#[test]
fn every_kind_of_damage_is_found_with_its_key_and_columns_and_repaired_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(&format!("{TABLE}{ROWS}"));
        project.write_job(&source.url(), &target.url(), "");
        project.copy();
        let equal = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!((&equal["equal"], counts(&equal)), (&true.into(), [0, 0, 0]), "{from:?} to {to:?}: {equal}");
        assert_eq!(equal["entities"][0]["source_checksum"], equal["entities"][0]["target_checksum"]);
        target.run(
            "DELETE FROM t WHERE id IN (4, 2999); INSERT INTO t VALUES ('x', 1, 'secret', 1);
             UPDATE t SET body = NULL WHERE id = 10; UPDATE t SET body = 'secret', amount = 0 WHERE id = 7",
        );
        let run = project.run(["verify", "--json"]).expect(4);
        let report = run.json();
        assert_eq!(counts(&report), [2, 1, 2], "{from:?} to {to:?}: {report}");
        assert!(!run.output().contains("secret") && !run.output().contains("body 7"), "{}", run.output());
        let differences = report["entities"][0]["differences"].as_array().expect("a list");
        let of = |id: &str| differences.iter().find(|d| d["key"][1] == id).unwrap_or_else(|| panic!("{id} in {report}"));
        assert_eq!(
            (&of("4")["kind"], &of("2999")["kind"], &of("1")["kind"]),
            (&"missing".into(), &"missing".into(), &"extra".into())
        );
        let columns =
            |id: &str| of(id)["columns"].as_array().expect("columns").iter().map(|c| c["column"].clone()).collect::<Vec<_>>();
        assert_eq!((columns("10"), columns("7")), (vec!["body".into()], vec!["body".into(), "amount".into()]));
        // Extra rows go on request only, where the job does not delete.
        let repaired = project.run(["verify", "--repair", "--json"]).expect(4).json();
        assert_eq!(counts(&repaired), [0, 1, 0], "{from:?} to {to:?}: {repaired}");
        let _ = project.run(["verify", "--repair", "--delete-extra"]).expect(0);
        target.assert_holds(&source, &["t"]);
        let execution = repaired["repaired_by"].as_str().expect("an execution").to_owned();
        assert!(project.run(["executions", "show", &execution]).expect(0).output().contains("succeeded"));
        // The ledger agrees with what was repaired.
        assert_eq!(project.copy()["entities"][0]["unchanged"], 3000);
    }
}

#[test]
fn numbers_of_another_scale_and_rows_without_a_key_are_told_apart() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE a (id int PRIMARY KEY, n numeric); INSERT INTO a VALUES (1, 1.0), (2, 1.00); CREATE TABLE b (v text); INSERT INTO b VALUES ('x'), ('x'), (NULL)");
    let project = Project::copying(&source.url(), &target.url());
    project.copy();
    assert!(project.run(["verify"]).expect(0).output().contains("Both sides are equal"));
    target.run("UPDATE a SET n = 1.00 WHERE id = 1; DELETE FROM b WHERE v IS NULL; INSERT INTO b VALUES ('x')");
    let report = project.run(["verify", "--json"]).expect(4).json();
    assert_eq!(
        (&report["entities"][0]["different"], &report["entities"][1]["missing"], &report["entities"][1]["extra"]),
        (&1.into(), &1.into(), &1.into())
    );
    let _ = project.run(["verify", "--repair"]).expect(0);
    assert_eq!(target.count("SELECT count(*) FROM b WHERE v = 'x'"), 2);
}

#[test]
fn rows_without_a_key_that_differ_are_listed_with_how_often_and_on_request_with_what_they_hold() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE v (name text, seen integer); INSERT INTO v VALUES ('secret', 1), ('secret', 1), ('b', NULL), ('c', 3)",
        );
        project.write_job(&source.url(), &target.url(), "");
        project.copy();
        target.run(
            "DELETE FROM v WHERE name = 'secret'; INSERT INTO v VALUES ('more', 4); UPDATE v SET name = NULL WHERE seen = 3",
        );
        let report = project.run(["verify", "--json", "--show-values"]).expect(4).json();
        let listed = report["entities"][0]["differences"].as_array().expect("a list");
        let told = |row: &Value| {
            let cells = row["columns"].as_array().expect("columns").iter();
            let cells = cells.map(|c| format!(" {}={}{}", c["column"], c["before"], c["after"])).collect::<String>();
            assert_eq!(
                (row["key"].as_array().map(Vec::len), row["checksum"].as_str().map(str::len)),
                (Some(0), Some(32)),
                "{row}"
            );
            format!("{} {}{}", row["kind"], row["copies"], cells).replace(['"'], "").replace("null", "")
        };
        let mut told: Vec<String> = listed.iter().map(told).collect();
        told.sort();
        let expected = ["extra 1 name=more seen=4", "extra 1 seen=3", "missing 1 name=c seen=3", "missing 2 name=secret seen=1"];
        assert_eq!(told, expected, "{from:?} to {to:?}: {report}");
        let run = project.run(["verify"]).expect(4);
        assert!(run.output().contains("missing, 2 times: row "), "{}", run.output());
        assert!(!run.output().contains("secret"), "{}", run.output());
    }
}

#[test]
fn a_comparison_says_which_columns_have_changed_at_the_source_since_the_last_run() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run("CREATE TABLE t (id integer PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')");
        project.write_job(&source.url(), &target.url(), "");
        project.copy();
        assert!(!project.run(["verify"]).expect(0).output().contains("since"));
        source.run("ALTER TABLE t ADD COLUMN age integer");
        let said = project.run(["verify"]).expect(0).output().to_owned();
        assert!(said.contains("t: column age was added at the source (") && said.contains("no run was made since"), "{said}");
        let report = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(report["entities"][0]["drift"][0]["column"], "age", "{report}");
    }
}

#[test]
fn rows_outside_the_filter_refused_rows_and_marked_ones_are_no_differences() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Postgres::new(Server::First));
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, char(0)), (4, 'd'), (5, 'e')");
    project.write_job(
        &source.url(),
        &target.url(),
        "deletes = { mode = \"soft\", column = \"gone\" }\n[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"id < 5\"\n",
    );
    let _ = project.run(["run"]).expect(3);
    target.run("INSERT INTO t VALUES (5, 'left by an earlier run')");
    source.run("DELETE FROM t WHERE id = 4");
    let _ = project.run(["run"]).expect(3);
    let report = project.run(["verify", "--json"]).expect(0).json();
    assert_eq!((counts(&report), &report["entities"][0]["quarantined"]), ([0, 0, 0], &1.into()), "{report}");
}

#[test]
fn a_run_can_compare_afterwards_and_keeps_a_certificate_in_its_record() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2)");
    project.write_job(&source.url(), &target.url(), "");
    let report = project.run(["run", "--verify", "--json"]).expect(0).json();
    assert_eq!(report["verify"]["equal"], true, "{report}");
    let logs = project.run(["executions", "logs"]).expect(0).output();
    assert!(logs.contains("certificate: 2 rows are equal"), "{logs}");
    let shown = project.run(["executions", "show", "--json"]).expect(0).json();
    let (certificate, found) = (&shown["certificates"][0], &report["verify"]["entities"][0]);
    for fact in ["source_rows", "target_rows", "source_checksum", "target_checksum", "encoding", "ledger", "compared_at"] {
        assert!(!found[fact].is_null() && certificate[fact] == found[fact], "{fact}: {shown} and {report}");
    }
    assert_eq!((&certificate["entity"], &certificate["equal"]), (&"t".into(), &true.into()), "{shown}");
    let text = project.run(["executions", "show"]).expect(0).output();
    assert!(text.contains(found["source_checksum"].as_str().expect("a sum")) && text.contains("equal"), "{text}");
    target.run("DELETE FROM t WHERE id = 2");
    let _ = project.run(["run", "--verify"]).expect(4);
}

#[test]
fn rows_are_matched_by_keys_of_every_type_in_every_direction() {
    let key = [
        ("timestamptz", "'2020-01-01 10:00:00.000001+02'"),
        ("timestamp", "'0044-03-15 00:00:00 BC'"),
        ("date", "'infinity'"),
        ("time", "'24:00:00'"),
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
        ("numeric", "'1.50'"),
        ("numeric(9,2)", "'NaN'"),
        ("double precision", "'NaN'"),
        ("real", "'-0'"),
        ("interval", "'1 year 2 mons -3 days'"),
        ("boolean", "true"),
        ("bytea", "'\\x00ff'"),
        ("char(5)", "'ab'"),
        ("inet", "'10.0.0.1/8'"),
        ("int4range", "'[1,5)'"),
        ("int[]", "'{1,NULL}'"),
        ("jsonb", "'{\"a\": 1}'"),
        ("bit(3)", "'101'"),
    ];
    let (source, other) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    for (i, (data_type, value)) in key.iter().enumerate() {
        source.run(&format!(
            "CREATE TABLE k{i} (k {data_type} PRIMARY KEY, v text); INSERT INTO k{i} VALUES ({value}, 'v');
             CREATE TABLE p{i} (id int, k {data_type}, PRIMARY KEY (id, k)); INSERT INTO p{i} VALUES (1, {value}), (2, {value})"
        ));
    }
    let project = Project::new();
    let (file, copy) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    for (from, to) in [(source.url(), file.url()), (file.url(), other.url()), (file.url(), copy.url())] {
        project.write_job(&from, &to, "");
        project.copy();
        let report = project.run(["verify", "--json"]).expect(0).json();
        for entity in report["entities"].as_array().expect("entities") {
            assert_eq!((&entity["missing"], &entity["extra"]), (&0.into(), &0.into()), "{from} to {to}: {entity}");
            assert_eq!(entity["source_checksum"], entity["target_checksum"], "{from} to {to}: {entity}");
        }
    }
    // What differs is found and mended under such keys, too.
    project.write_job(&source.url(), &file.url(), "");
    file.run("UPDATE k0 SET v = 'other'; DELETE FROM k4; INSERT INTO k5 VALUES ('7.25', 'extra')");
    let report = project.run(["verify", "--json"]).expect(4).json();
    let found = |kind: &str| -> Vec<&str> {
        let entities = report["entities"].as_array().expect("entities").iter();
        entities.filter(|e| e[kind] == 1).map(|e| e["name"].as_str().expect("a name")).collect()
    };
    assert_eq!((found("different"), found("missing"), found("extra")), (vec!["k0"], vec!["k4"], vec!["k5"]), "{report}");
    let _ = project.run(["verify", "--repair", "--delete-extra"]).expect(0);
    assert_eq!(
        file.count("SELECT (SELECT count(*) FROM k0 WHERE v = 'v') + (SELECT count(*) FROM k4) + (SELECT count(*) FROM k5)"),
        3
    );
}

#[test]
fn rows_are_read_back_before_their_commit_in_every_direction_and_none_is_falsely_reported() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(&format!("{TABLE}{ROWS}"));
        project.write_job(&source.url(), &target.url(), "verify = \"inline\"\ndeletes = \"hard\"\nbatch_rows = 700\n");
        assert_eq!(project.copy()["entities"][0]["inserted"], 3000, "{from:?} to {to:?}");
        target.assert_holds(&source, &["t"]);
        source.run(
            "UPDATE t SET body = NULL WHERE id % 7 = 0; DELETE FROM t WHERE id % 11 = 0; INSERT INTO t VALUES ('ü', 9000, '', 1)",
        );
        let report = project.copy();
        let counts = ["inserted", "updated", "deleted"].map(|name| report["entities"][0][name].as_u64().expect("a count"));
        assert_eq!(counts, [1, 428 - 38, 272], "{from:?} to {to:?}: {report}");
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn a_trigger_that_alters_one_row_far_down_is_named_as_the_owner_of_its_column() {
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    source.run("CREATE TABLE t (id integer PRIMARY KEY, body text); INSERT INTO t SELECT i, 'body ' || i FROM generate_series(1, 2000) i");
    target.run(
        "CREATE TABLE t (id integer PRIMARY KEY, body text);
         CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body = 'secret'; RETURN NEW; END $$;
         CREATE TRIGGER spoils BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 1500) EXECUTE FUNCTION spoil()",
    );
    let project = Project::new();
    project.write_job(&source.url(), &target.url(), "verify = \"inline\"\n");
    let run = project.run(["run", "-v"]).expect(0);
    assert!(run.output().contains("column body is owned by the target's triggers"), "{}", run.output());
    assert!(!run.output().contains("secret"));
}

/// What a certificate says of both sides: rows, sums and rows left out.
fn certificate(report: &Value) -> ([u64; 4], bool) {
    let entity = &report["entities"][0];
    let counts = ["source_rows", "target_rows", "source_left_out", "target_left_out"];
    (counts.map(|name| entity[name].as_u64().expect("a count")), entity["source_checksum"] == entity["target_checksum"])
}

#[test]
fn a_certificate_is_over_the_rows_that_were_compared_and_its_sums_are_equal_if_and_only_if_they_are() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run("CREATE TABLE t (id integer PRIMARY KEY, v integer)");
        target.run("CREATE TABLE t (id integer PRIMARY KEY, v integer CHECK (v < 100))");
        source.run("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 700), (8, 8)");
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\n");
        let _ = project.run(["run"]).expect(3);
        let case = format!("{from:?} to {to:?}");
        let report = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(certificate(&report), ([7, 7, 1, 0], true), "a row that the target refuses, {case}: {report}");
        source.run("UPDATE t SET v = 200 WHERE id = 2");
        let _ = project.run(["run"]).expect(3);
        let report = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(certificate(&report), ([6, 6, 2, 1], true), "and a change of one, {case}: {report}");
        project.write_job(
            &source.url(),
            &target.url(),
            "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"id < 6\"\n",
        );
        let _ = project.run(["run"]).expect(3);
        let report = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(certificate(&report), ([4, 4, 1, 3], true), "and two that have left the filter, {case}: {report}");
        target.run("UPDATE t SET v = 50 WHERE id = 3");
        let report = project.run(["verify", "--json"]).expect(4).json();
        assert_eq!(certificate(&report), ([4, 4, 1, 3], false), "a difference, {case}: {report}");
        let text = project.run(["verify"]).expect(4).stdout;
        let sum = |side: &str| report["entities"][0][side].as_str().expect("a sum").to_owned();
        for side in ["source_checksum", "target_checksum"] {
            assert!(text.contains(&sum(side)), "{case}: {side} in {text}");
        }
    }
}

#[test]
fn a_row_that_the_target_holds_twice_is_extra_as_often_as_it_is_too_many_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source
            .run("CREATE TABLE t (id integer PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')");
        // No unique index keeps others from writing a key twice.
        target.run("CREATE TABLE t (id integer, v text)");
        project.write_job(&source.url(), &target.url(), "");
        project.copy();
        let case = format!("{from:?} to {to:?}");
        let report = project.run(["verify", "--json"]).expect(0).json();
        assert_eq!(certificate(&report), ([4, 4, 0, 0], true), "{case}: {report}");
        target.run(
            "INSERT INTO t SELECT * FROM t WHERE id = 1; INSERT INTO t VALUES (2, 'other'), (2, 'other'), (9, 'x'), (9, 'y')",
        );
        let report = project.run(["verify", "--json"]).expect(4).json();
        assert_eq!((counts(&report), certificate(&report)), ([0, 5, 0], ([4, 9, 0, 0], false)), "{case}: {report}");
        let listed = report["entities"][0]["differences"].as_array().expect("a list");
        let told: Vec<_> = listed.iter().map(|d| format!("{} {} {}", d["kind"], d["key"][0], d["copies"])).collect();
        assert_eq!(told, [r#""extra" "1" 1"#, r#""extra" "2" 2"#, r#""extra" "9" 2"#], "{case}: {report}");
        let text = project.run(["verify"]).expect(4).stdout;
        assert!(text.contains("extra (1)") && text.contains("extra, 2 times (2)") && !text.contains("more"), "{case}: {text}");
        // Where none of them is right, one is different.
        target.run("DELETE FROM t WHERE id <> 2; UPDATE t SET v = 'other'; INSERT INTO t VALUES (1, 'a'), (3, 'c'), (4, 'd')");
        let report = project.run(["verify", "--json"]).expect(4).json();
        assert_eq!(counts(&report), [0, 2, 1], "{case}: {report}");
    }
}
