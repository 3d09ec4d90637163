//! What a replay, or a run that ends anywhere, leaves open: later runs, which read what has changed at the source alone, do not pass over it.

use super::bench::{Bench, NONE, held, put};
use migrate_core::ErrorKind;
use migrate_core::job::{ExecutionState, Mode};
use migrate_core::memory::Call;

/// A department that is refused, as somebody else's has its floor, with one that is there and its employee.
async fn refused(mode: Mode, head: i64) -> Bench {
    let mut bench = Bench::cycle(mode);
    // In one part, so that the ledger has rows behind the one that is refused.
    bench.options = bench.options.with_part_bytes(1 << 20);
    put(&bench.to, "department", &[99, NONE, 7]);
    put(&bench.from, "department", &[1, head, 7]);
    put(&bench.from, "department", &[2, NONE, 20]);
    put(&bench.from, "employee", &[2, 2, NONE]);
    assert_eq!(bench.copy().await.quarantined, 1);
    bench
}

#[tokio::test]
async fn a_row_that_is_sent_again_with_its_parent_gets_it_in_the_same_replay() {
    for mode in [Mode::Replace, Mode::Update, Mode::Append] {
        let bench = refused(mode, 5).await;
        // Refused for want of its department.
        put(&bench.from, "employee", &[5, 1, NONE]);
        assert_eq!(bench.copy().await.quarantined, 2);
        put(&bench.to, "department", &[99, NONE, 9]);
        let counters = bench.replay().await;
        assert_eq!((counters.read, counters.inserted, counters.pending), (2, 2, 0), "{mode}: {counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [5, 7], "{mode}");
        assert_eq!(held(&bench.to, "employee"), held(&bench.from, "employee"), "{mode}");
        let again = bench.copy().await;
        assert_eq!(again.unchanged + again.skipped, 4, "P4: {mode} {again:?}");
    }
}

#[tokio::test]
async fn a_row_that_a_replay_has_written_without_its_parent_is_completed_by_the_run_that_brings_it() {
    for mode in [Mode::Replace, Mode::Update, Mode::Append] {
        let bench = refused(mode, 5).await;
        put(&bench.to, "department", &[99, NONE, 9]);
        let counters = bench.replay().await;
        assert_eq!((counters.read, counters.inserted, counters.pending), (1, 1, 1), "{mode}: {counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [NONE, 7], "{mode}");
        assert_eq!(bench.run().await.status, ExecutionState::Partial, "it still waits, {mode}");
        put(&bench.from, "employee", &[5, 1, NONE]);
        assert_eq!(bench.copy().await.pending, 0, "{mode}");
        assert_eq!(held(&bench.to, "department")[&1], [5, 7], "{mode}");
        let again = bench.copy().await;
        assert_eq!(again.unchanged + again.skipped, 4, "P4: {mode} {again:?}");
    }
}

#[tokio::test]
async fn a_conflict_that_a_replay_has_found_is_reported_by_every_run_until_it_is_settled() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, NONE, 10]);
    put(&bench.from, "department", &[2, NONE, 50]);
    bench.copy().await;
    put(&bench.to, "department", &[99, NONE, 20]);
    put(&bench.from, "department", &[1, NONE, 20]);
    assert_eq!(bench.copy().await.quarantined, 1);
    put(&bench.to, "department", &[99, NONE, 7]);
    put(&bench.to, "department", &[1, NONE, 30]);
    let counters = bench.replay().await;
    assert_eq!((counters.read, counters.conflicts, counters.quarantined), (1, 1, 0), "{counters:?}");
    for _ in 0..2 {
        assert_eq!(bench.copy().await.conflicts, 1);
    }
    put(&bench.to, "department", &[1, NONE, 20]);
    for _ in 0..2 {
        assert_eq!(bench.copy().await.conflicts, 0);
    }
}

#[tokio::test]
async fn a_row_that_a_replay_in_mode_append_has_skipped_is_written_once_the_mode_is_another() {
    let mut bench = Bench::cycle(Mode::Replace);
    put(&bench.from, "department", &[1, NONE, 10]);
    put(&bench.from, "employee", &[2, 1, NONE]);
    put(&bench.from, "employee", &[3, 1, NONE]);
    bench.copy().await;
    // Refused for a department that somebody else brings.
    put(&bench.from, "employee", &[2, 77, NONE]);
    assert_eq!(bench.copy().await.quarantined, 1);
    put(&bench.to, "department", &[77, NONE, 70]);
    bench.job.mode = Mode::Append;
    let counters = bench.replay().await;
    assert_eq!((counters.read, counters.skipped), (1, 1), "{counters:?}");
    bench.job.mode = Mode::Replace;
    assert_eq!(bench.copy().await.updated, 1);
    assert_eq!(held(&bench.to, "employee"), held(&bench.from, "employee"));
}

#[tokio::test]
async fn a_row_that_a_run_has_let_in_without_its_parent_before_it_failed_is_completed_later() {
    for mode in [Mode::Replace, Mode::Update, Mode::Append] {
        let mut nth = 0;
        loop {
            nth += 1;
            let bench = refused(mode, 5).await;
            put(&bench.to, "department", &[99, NONE, 9]);
            bench.to.faults().fail(Call::Commit, nth, ErrorKind::Internal);
            let failed = bench.run().await.error.is_some();
            bench.to.faults().clear();
            assert_eq!(bench.copy().await.pending, 1, "{mode}, commit {nth}");
            put(&bench.from, "employee", &[5, 1, NONE]);
            assert_eq!(bench.copy().await.pending, 0, "{mode}, commit {nth}");
            assert_eq!(held(&bench.to, "department")[&1], [5, 7], "{mode}, commit {nth}");
            if !failed {
                break;
            }
        }
        assert!(nth > 2, "the row is there before the run has ended");
    }
}
