//! The benchmark works: a small run of every case, each result compared row by row.

use migrate_benches::{Settings, run};

#[test]
fn every_case_is_measured_and_its_copy_compared_at_a_small_size() {
    // The binary that the other tests run, where they say so: a debug build is fast enough for a few thousand rows.
    let program = std::env::var_os("MIGRATE_BIN").map(Into::into);
    let table = run(&Settings { program, ..Settings::quick() }).expect("all cases run and their copies are right");
    assert_eq!(table.lines().len(), 28);
    for line in table.lines() {
        assert!(line.limit() > 0.0 && line.ours() > 0.0 && line.ratio() > 0.0, "{} was not timed", line.name());
        assert!(!cfg!(target_os = "linux") || line.peak() > 1_000, "the memory of {} was not watched", line.name());
    }
    let printed = table.to_string();
    assert_eq!(printed.lines().filter(|l| l.starts_with("| ")).count(), 29, "{printed}");
}
