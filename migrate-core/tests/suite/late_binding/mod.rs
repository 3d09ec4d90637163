//! References that close a cycle, on the memory adapter: who waits for a parent, who completes it, and what is counted meanwhile.

mod bench;
mod binds;
mod graphs;
mod histories;
mod replays;

use bench::{Bench, NONE, cycle, held, numbers, people, put, reference, sum};
use migrate_core::ErrorKind;
use migrate_core::job::{DeleteGuard, DeleteMode, Deletes, Entity, ExecutionState, Job, Mode, OnConflict, OrphanPolicy};
use migrate_core::memory::Call;
use migrate_core::value::Value;
use std::collections::BTreeMap;

#[tokio::test]
async fn in_mode_update_a_row_that_was_synced_before_waits_for_its_new_parent_too() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, 2, NONE]);
    put(&bench.from, "employee", &[2, 1, NONE]);
    assert_eq!(bench.copy().await.inserted, 2);
    put(&bench.from, "employee", &[5, 1, NONE]);
    put(&bench.from, "department", &[1, 5, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.updated, counters.quarantined, counters.pending), (1, 1, 0, 0), "{counters:?}");
    bench.assert_equal().await;
}

#[tokio::test]
async fn in_mode_update_a_row_that_waits_stays_pending_for_as_long_as_it_does() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, 77, NONE]);
    put(&bench.from, "employee", &[2, 1, 88]);
    for run in 0..3 {
        let report = bench.run().await;
        let counters = sum(&report);
        assert_eq!((counters.pending, counters.quarantined), (2, 0), "run {run}: {counters:?}");
        assert_eq!(counters.unchanged, if run == 0 { 0 } else { 2 }, "{counters:?}");
        assert_eq!(report.status, ExecutionState::Partial);
    }
    put(&bench.from, "employee", &[77, 1, 88]);
    put(&bench.from, "employee", &[88, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.updated, counters.pending), (2, 2, 0), "{counters:?}");
    bench.assert_equal().await;
}

#[tokio::test]
async fn in_mode_update_what_others_changed_in_a_row_that_waits_stays_theirs() {
    for policy in [OnConflict::Report, OnConflict::Source, OnConflict::Target] {
        let mut bench = Bench::cycle(Mode::Update);
        bench.job = bench.job.with_on_conflict(policy);
        put(&bench.from, "department", &[1, 2, 10]);
        put(&bench.from, "employee", &[2, 1, NONE]);
        bench.copy().await;
        // WHEN the source gives the department a head that comes later, and somebody gives it another floor
        put(&bench.to, "department", &[1, 2, 30]);
        put(&bench.from, "department", &[1, 5, 10]);
        assert_eq!(bench.copy().await.pending, 1);
        assert_eq!(held(&bench.to, "department")[&1], [NONE, 30]);
        put(&bench.from, "employee", &[5, 1, NONE]);
        let counters = bench.copy().await;
        assert_eq!((counters.updated, counters.pending, counters.conflicts), (1, 0, 0), "{policy:?} {counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [5, 30], "{policy:?}");
    }
}

#[tokio::test]
async fn in_mode_update_a_conflict_stays_open_in_a_row_that_waits() {
    let bench = Bench::cycle(Mode::Update);
    put(&bench.from, "department", &[1, 2, 10]);
    put(&bench.from, "employee", &[2, 1, NONE]);
    bench.copy().await;
    put(&bench.to, "department", &[1, 2, 30]);
    put(&bench.from, "department", &[1, 5, 20]);
    for _ in 0..2 {
        let counters = bench.copy().await;
        assert_eq!((counters.pending, counters.conflicts), (1, 1), "{counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [NONE, 30]);
    }
    put(&bench.from, "employee", &[5, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.pending, counters.conflicts), (0, 1), "{counters:?}");
    assert_eq!(held(&bench.to, "department")[&1], [5, 30]);
    put(&bench.to, "department", &[1, 5, 20]);
    assert_eq!(bench.copy().await.conflicts, 0);
}

#[tokio::test]
async fn a_row_of_a_cycle_that_was_refused_comes_in_once_it_is_valid() {
    for mode in [Mode::Replace, Mode::Update, Mode::Append] {
        let bench = Bench::cycle(mode);
        // Somebody else's department has the floor.
        put(&bench.to, "department", &[99, NONE, 7]);
        put(&bench.from, "department", &[1, 1, 7]);
        put(&bench.from, "department", &[2, NONE, NONE]);
        put(&bench.from, "employee", &[1, 1, NONE]);
        assert_eq!(bench.copy().await.quarantined, 2);
        assert_eq!(bench.copy().await.quarantined, 2);
        put(&bench.from, "department", &[1, 1, 8]);
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.quarantined, counters.pending), (2, 0, 0), "{mode} {counters:?}");
        assert_eq!(held(&bench.to, "department")[&1], [1, 8]);
        let again = bench.copy().await;
        assert_eq!(again.unchanged + again.skipped, 3, "P4: {mode} {again:?}");
    }
}

#[tokio::test]
async fn a_row_of_a_cycle_that_was_refused_comes_in_once_the_target_would_take_it() {
    let bench = Bench::cycle(Mode::Replace);
    put(&bench.to, "department", &[99, NONE, 7]);
    put(&bench.from, "department", &[1, 1, 7]);
    put(&bench.from, "department", &[2, NONE, NONE]);
    put(&bench.from, "employee", &[1, 1, NONE]);
    assert_eq!(bench.copy().await.quarantined, 2);
    // WHEN not the row changes but what it was refused for
    put(&bench.to, "department", &[99, NONE, 9]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.quarantined, counters.pending), (2, 0, 0), "{counters:?}");
    assert_eq!(held(&bench.to, "department")[&1], [1, 7]);
    assert_eq!(bench.copy().await.unchanged, 3, "P4");
}

#[tokio::test]
async fn in_mode_append_a_later_run_completes_what_this_job_wrote_without_its_parent_and_nothing_else() {
    let bench = Bench::cycle(Mode::Append);
    put(&bench.from, "department", &[1, 77, 10]);
    put(&bench.from, "department", &[2, NONE, 20]);
    put(&bench.from, "employee", &[2, 1, 88]);
    for run in 0..2 {
        let report = bench.run().await;
        let counters = sum(&report);
        assert_eq!((counters.pending, counters.updated), (2, 0), "run {run}: {counters:?}");
        assert_eq!(report.status, ExecutionState::Partial);
    }
    // What somebody has changed meanwhile stays, and so does a row that was complete when it was copied.
    put(&bench.to, "department", &[1, NONE, 11]);
    put(&bench.from, "department", &[2, 77, 21]);
    put(&bench.from, "employee", &[77, 1, NONE]);
    put(&bench.from, "employee", &[88, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.updated, counters.skipped, counters.pending), (2, 2, 1, 0), "{counters:?}");
    assert_eq!(held(&bench.to, "department"), BTreeMap::from([(1, vec![77, 11]), (2, vec![NONE, 20])]));
    assert_eq!(held(&bench.to, "employee"), held(&bench.from, "employee"));
    let again = bench.copy().await;
    assert_eq!((again.updated, again.inserted, again.pending, again.conflicts), (0, 0, 0, 0), "P4: {again:?}");
}

#[tokio::test]
async fn a_refused_row_is_quarantined_whatever_older_version_of_it_the_target_holds() {
    let bench = Bench::cycle(Mode::Replace);
    put(&bench.from, "department", &[1, 1, 10]);
    put(&bench.from, "department", &[2, 1, 20]);
    put(&bench.from, "employee", &[1, 1, NONE]);
    bench.copy().await;
    put(&bench.to, "department", &[99, NONE, 7]);
    // WHEN one row is refused for its floor while another makes the walk go round once more
    put(&bench.from, "department", &[1, 1, 7]);
    put(&bench.from, "department", &[2, 5, 20]);
    put(&bench.from, "employee", &[5, 1, NONE]);
    let counters = bench.copy().await;
    assert_eq!((counters.quarantined, counters.pending, counters.updated), (1, 0, 1), "{counters:?}");
}

#[tokio::test]
async fn every_entity_that_feeds_a_table_is_a_parent_of_those_who_refer_to_it() {
    for order in [["customers", "suppliers", "visit"], ["visit", "suppliers", "customers"], ["suppliers", "visit", "customers"]] {
        let bench = people(order);
        // Each refers to the other, and to a later one of its own.
        for row in [[1, 102], [2, 1], [3, 4], [4, 101]] {
            put(&bench.from, "customers", &row);
        }
        for row in [[101, 3], [102, 103], [103, 102]] {
            put(&bench.from, "suppliers", &row);
        }
        for row in [[1, 4], [2, 103]] {
            put(&bench.from, "visit", &row);
        }
        let counters = bench.copy().await;
        assert_eq!((counters.inserted, counters.quarantined, counters.pending), (9, 0, 0), "{order:?} {counters:?}");
        let parents: BTreeMap<i64, i64> = held(&bench.to, "people").into_iter().map(|(id, row)| (id, row[1])).collect();
        assert_eq!(parents, BTreeMap::from([(1, 102), (2, 1), (3, 4), (4, 101), (101, 3), (102, 103), (103, 102)]), "{order:?}");
        assert_eq!(bench.copy().await.unchanged, 9, "P4");
    }
}

#[tokio::test]
async fn children_of_a_row_that_comes_in_at_the_second_walk_come_in_with_it() {
    let mut tables = cycle();
    let without_head = &mut tables[0].unique_keys[0];
    (without_head.columns, without_head.nulls_not_distinct) = (vec!["head".into()], true);
    let job = Job::new("copy", "from", "to")
        .with_orphans(OrphanPolicy::Allow)
        .with_entity(Entity::new("department"))
        .with_entity(Entity::new("employee"));
    let bench = Bench::new(tables, job.with_mode(Mode::Replace));
    // There may be one department without a head, and there is: others must come in whole.
    put(&bench.to, "department", &[99, NONE, NONE]);
    put(&bench.from, "employee", &[1, 99, NONE]);
    for id in 2..=4 {
        // The head of each is in the department before, and comes in after it.
        put(&bench.from, "department", &[id, id - 1, NONE]);
        put(&bench.from, "employee", &[id, id, NONE]);
    }
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.quarantined, counters.pending), (7, 0, 0), "{counters:?}");
    assert_eq!(bench.copy().await.unchanged, 7, "P4");
}

#[tokio::test]
async fn a_gone_row_that_others_hold_keeps_its_references() {
    let mut badge = numbers("badge", &["id", "employee"]);
    badge.foreign_keys.push(reference("employee", "employee"));
    let mut bench = Bench::cycle(Mode::Replace);
    bench.to.create_table(badge).expect("a new table");
    bench.job = bench.job.with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Percent(100.0)));
    for (id, head) in [(1, 1), (2, 2), (3, 4)] {
        put(&bench.from, "department", &[id, head, id]);
    }
    for (id, department, boss) in [(1, 1, 2), (2, 2, 1), (3, 3, 4), (4, 3, 3), (5, 2, NONE)] {
        put(&bench.from, "employee", &[id, department, boss]);
    }
    bench.copy().await;
    let before = (held(&bench.to, "department"), held(&bench.to, "employee"));
    put(&bench.to, "badge", &[1, 1]);
    bench.from.delete("department", |_| true).expect("the table is there");
    bench.from.delete("employee", |_| true).expect("the table is there");
    let report = bench.run().await;
    let counters = sum(&report);
    // Employee 1 stays, and with it whoever it refers to: its department, its boss and that one's department.
    assert_eq!((counters.deleted, counters.conflicts), (4, 4), "{counters:?}");
    assert_eq!(report.status, ExecutionState::Partial);
    let stay = |rows: &BTreeMap<i64, Vec<i64>>| rows.clone().into_iter().filter(|(id, _)| *id <= 2).collect::<BTreeMap<_, _>>();
    assert_eq!(held(&bench.to, "department"), stay(&before.0));
    assert_eq!(held(&bench.to, "employee"), stay(&before.1));
    bench.to.delete("badge", |_| true).expect("the table is there");
    assert_eq!(bench.copy().await.deleted, 4);
    assert!(held(&bench.to, "department").is_empty() && held(&bench.to, "employee").is_empty());
}

#[tokio::test]
async fn in_mode_update_a_value_that_only_a_gone_row_has_is_taken_over_and_no_conflict() {
    let mut bench = Bench::cycle(Mode::Update);
    bench.job = bench.job.with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Percent(100.0)));
    put(&bench.from, "department", &[1, NONE, 10]);
    put(&bench.from, "department", &[7, NONE, 70]);
    bench.copy().await;
    // WHEN the first takes the floor of the second, which stays until the end of the run
    bench.from.delete("department", |_| true).expect("the table is there");
    put(&bench.from, "department", &[1, NONE, 70]);
    let counters = bench.copy().await;
    assert_eq!((counters.updated, counters.deleted, counters.conflicts), (1, 1, 0), "{counters:?}");
    bench.assert_equal().await;
}

#[tokio::test]
async fn a_row_that_was_refused_for_one_that_this_very_execution_had_brought_comes_in_once_that_is_gone() {
    let mut bench = Bench::cycle(Mode::Replace);
    bench.options = bench.options.with_batch_rows(1);
    bench.job = bench.job.with_deletes(Deletes::new(DeleteMode::Hard));
    put(&bench.from, "department", &[1, NONE, 10]);
    put(&bench.from, "department", &[2, NONE, 20]);
    put(&bench.from, "department", &[3, NONE, 30]);
    bench.to.faults().fail(Call::Commit, 3, ErrorKind::Internal);
    assert!(bench.run().await.error.is_some());
    // WHEN a later row takes the floor of one that was copied already, which goes
    bench.from.delete("department", |row| row[0] == Value::Int(2)).expect("the table is there");
    put(&bench.from, "department", &[3, NONE, 20]);
    let counters = bench.copy().await;
    assert_eq!((counters.inserted, counters.quarantined, counters.deleted), (2, 0, 0), "{counters:?}");
    bench.assert_equal().await;
}
