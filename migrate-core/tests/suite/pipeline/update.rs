//! Mode `update` against a model: both sides are edited.

use super::*;
use migrate_core::job::{Mode, OnConflict};

/// A row of the model: id, name, n.
type Model = BTreeMap<i64, (i64, i64)>;

fn model_row(key: i64, (name, n): (i64, i64)) -> Vec<Value<'static>> {
    vec![Value::Int(key), Value::Text(format!("name {name}").into()), Value::Int(n)]
}

fn put(database: &MemoryDatabase, rows: &Model) {
    database.delete("t", |_| true).expect("the table is there");
    for (key, cells) in rows {
        database.insert("t", model_row(*key, *cells)).expect("the row fits");
    }
}

/// What mode `update` makes of one column, and whether a conflict stays open.
fn merged(base: i64, source: i64, target: i64, policy: OnConflict) -> (i64, bool) {
    match (source != base, target != base) {
        (false, _) => (target, false),
        (true, false) => (source, false),
        (true, true) if source == target => (target, false),
        (true, true) => match policy {
            OnConflict::Source => (source, false),
            OnConflict::Target => (target, false),
            _ => (target, true),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What was edited in the target alone survives, what was edited at the source alone arrives, and the rest goes by the policy.
    #[test]
    fn update_writes_what_the_source_changed_and_keeps_what_the_target_changed(
        first in proptest::collection::btree_map(0i64..400, (0i64..3, 0i64..3), 1..300),
        rounds in proptest::collection::vec(
            (
                proptest::collection::vec((0i64..400, proptest::bool::ANY, 0i64..4), 0..60),
                proptest::collection::vec((0i64..400, proptest::bool::ANY, 0i64..4), 0..60),
            ),
            1..4,
        ),
        policy in prop_oneof![Just(OnConflict::Source), Just(OnConflict::Target), Just(OnConflict::Report)],
        batch in 7u64..200,
        parts in 1usize..4,
        strategy in strategies(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::new(&BTreeMap::new());
            bench.job = bench.job.clone().with_mode(Mode::Update).with_on_conflict(policy);
            bench.options = RunOptions::new().with_batch_rows(batch).with_strategy(strategy).with_parallel(parts).with_part_bytes(1);
            let (mut source, mut base): (Model, Model) = (first.clone(), first.clone());
            let mut target: Model = first;
            put(&bench.from, &source);
            bench.counters().await;
            for (at_source, at_target) in rounds {
                let edit = |rows: &mut Model, edits: &Vec<(i64, bool, i64)>| {
                    for (key, name, value) in edits {
                        if let Some(row) = rows.get_mut(key) {
                            *if *name { &mut row.0 } else { &mut row.1 } = *value;
                        }
                    }
                };
                edit(&mut source, &at_source);
                edit(&mut target, &at_target);
                put(&bench.from, &source);
                put(&bench.to, &target);
                let mut open = 0;
                for (key, new) in &source {
                    let (old, there) = (base[key], target[key]);
                    let (name, n) = (merged(old.0, new.0, there.0, policy), merged(old.1, new.1, there.1, policy));
                    target.insert(*key, (name.0, n.0));
                    base.insert(*key, (if name.1 { old.0 } else { new.0 }, if n.1 { old.1 } else { new.1 }));
                    open += u64::from(name.1 || n.1);
                }
                for what in ["the first time", "again"] {
                    let report = bench.run().await.expect("the run begins");
                    assert_eq!(report.error, None);
                    let counters = balanced(&report);
                    assert_eq!(counters.conflicts, open, "{what}");
                    let expected: BTreeMap<i64, Row> = target.iter().map(|(k, v)| (*k, model_row(*k, *v))).collect();
                    assert_eq!(held(&bench.to), expected, "{what}");
                    if what == "again" {
                        assert_eq!((counters.inserted, counters.updated), (0, 0), "P4");
                    }
                }
            }
        });
    }
}
