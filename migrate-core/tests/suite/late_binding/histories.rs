//! Random histories: edits at the source, and runs that are cut off.

use super::bench::{Bench, NONE, held, put, sum};
use migrate_core::ErrorKind;
use migrate_core::job::{self, DeleteGuard, DeleteMode, Deletes, Mode, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase};
use migrate_core::value::Value;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What the source does between two runs.
#[derive(Debug, Clone)]
enum Edit {
    /// A department and its head.
    Department(i64, i64),
    /// An employee, the department and the boss.
    Employee(i64, i64, i64),
    /// Two departments swap their floors, which no two may share.
    Swap(i64, i64),
    /// A department goes, with all who are in it.
    Close(i64),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        6 => (1i64..12, 1i64..60).prop_map(|(id, head)| Edit::Department(id, head)),
        12 => (1i64..60, 1i64..12, prop_oneof![Just(NONE), 1i64..60]).prop_map(|(id, d, boss)| Edit::Employee(id, d, boss)),
        2 => (1i64..12, 1i64..12).prop_map(|(one, other)| Edit::Swap(one, other)),
        1 => (1i64..12).prop_map(Edit::Close),
    ];
    proptest::collection::vec(edit, 1..25)
}

/// What edits are to keep clear of, as it cannot be brought over in one run.
#[derive(Debug, Default)]
struct Limits {
    /// Employees that have gone: nobody refers to them again before they are back, or the target would keep them.
    left: BTreeSet<i64>,
    /// Whether floors were swapped since the last run: a row that is refused for the floor of one that goes may be what holds that.
    swapped: bool,
}

fn apply(database: &MemoryDatabase, edits: &[Edit], mode: Mode, limits: &mut Limits) {
    let Limits { left, swapped } = limits;
    for edit in edits {
        let departments = held(database, "department");
        let floor = |id: &i64| departments.get(id).map_or(NONE, |row| row[1]);
        let person = |id: &i64| if left.contains(id) { NONE } else { *id };
        match edit {
            Edit::Department(id, head) => write(database, "department", &[*id, person(head), floor(id)], mode),
            Edit::Employee(id, department, boss) => {
                if !departments.contains_key(department) {
                    write(database, "department", &[*department, NONE, NONE], mode);
                }
                write(database, "employee", &[*id, *department, person(boss)], mode);
                left.remove(id);
            }
            Edit::Swap(one, other) => {
                *swapped = true;
                for (id, floor) in [(one, floor(other)), (other, floor(one))] {
                    if let Some(row) = departments.get(id) {
                        write(database, "department", &[*id, row[0], floor], mode);
                    }
                }
            }
            Edit::Close(id) if !*swapped && (mode == Mode::Replace || mode == Mode::Update) => left.extend(close(database, *id)),
            Edit::Close(_) => {}
        }
    }
}

fn write(database: &MemoryDatabase, table: &str, row: &[i64], mode: Mode) {
    // `append` leaves rows alone that have changed.
    if mode != Mode::Append || !held(database, table).contains_key(&row[0]) {
        put(database, table, row);
    }
}

/// Deletes a department and whoever is in it; nobody refers to them any more.
fn close(database: &MemoryDatabase, department: i64) -> Vec<i64> {
    let staff = held(database, "employee").into_iter().filter(|(_, row)| row[0] == department);
    let ids: Vec<i64> = staff.map(|(id, _)| id).collect();
    let staff: Vec<Value<'static>> = ids.iter().map(|id| Value::Int(*id)).collect();
    for (table, place) in [("department", 1), ("employee", 2)] {
        let leave = |row: &mut Vec<Value<'static>>| {
            let refers = staff.contains(&row[place]);
            if refers {
                row[place] = Value::Null;
            }
            refers
        };
        database.update(table, leave).expect("the column may be empty");
    }
    database.delete("employee", |row| staff.contains(&row[0])).expect("the table is there");
    database.delete("department", |row| row[0] == Value::Int(department)).expect("the table is there");
    ids
}

/// Runs to the end: every reference is there whose parent is, every other one is NULL and counted, and nothing else is left.
async fn assert_complete(bench: &Bench, mode: Mode) {
    bench.to.faults().clear();
    let counters = bench.copy().await;
    assert_eq!((counters.quarantined, counters.conflicts), (0, 0), "{mode} {counters:?}");
    let staff = held(&bench.from, "employee");
    let known = |id: i64| if staff.contains_key(&id) { id } else { NONE };
    let mut pending = 0;
    for (table, place) in [("department", 0), ("employee", 1)] {
        let mut expected = held(&bench.from, table);
        for row in expected.values_mut() {
            pending += u64::from(row[place] != known(row[place]));
            row[place] = known(row[place]);
        }
        assert_eq!(held(&bench.to, table), expected, "{mode} {table}");
    }
    assert_eq!(counters.pending, pending, "{mode} {counters:?}");
    let again = bench.copy().await;
    let changes = again.inserted + again.updated + again.deleted;
    assert_eq!((changes, again.pending), (0, pending), "P4: {mode} {again:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// P1 to P4 with live cycles: wherever runs are cut off and whatever happens before they go on.
    #[test]
    fn after_any_history_of_cuts_and_edits_every_reference_is_there_or_pending(
        history in proptest::collection::vec((edits(), proptest::option::of(1u64..12)), 1..8),
        mode in prop_oneof![Just(Mode::Replace), Just(Mode::Update), Just(Mode::Append), Just(Mode::Init)],
        batch in 2u64..40,
        parts in 1usize..4,
        strategy in prop_oneof![Just(job::Strategy::Auto), Just(job::Strategy::Ledger)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::cycle(mode);
            bench.options = RunOptions::new().with_batch_rows(batch).with_strategy(strategy).with_parallel(parts).with_part_bytes(1);
            bench.job = bench.job.with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Percent(100.0)));
            for id in 1..12 {
                put(&bench.from, "department", &[id, 61 - id, id * 10]);
            }
            let mut limits = Limits::default();
            for (edits, cut) in history {
                apply(&bench.from, &edits, mode, &mut limits);
                let Some(cut) = cut else {
                    assert_complete(&bench, mode).await;
                    limits.swapped = false;
                    continue;
                };
                bench.to.faults().fail(Call::Commit, cut, ErrorKind::Internal);
                let report = bench.run().await;
                if report.error.is_none() {
                    sum(&report);
                }
                bench.to.faults().clear();
            }
            assert_complete(&bench, mode).await;
        });
    }
}
