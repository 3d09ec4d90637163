//! Finding what has changed by digests that the source computes: `strategy = "ledger"`.

use crate::strategies::{Setup, TABLE, counts};
use migrate_tests::{Engine, PAIRS};
use serde_json::Value;

const DIGESTS: &str = "only blocks whose digest at the source has changed are read";
const LEDGER: &str = "strategy = \"ledger\"\ndeletes = \"hard\"\n";

fn copied(to: Engine, settings: &str, sql: &str) -> Setup {
    Setup::new(to, settings, sql)
}

/// Runs by digests, and asserts that the target equals the source afterwards.
fn by_digests(setup: &Setup, what: &str) -> Value {
    let run = setup.run();
    assert!(run.stderr.contains(DIGESTS), "{what}: {}", run.stderr);
    let entity = run.json()["entities"][0].clone();
    let verified = setup.project.run(["verify", "--json"]).expect(0).json();
    assert_eq!(verified["equal"], true, "{what}: {verified}");
    entity
}

/// Asserts that nothing has changed and that no row is read to know it.
fn assert_unread(setup: &Setup, what: &str) {
    let entity = by_digests(setup, what);
    assert_eq!((&entity["unchanged"], entity["bytes"].as_u64()), (&entity["read"], Some(0)), "{what}: {entity}");
}

#[test]
fn unchanged_blocks_are_not_read_and_every_change_is_found() {
    for (_, to) in &PAIRS[..2] {
        for mode in ["replace", "update"] {
            let setup = copied(*to, &format!("mode = \"{mode}\"\n{LEDGER}"), TABLE);
            assert_unread(&setup, mode);
            setup.source.run(
                "UPDATE t SET v = 'changed' WHERE id % 1000 = 0; DELETE FROM t WHERE id IN (1, 1000, 4999); INSERT INTO t VALUES (-5, 'new', -5), (9999, 'new', 9999);
                 BEGIN; UPDATE t SET u = -u - 10000 WHERE id IN (7, 8); UPDATE t SET u = 15 - id WHERE id IN (7, 8); COMMIT;
                 UPDATE t SET id = 7777 WHERE id = 42; DELETE FROM t WHERE id = 3001; INSERT INTO t VALUES (3001, 'again', 3001)",
            );
            assert_eq!(counts(&by_digests(&setup, "changes")), [4999, 3, 7, 4989, 4], "{mode}");
            assert_unread(&setup, "P4");
            // One block of five is read for one row.
            setup.source.run("UPDATE t SET v = 'one' WHERE id = 2500");
            let entity = by_digests(&setup, "one row");
            assert_eq!(counts(&entity), [4999, 0, 1, 4998, 0], "{mode}");
            let bytes = entity["bytes"].as_u64().expect("a number");
            assert!((1_000..80_000).contains(&bytes), "{entity}");
            assert_unread(&setup, "again");
        }
    }
}

#[test]
fn what_the_servers_hashes_take_for_equal_is_told_apart() {
    let setup = copied(
        PAIRS[0].1,
        LEDGER,
        "CREATE TYPE mood AS ENUM ('sad', 'glad');
         CREATE TABLE t (id integer PRIMARY KEY, a numeric, b double precision, c interval, d jsonb, e text, f bigint, g timestamptz, h mood, i text, j text,
             k integer[], l real, m time, n bytea, o uuid, p boolean, q date, r varchar(20), s json, u inet, w bit(3));
         INSERT INTO t SELECT i, 1.0, 0, '1 month', '1.0', 'a', 0, '2020-01-01', 'sad', 'x ' || i, 'y ' || i, '{1,2}', 1, '10:00', 'a', md5('1')::uuid, true,
             '2020-01-01', 'r', '1', '10.0.0.1', B'101' FROM generate_series(1, 3000) i",
    );
    assert_unread(&setup, "nothing changed");
    for change in [
        "a = 1.00",
        "b = '-0'",
        "c = '30 days'",
        "d = '1.00'",
        "e = 'a '",
        // Folded to 32 bits, both are nothing.
        "f = 4294967297",
        "g = g + interval '4294.967297 s'",
        "h = 'glad'",
        "k = '{2,1}'",
        "k = NULL",
        "l = '-1'",
        "m = '10:00:01'",
        "n = ''",
        "o = md5('2')::uuid",
        "p = false",
        "q = NULL",
        "r = ''",
        "s = '1 '",
        "u = '10.0.0.0/8'",
        "w = B'100'",
    ] {
        setup.source.run(&format!("UPDATE t SET {change} WHERE id = 1500"));
        assert_eq!(counts(&by_digests(&setup, change)), [3000, 0, 1, 2999, 0], "{change}");
    }
    setup.source.run("UPDATE t SET i = 'x ' || (21 - id) WHERE id IN (10, 11); UPDATE t SET i = j, j = i WHERE id = 2900");
    assert_eq!(counts(&by_digests(&setup, "values that changed places")), [3000, 0, 3, 2997, 0]);
    assert_unread(&setup, "afterwards");
}

#[test]
fn texts_that_a_collation_takes_for_equal_are_told_apart() {
    let setup = copied(
        PAIRS[1].1,
        LEDGER,
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (id integer PRIMARY KEY, v text COLLATE loose); INSERT INTO t SELECT i, 'abc' FROM generate_series(1, 2000) i",
    );
    setup.source.run("UPDATE t SET v = 'ABC' WHERE id = 1500");
    assert_eq!(counts(&setup.run().json()["entities"][0]), [2000, 0, 1, 1999, 0]);
    assert_eq!(setup.target.matching("t", "v = 'ABC'"), 1);
}

#[test]
fn keys_of_all_kinds_partitions_and_filters_have_digests() {
    for (name, sql, settings, change, expected) in [
        (
            "partitions",
            "CREATE TABLE t (id integer, v text, PRIMARY KEY (id)) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE p1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 3000) i",
            "",
            "UPDATE t SET v = 'x' WHERE id = 5; DELETE FROM t WHERE id = 6",
            [2999, 0, 1, 2998, 1],
        ),
        (
            "a filter",
            TABLE,
            "[[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"u <= 4000 -- all\"\n",
            "UPDATE t SET u = 90000 WHERE id = 5; UPDATE t SET u = -1 WHERE id = 4999; UPDATE t SET v = 'x' WHERE id IN (7, 4500)",
            [4000, 1, 1, 3998, 0],
        ),
        (
            "composite",
            "CREATE TABLE t (a text, b uuid, c numeric, v text, PRIMARY KEY (a, b, c));
             INSERT INTO t SELECT 'a ''' || i % 7, md5(i::text)::uuid, i / 10.0, 'row ' || i FROM generate_series(1, 3000) i",
            "",
            "UPDATE t SET v = 'x' WHERE c = 5.5; UPDATE t SET a = 'it''s' WHERE c = 6; DELETE FROM t WHERE c = 7",
            [2999, 1, 1, 2997, 2],
        ),
        (
            "text in another order than that of its bytes",
            "CREATE TABLE t (a varchar(40) COLLATE \"en-x-icu\" PRIMARY KEY, v text); INSERT INTO t SELECT chr(65 + i % 26) || chr(97 + i % 25) || i, i FROM generate_series(1, 3000) i",
            "",
            "UPDATE t SET v = 'x' WHERE a LIKE 'Aa%'; INSERT INTO t VALUES ('', 'first'), ('zzz', 'last'); DELETE FROM t WHERE v = '77'",
            [3001, 2, 4, 2995, 1],
        ),
    ] {
        let setup = copied(PAIRS[0].1, &format!("{LEDGER}{settings}"), sql);
        let unread = |what: &str| {
            let run = setup.run();
            run.says(&[DIGESTS]);
            let entity = run.json()["entities"][0].clone();
            assert_eq!((&entity["unchanged"], entity["bytes"].as_u64()), (&entity["read"], Some(0)), "{name} {what}: {entity}");
        };
        unread("before");
        setup.source.run(change);
        assert_eq!(counts(&setup.run().json()["entities"][0]), expected, "{name}");
        unread("afterwards");
    }
}

#[test]
fn refused_rows_are_looked_at_each_time_and_let_in_when_they_fit() {
    let setup = copied(PAIRS[1].1, &format!("max_quarantined = 10\n{LEDGER}"), TABLE);
    setup.target.run("CREATE TRIGGER no BEFORE UPDATE ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END");
    let refused = || setup.target.matching("_migrate_quarantine", "true");
    setup.source.run("UPDATE t SET v = 'bad' WHERE id IN (9, 10)");
    for _time in 0..2 {
        let report = setup.project.run(["run", "--json"]).expect(3).json();
        assert_eq!(report["entities"][0]["quarantined"], 2, "{report}");
    }
    // WHEN one is again what the ledger knows, whose digest has never changed
    setup.source.run("UPDATE t SET v = 'row 9' WHERE id = 9");
    let report = setup.project.run(["run", "--json"]).expect(3).json();
    assert_eq!((&report["entities"][0]["quarantined"], refused()), (&Value::from(1), 1), "{report}");
    setup.source.run("UPDATE t SET v = 'row 10' WHERE id = 10");
    assert_eq!(counts(&by_digests(&setup, "as they were")), [5000, 0, 0, 5000, 0]);
    assert_eq!(refused(), 0);
    assert_unread(&setup, "afterwards");
    setup.source.run("UPDATE t SET v = 'bad' WHERE id = 9");
    let _ = setup.project.run(["run"]).expect(3);
    setup.target.run("DROP TRIGGER no");
    assert_eq!(counts(&by_digests(&setup, "let in")), [5000, 0, 1, 4999, 0]);
}

#[test]
fn what_a_digest_says_under_other_settings_is_not_believed() {
    let setup = copied(PAIRS[0].1, &format!("mode = \"append\"\n{LEDGER}"), TABLE);
    let rewrite =
        |settings: &str| setup.project.write_job(&setup.source.url(), &setup.target.url(), &format!("{LEDGER}{settings}"));
    setup.source.run("UPDATE t SET v = 'skipped' WHERE id = 77");
    for _time in 0..2 {
        assert_eq!(setup.run().json()["entities"][0]["skipped"], 5000);
    }
    // What was skipped, and would be passed over, is written now.
    rewrite("mode = \"replace\"\n");
    let run = setup.run();
    run.says(&["all rows are read, as changed ones were skipped before"]);
    assert_eq!(counts(&run.json()["entities"][0]), [5000, 0, 1, 4999, 0]);
    assert_unread(&setup, "replace");
    // The columns' own checksums are not known yet.
    rewrite("mode = \"update\"\n");
    assert_eq!(counts(&by_digests(&setup, "update")), [5000, 0, 0, 5000, 0]);
    setup.target.run("UPDATE t SET u = -1 WHERE id = 5");
    setup.source.run("UPDATE t SET v = 'x' WHERE id = 5");
    assert_eq!(setup.run().json()["entities"][0]["updated"], 1);
    assert_eq!(setup.target.matching("t", "v = 'x' AND u = -1"), 1);
    rewrite("[[jobs.copy.entities]]\nsource = \"t\"\ntransform = [{ column = \"v\", text = [\"upper\"] }]\n");
    setup.run().says(&["all rows are read: the job or its tables have changed"]);
    assert_eq!(setup.target.matching("t", "v = 'X' OR v LIKE 'ROW %' OR v = 'SKIPPED'"), 5000);
}

#[test]
fn a_run_that_was_killed_is_gone_on_with_and_misses_nothing() {
    let setup = copied(PAIRS[0].1, LEDGER, TABLE);
    setup.source.run("UPDATE t SET v = 'one' WHERE id % 3 = 0; DELETE FROM t WHERE id % 97 = 0");
    let mut run = setup.project.start(["--batch-size", "20"]);
    assert!(run.wait_for_commits(2));
    run.kill();
    // Blocks that the killed run has written are as they are in the source; what it did to their rows is counted again.
    setup.source.run(
        "UPDATE t SET v = 'two' WHERE id % 5 = 0 AND id > 2500; INSERT INTO t VALUES (6000, 'new', 6000); DELETE FROM t WHERE id % 89 = 0",
    );
    let entity = by_digests(&setup, "killed");
    assert_eq!(entity["read"].as_u64(), Some(setup.source.count("SELECT count(*) FROM t")));
    assert_unread(&setup, "afterwards");
}

#[test]
fn other_strategies_take_turns_with_digests_and_all_rows_are_read_from_time_to_time() {
    let setup = copied(PAIRS[0].1, LEDGER, TABLE);
    for (number, strategy) in ["xmin", "ledger", "full", "ledger", "auto"].iter().enumerate() {
        setup.source.run(&format!("UPDATE t SET v = 'turn {number}' WHERE id IN ({number} + 10, 2222)"));
        let run = setup.project.run(["run", "--strategy", strategy, "--json"]).expect(0);
        assert_eq!(counts(&run.json()["entities"][0]), [5000, 0, 2, 4998, 0], "{strategy}");
        let expected = ["only rows that changed", DIGESTS, "", DIGESTS, "only rows that changed"][number];
        assert!(run.stderr.contains(expected), "{strategy}: {}", run.stderr);
    }
    assert_eq!(counts(&by_digests(&setup, "ledger")), [5000, 0, 0, 5000, 0]);
    assert_unread(&setup, "ledger");
    // A limited run writes the blocks anew that it leaves off in.
    let _ = setup.project.run(["run", "--limit", "10"]).expect(0);
    assert_eq!(counts(&by_digests(&setup, "after a limited run")), [5000, 0, 0, 5000, 0]);
    assert_unread(&setup, "after a whole one");
    setup.project.write_job(&setup.source.url(), &setup.target.url(), &format!("scrub_days = 0\n{LEDGER}"));
    setup.run().says(&["all rows are read, as they were not for long"]);
}

#[test]
fn sources_that_compute_no_digests_are_read_as_a_whole() {
    let view = "CREATE TABLE base (id integer PRIMARY KEY, v text); INSERT INTO base VALUES (1, 'a'); CREATE VIEW t AS SELECT * FROM base";
    let setup = copied(PAIRS[1].1, "strategy = \"ledger\"\n[[jobs.copy.entities]]\nsource = \"t\"\nkey = [\"id\"]\n", view);
    setup.source.run("UPDATE base SET v = 'b'");
    let run = setup.run();
    run.says(&["all rows are read: the source computes no digests of them"]);
    assert_eq!(run.json()["entities"][0]["updated"], 1);
}

#[test]
fn state_tables_without_a_place_for_digests_are_planned_with_and_brought_up_to_date() {
    for (engine, old) in [
        (PAIRS[0].1, "ALTER TABLE migrate.ledger DROP COLUMN source_digest; UPDATE migrate.state_version SET version = 2"),
        (PAIRS[1].1, "ALTER TABLE _migrate_ledger DROP COLUMN source_digest; UPDATE _migrate_version SET version = 2"),
    ] {
        let setup = copied(engine, LEDGER, TABLE);
        setup.target.run(old);
        setup.source.run("UPDATE t SET v = 'x' WHERE id = 5");
        let _ = setup.project.run(["plan"]).expect(0);
        assert_eq!(counts(&by_digests(&setup, "an older version")), [5000, 0, 1, 4999, 0]);
        assert_unread(&setup, "afterwards");
    }
}
