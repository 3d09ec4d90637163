//! Memory is bounded (P6), whatever is copied.

use migrate_tests::{Postgres, Project, Server, Sqlite};

const MIB: u64 = 1 << 20;

#[test]
fn a_table_of_many_rows_takes_no_more_memory_than_one_of_few() {
    let source = Postgres::new(Server::First);
    let fill = |count: u32| {
        source.run(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, v text); \
             INSERT INTO t SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, {count}) i"
        ));
    };
    let mut peaks = Vec::new();
    for count in [5_000, 200_000] {
        fill(count);
        let target = Postgres::new(Server::Second);
        let project = Project::copying(&source.url(), &target.url());
        for _first_and_second_run in 0..2 {
            let (run, peak) = project.run_measured(["run", "--json"]);
            let _ = run.expect(0);
            peaks.push(peak);
        }
        assert_eq!(target.count("SELECT count(*) FROM t"), u64::from(count));
        let sqlite = Project::copying(&source.url(), "sqlite:target.sqlite");
        let (run, peak) = sqlite.run_measured(["run", "--json"]);
        let _ = run.expect(0);
        peaks.push(peak);
        assert_eq!(Sqlite::new(sqlite.path().join("target.sqlite")).count("SELECT count(*) FROM t"), u64::from(count));
    }
    assert!(peaks.iter().all(|peak| *peak > 0 && *peak < 64 * MIB), "{peaks:?}");
}

#[test]
fn rows_without_a_key_are_counted_in_the_same_memory_however_many_they_are() {
    // Nearly as many different rows as are counted, and more.
    for (count, counted) in [(450_000, true), (500_000, false)] {
        let project = Project::new();
        let source = Sqlite::new(project.path().join("a.db"));
        source.run(&format!(
            "CREATE TABLE q (n INTEGER, v TEXT);
             INSERT INTO q WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i, 'row ' || i FROM n"
        ));
        let middle = Postgres::new(Server::First);
        let end = Sqlite::new(project.path().join("b.db"));
        for change in ["", "DELETE FROM q WHERE n <= 10; UPDATE q SET v = 'new' WHERE n <= 20"] {
            source.run(change);
            for (from, to) in [(source.url(), middle.url()), (middle.url(), end.url())] {
                project.write_job(&from, &to, "mode = \"replace\"\ndeletes = \"hard\"\nentities = \"*\"\n");
                let (run, peak) = project.run_measured(["run", "--json"]);
                let report = run.expect(0).json();
                assert!(peak > 0 && peak < 64 * MIB, "{count} rows, {from} to {to}, {change:?}: {} MiB", peak / MIB);
                let inserted = if change.is_empty() || !counted { source.count("SELECT count(*) FROM q") } else { 10 };
                assert_eq!(report["entities"][0]["inserted"], inserted, "{report}");
                println!("{count} rows, {from} to {to}, {change:?}: {} MiB", peak / MIB);
            }
        }
        assert_eq!(end.count("SELECT count(*) FROM q WHERE v = 'new'"), 10);
    }
}

#[test]
fn refused_rows_take_no_memory_however_large_and_many_they_are() {
    let project = Project::new();
    let (source, target) = (Sqlite::new(project.path().join("a.db")), Sqlite::new(project.path().join("b.db")));
    source.run(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT, b TEXT); CREATE TABLE q (a TEXT, b TEXT);
         INSERT INTO p WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             SELECT i, NULL, hex(zeroblob(1000000)) FROM n;
         INSERT INTO q SELECT a, b FROM p",
    );
    target.run(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT); CREATE TABLE q (a TEXT NOT NULL, b TEXT);
                CREATE TABLE other (id INTEGER PRIMARY KEY)",
    );
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nmax_quarantined = 1000\n");
    for _first_and_second_run in 0..2 {
        let (run, peak) = project.run_measured(["run", "--json"]);
        assert_eq!(run.code, Some(1), "every row was refused: {}", run.stderr);
        assert!(peak < (64 + 3 * 2) * MIB, "{} MiB", peak / MIB);
    }
    assert_eq!(target.count("SELECT count(*) FROM _migrate_quarantine"), 200);
}

#[test]
fn a_cell_of_a_hundred_megabytes_passes() {
    const SIZE: u64 = 100_000_000;
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB, w TEXT); INSERT INTO t VALUES (1, x'01', 'a'), (2, zeroblob({SIZE}), 'b'), (3, x'02', 'c')"));
    let (middle, end) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    let back = Sqlite::new(project.path().join("back.sqlite"));
    for (from, to) in [(source.url(), middle.url()), (middle.url(), end.url()), (end.url(), back.url())] {
        project.write_job(&from, &to, "mode = \"replace\"\nentities = \"*\"\n");
        let (run, peak) = project.run_measured(["run", "--json"]);
        let report = run.expect(0).json();
        assert_eq!(report["entities"][0]["inserted"], 3, "{report}");
        assert!(peak < 64 * MIB + 3 * SIZE, "{from} → {to}: {} MiB", peak / MIB);
    }
    for database in [&middle, &end] {
        assert_eq!(database.count("SELECT sum(length(v)) FROM t"), SIZE + 2);
    }
    assert_eq!(back.count("SELECT count(*) FROM t WHERE (id = 2 AND v = zeroblob(100000000)) OR hex(v) IN ('01', '02')"), 3);
}
