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
