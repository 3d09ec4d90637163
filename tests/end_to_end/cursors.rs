//! Strategy `cursor`: changes are found by a column that tells when each row was changed last.

use migrate_tests::{Database, Engine, PAIRS, Project, Run, crosswise};

/// More rows than are ever read together.
const ROWS: u32 = 70_000;

fn settings(more: &str) -> String {
    format!("mode = \"replace\"\ndeletes = \"hard\"\nstrategy = \"cursor\"\nentities = \"*\"\n{more}\n")
}

fn filled(project: &Project, engine: Engine) -> Database {
    let source = Database::new(engine, project.path(), "source");
    fill(&source, engine);
    source
}

fn fill(database: &Database, engine: Engine) {
    let moment = if engine == Engine::Sqlite { "text" } else { "timestamp" };
    database.run(&format!(
        "CREATE TABLE t (id integer PRIMARY KEY, v text NOT NULL, changed_at {moment});
         INSERT INTO t WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
            SELECT i, 'first', '2024-01-01 00:00:00' FROM n;
         CREATE INDEX t_changed_at ON t (changed_at);"
    ));
}

fn change(source: &Database, id: u32, at: &str) {
    source.run(&format!("UPDATE t SET v = 'second', changed_at = {at} WHERE id = {id}"));
}

#[test]
fn what_the_column_tells_is_found_and_what_it_does_not_once_all_rows_are_read() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (filled(&project, from), Database::new(to, project.path(), "target"));
        project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
        project.copy();
        let again = project.copy();
        assert_eq!((&again["entities"][0]["unchanged"], &again["entities"][0]["read"]), (&ROWS.into(), &ROWS.into()), "{again}");

        change(&source, 1_500, "'2024-02-01 00:00:00'");
        // As late as what was seen last, or at no time at all.
        change(&source, 1_501, "'2024-01-01 00:00:00'");
        change(&source, 1_502, "NULL");
        source.run("INSERT INTO t VALUES (0, 'new', '2024-02-01 00:00:00'), (100000, 'new', '2024-02-01 00:00:00')");
        let planned = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(planned["changes"][0]["updated"], 3, "{planned}");
        let report = project.copy();
        assert_eq!((&report["entities"][0]["inserted"], &report["entities"][0]["updated"]), (&2.into(), &3.into()), "{report}");

        // What the column does not tell is not seen, and so not read, also in a block of the same range.
        source.run("UPDATE t SET v = 'third', changed_at = '2023-01-01 00:00:00' WHERE id = 20000");
        change(&source, 1_500, "'2024-03-01 00:00:00'");
        source.run("UPDATE t SET v = 'third' WHERE id = 1500");
        assert_eq!(project.copy()["entities"][0]["updated"], 1);
        assert_eq!(target.matching("t", "v = 'third'"), 1);

        // But for the number of rows: then all are read.
        source.run("DELETE FROM t WHERE id = 60001");
        let run = project.run(["run", "--json"]).expect(0);
        run.says(&["all rows are read: some have come or gone"]);
        let report = run.json();
        assert_eq!((&report["entities"][0]["updated"], &report["entities"][0]["deleted"]), (&1.into(), &1.into()), "{report}");
        source.assert_holds(&target, &["t"]);

        // Strategies take turns; none believes what another has kept.
        source.run("UPDATE t SET v = 'fourth' WHERE id = 60002");
        let report = project.run(["run", "--json", "--strategy", "auto"]).expect(0).json();
        assert_eq!(report["entities"][0]["updated"], 1, "{report}");
        source.run("UPDATE t SET v = 'fifth' WHERE id = 60003");
        assert_eq!(project.copy()["entities"][0]["updated"], 1, "all rows are read after another strategy");
    }
}

#[test]
fn an_overlap_finds_what_was_committed_late() {
    for (overlap, found) in [("", 0), (", overlap = \"10m\"", 1)] {
        let project = Project::new();
        let source = filled(&project, Engine::Postgres(migrate_tests::Server::First));
        let target = Database::new(Engine::Sqlite, project.path(), "target");
        project.write_job(&source.url(), &target.url(), &settings(&format!("cursor = {{ column = \"changed_at\"{overlap} }}")));
        source.run("UPDATE t SET changed_at = '2024-02-01 00:00:00' WHERE id = 1");
        project.copy();
        change(&source, 50_000, "'2024-01-31 23:55:00'");
        assert_eq!(project.copy()["entities"][0]["updated"], found, "overlap{overlap}");
    }
    let project = Project::new();
    let (source, target) = (filled(&project, Engine::Sqlite), Database::new(Engine::Sqlite, project.path(), "target"));
    project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\", overlap = \"10m\" }"));
    project.run(["run"]).expect(2).says(&["overlap", "changed_at"]);
}

#[test]
fn tables_without_the_column_are_looked_at_in_another_way_and_a_wrong_name_is_refused() {
    for engine in [Engine::Postgres(migrate_tests::Server::First), Engine::Sqlite] {
        let project = Project::new();
        let (source, target) = (filled(&project, engine), Database::new(Engine::Sqlite, project.path(), "target"));
        source.run("CREATE TABLE other (id integer PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'a'), (2, 'b')");
        project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
        project.copy();
        source.run("UPDATE other SET v = 'c' WHERE id = 2; DELETE FROM other WHERE id = 1");
        let report = project.copy();
        let of = |name: &str| {
            report["entities"].as_array().expect("a list").iter().find(|e| e["name"] == name).expect("it ran").clone()
        };
        assert_eq!((&of("other")["updated"], &of("other")["deleted"]), (&1.into(), &1.into()), "{report}");
        let entity = "[[jobs.copy.entities]]\nsource = \"t\"\n";
        let listed = |more: &str| format!("mode = \"replace\"\nstrategy = \"cursor\"\n{entity}{more}\n");
        project.write_job(&source.url(), &target.url(), &listed("cursor = { column = \"changed_on\" }"));
        project.run(["run"]).expect(2).says(&["changed_on", "did you mean \"changed_at\"", "entity t"]);
        project.write_job(&source.url(), &target.url(), &listed(""));
        project.run(["run"]).expect(2).says(&["cursor", "entity t"]);
    }
}

/// A table of which the target takes no row that says `bad`.
fn picky(project: &Project, to: Engine) -> Database {
    let target = Database::new(to, project.path(), "target");
    let moment = if to == Engine::Sqlite { "text" } else { "timestamp" };
    target.run(&format!("CREATE TABLE t (id integer PRIMARY KEY, v text NOT NULL CHECK (v <> 'bad'), changed_at {moment})"));
    target
}

fn counts(run: &Run, names: &[&str]) -> Vec<u64> {
    let report = run.json();
    names.iter().map(|name| report["entities"][0][name].as_u64().expect("a count")).collect()
}

#[test]
fn a_refused_row_is_looked_at_again_where_the_column_tells_nothing() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let moment = if from == Engine::Sqlite { "text" } else { "timestamp" };
        source.run(&format!("CREATE TABLE t (id integer PRIMARY KEY, v text NOT NULL, changed_at {moment})"));
        for id in 1..=10 {
            source.run(&format!("INSERT INTO t VALUES ({id}, 'row', '2024-01-{id:02} 00:00:00')"));
        }
        source.run("UPDATE t SET v = 'bad' WHERE id = 5");
        let target = picky(&project, to);
        project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
        let run = project.run(["run", "--json"]).expect(3);
        assert_eq!(counts(&run, &["inserted", "quarantined"]), [9, 1], "{from:?} to {to:?}");

        // The row that was changed last is gone: the column tells of none, and one row less is what the ledger has, too.
        source.run("DELETE FROM t WHERE id = 10");
        let run = project.run(["run", "--json"]).expect(3);
        assert_eq!(counts(&run, &["unchanged", "quarantined", "deleted"]), [8, 1, 1], "{from:?} to {to:?}");
        assert_eq!(target.count("t"), 8, "{from:?} to {to:?}");
        source.run("UPDATE t SET v = 'good' WHERE id = 5");
        let run = project.run(["run", "--json"]).expect(0);
        assert_eq!(counts(&run, &["inserted", "quarantined"]), [1, 0], "{from:?} to {to:?}");
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn only_the_ranges_with_refused_rows_are_read_besides_those_that_the_column_tells() {
    let project = Project::new();
    let source = filled(&project, Engine::Sqlite);
    source.run("UPDATE t SET v = 'bad' WHERE id IN (500, 501)");
    let target = picky(&project, Engine::Sqlite);
    project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
    let _ = project.run(["run"]).expect(3);
    source.run("UPDATE t SET changed_at = '2024-02-01 00:00:00' WHERE id = 69000");
    let _ = project.run(["run"]).expect(3);
    // Let in by the target, which the column does not tell; nor does it of another row.
    target.run(
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, ' CHECK (v <> ''bad'')', '') WHERE name = 't'",
    );
    source.run("UPDATE t SET v = 'unseen' WHERE id = 40000");
    let run = project.run(["run", "--json"]).expect(0);
    assert_eq!(counts(&run, &["inserted", "updated", "unchanged"]), [2, 0, u64::from(ROWS) - 2]);
}

#[test]
fn rows_that_the_ledger_knows_to_be_wrong_are_written_though_the_column_tells_nothing() {
    for ((from, to), ()) in crosswise([()]) {
        let project = Project::new();
        let (source, target) = (filled(&project, from), Database::new(to, project.path(), "target"));
        project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
        project.copy();
        change(&source, 1, "'2024-02-01 00:00:00'");
        project.copy();
        target.run("UPDATE t SET v = 'other' WHERE id = 50000; DELETE FROM t WHERE id = 50001");
        let _ = project.run(["verify", "--repair"]).expect(0);
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn what_an_adoption_finds_different_is_written_though_the_column_tells_nothing() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (filled(&project, from), Database::new(to, project.path(), "target"));
        project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
        fill(&target, to);
        change(&source, 1, "'2024-02-01 00:00:00'");
        change(&target, 1, "'2024-02-01 00:00:00'");
        change(&target, 60_000, "'2024-01-01 00:00:00'");
        let adopted = project.run(["adopt", "--json"]).expect(0).json();
        assert_eq!(adopted["entities"][0]["different"], 1, "{from:?} to {to:?}: {adopted}");
        assert_eq!(project.copy()["entities"][0]["updated"], 1, "{from:?} to {to:?}");
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn rows_that_another_filter_lets_in_arrive_though_they_are_older() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let moment = if from == Engine::Sqlite { "text" } else { "timestamp" };
        source.run(&format!(
            "CREATE TABLE t (id integer PRIMARY KEY, user_id integer NOT NULL, changed_at {moment});
             INSERT INTO t VALUES (1, 1, '2024-01-01 00:00:00'), (2, 2, '2024-02-01 00:00:00')"
        ));
        let target = Database::new(to, project.path(), "target");
        let job = "mode = \"replace\"\nstrategy = \"cursor\"\ncursor = { column = \"changed_at\" }\n\
                   [[jobs.copy.entities]]\nsource = \"t\"\nwhere = \"user_id = :user\"\n";
        project.write_job(&source.url(), &target.url(), job);
        for (user, counted) in [(2, [1, 0]), (2, [0, 1]), (1, [1, 0]), (1, [0, 1]), (2, [0, 1])] {
            let run = project.run(["run", "--json", "--param", &format!("user={user}")]).expect(0);
            assert_eq!(counts(&run, &["inserted", "unchanged"]), counted, "{from:?} to {to:?}, user {user}");
        }
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn a_plan_counts_once_what_it_finds_again_where_all_rows_are_read_after_all() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (filled(&project, from), Database::new(to, project.path(), "target"));
        let job = "mode = \"replace\"\ndeletes = { mode = \"hard\", max = \"10\" }\nstrategy = \"cursor\"\n\
                   cursor = { column = \"changed_at\" }\nentities = \"*\"\n";
        project.write_job(&source.url(), &target.url(), job);
        change(&source, 1, "'2024-02-01 00:00:00'");
        project.copy();
        // Gone where rows are read anyway, and where none is.
        source.run("DELETE FROM t WHERE id BETWEEN 11 AND 16 OR id = 60000; INSERT INTO t VALUES (17000000, 'new', NULL)");
        source.run("UPDATE t SET v = 'third' WHERE id = 1");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let whole = project.run(["plan", "--json", "--strategy", "full"]).expect(0).json();
        for what in ["hash", "estimated_bytes"] {
            assert_eq!(plan[what], whole[what], "{from:?} to {to:?}, {what}: {plan}");
        }
        for count in ["inserted", "updated", "deleted", "unchanged"] {
            assert_eq!(plan["changes"][0][count], whole["changes"][0][count], "{from:?} to {to:?}, {count}: {plan}");
        }
        let samples = |of: &serde_json::Value| of["changes"][0]["samples"].as_array().map(Vec::len);
        assert_eq!(samples(&plan), samples(&whole), "{from:?} to {to:?}: {plan}");
        let run = project.run(["run", "--json", "--plan", plan["hash"].as_str().expect("a hash")]).expect(0);
        assert_eq!(counts(&run, &["inserted", "updated", "deleted"]), [1, 1, 7], "{from:?} to {to:?}");
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn rows_of_a_small_last_block_are_not_new_where_new_ones_join_it() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (filled(&project, from), Database::new(to, project.path(), "target"));
        source.run("DELETE FROM t WHERE id > 3010");
        project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
        change(&source, 1, "'2024-02-01 00:00:00'");
        project.copy();
        change(&source, 1, "'2024-01-01 00:00:00'");
        // The last block is passed over, and written with the new row; then all rows are read, as one is gone.
        source.run("INSERT INTO t VALUES (4000, 'new', '2024-01-01 00:00:00'); DELETE FROM t WHERE id = 7");
        let run = project.run(["run", "--json"]).expect(0);
        run.says(&["all rows are read: some have come or gone"]);
        assert_eq!(counts(&run, &["inserted", "updated", "unchanged"]), [1, 1, 3008], "{from:?} to {to:?}");
        target.assert_holds(&source, &["t"]);
    }
}

#[test]
fn a_repair_finds_what_the_column_does_not_tell() {
    let project = Project::new();
    let (source, target) = (filled(&project, Engine::Sqlite), Database::new(Engine::Sqlite, project.path(), "target"));
    project.write_job(&source.url(), &target.url(), &settings("cursor = { column = \"changed_at\" }"));
    project.copy();
    source.run("DELETE FROM t WHERE id IN (60000, 60001)");
    // All others are older from now on.
    change(&source, 1_500, "'2024-02-01 00:00:00'");
    project.copy();
    // As many have gone as have come, and those are old.
    source.run(
        "DELETE FROM t WHERE id IN (50000, 50001);
         INSERT INTO t VALUES (60000, 'old', '2023-01-01 00:00:00'), (60001, 'old', '2023-01-01 00:00:00');
         UPDATE t SET v = 'second' WHERE id = 55000",
    );
    assert_eq!(project.copy()["entities"][0]["unchanged"], ROWS - 2, "nothing tells of it");
    let _ = project.run(["verify"]).expect(4);
    let _ = project.run(["verify", "--repair"]).expect(0);
    source.assert_holds(&target, &["t"]);
    assert_eq!(project.copy()["entities"][0]["unchanged"], ROWS - 2);
}
