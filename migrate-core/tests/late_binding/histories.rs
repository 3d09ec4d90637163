//! Random histories: edits at the source, and runs that are cut off.

use crate::bench::{Bench, NONE, held, put, sum};
use migrate_core::ErrorKind;
use migrate_core::job::{Mode, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase};
use proptest::prelude::*;

/// What the source does between two runs.
#[derive(Debug, Clone)]
enum Edit {
    Department(i64, i64),
    Employee(i64, i64, i64),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (1i64..12, 1i64..60).prop_map(|(id, head)| Edit::Department(id, head)),
        (1i64..60, 1i64..12, prop_oneof![Just(NONE), 1i64..60]).prop_map(|(id, d, boss)| Edit::Employee(id, d, boss)),
    ];
    proptest::collection::vec(edit, 1..25)
}

fn apply(database: &MemoryDatabase, edits: &[Edit], mode: Mode) {
    for edit in edits {
        let (table, row) = match edit {
            Edit::Department(id, head) => ("department", [*id, *head, NONE]),
            Edit::Employee(id, department, boss) => ("employee", [*id, *department, *boss]),
        };
        // `append` leaves rows alone that have changed.
        if mode != Mode::Append || !held(database, table).contains_key(&row[0]) {
            put(database, table, &row);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// P1 to P4 with live cycles: wherever runs are cut off, all references arrive, and none for which there is no parent.
    #[test]
    fn after_any_history_of_cuts_and_edits_every_reference_is_there_or_pending(
        history in proptest::collection::vec((edits(), proptest::collection::vec(1u64..9, 0..3)), 1..5),
        mode in prop_oneof![Just(Mode::Replace), Just(Mode::Update), Just(Mode::Append), Just(Mode::Init)],
        batch in 2u64..40,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::cycle(mode);
            bench.options = RunOptions::new().with_batch_rows(batch);
            for id in 1..12 {
                put(&bench.from, "department", &[id, 61 - id, NONE]);
            }
            for (edits, cuts) in history {
                apply(&bench.from, &edits, mode);
                for cut in cuts {
                    bench.to.faults().fail(Call::Commit, cut, ErrorKind::Internal);
                    let cut = bench.run().await;
                    if cut.error.is_none() {
                        sum(&cut);
                    }
                }
                bench.to.faults().clear();
                let counters = bench.copy().await;
                assert_eq!(counters.quarantined, 0, "{mode} {counters:?}");
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
                assert_eq!((again.inserted, again.updated, again.pending), (0, 0, pending), "P4: {mode} {again:?}");
            }
        });
    }
}
