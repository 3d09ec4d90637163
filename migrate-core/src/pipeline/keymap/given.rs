//! Ids that this attempt has given, as runs: what follows one another at the source has got numbers that follow one another.
//!
//! Children are loaded after their parents, and refer to them in no order: asking the target for each parent's new id costs as much as
//! writing the child. Numbers that were drawn for rows in order make few runs, so that an attempt can know them all; what it does not
//! know, the target is asked for.

use crate::state::KeyMapChanges;
use crate::value::{Key, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Runs that are remembered of each entity: about 2 MiB.
const RUNS: usize = 32_768;

/// Ids of the source that follow one another, and what the target has given for the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Run {
    source: i64,
    target: i64,
    length: i64,
}

impl Run {
    /// Returns whether an entry goes on where this run ends.
    fn is_followed_by(&self, source: i64, target: i64) -> bool {
        let next = |first: i64| first.checked_add(self.length);
        next(self.source) == Some(source) && next(self.target) == Some(target)
    }
}

/// What one attempt has given, by entity.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct Given(Mutex<HashMap<String, BTreeMap<i64, Run>>>);

impl Given {
    /// Packs new entries; those that are no numbers are left out.
    pub(in crate::pipeline) fn pack(entries: &[(Key, Key)]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (source, target) in entries {
            let (Some(source), Some(target)) = (source.as_int(), target.as_int()) else { continue };
            match runs.last_mut() {
                Some(last) if last.is_followed_by(source, target) => last.length += 1,
                _ => runs.push(Run { source, target, length: 1 }),
            }
        }
        runs
    }

    /// Takes note of entries that were committed for rows which had none before.
    pub(in crate::pipeline) fn note(&self, entity: &str, runs: Vec<Run>) {
        if runs.is_empty() {
            return;
        }
        let mut maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = maps.entry(entity.to_owned()).or_default();
        for run in runs {
            let room = known.len() < RUNS;
            match known.range_mut(..=run.source).next_back() {
                Some((_, before)) if before.is_followed_by(run.source, run.target) => before.length += run.length,
                _ if room => drop(known.insert(run.source, run)),
                _ => {}
            }
        }
    }

    /// Forgets an entity's entries, some of which are no longer true.
    pub(in crate::pipeline) fn forget(&self, entity: &str, changes: &KeyMapChanges) {
        if changes.reset || !changes.gone.is_empty() || !changes.gone_targets.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(entity);
        }
    }

    /// Moves ids of the source to what was given for them; leaves those that nothing is known of.
    pub(super) fn take_known(&self, entity: &str, unknown: &mut Vec<Key>, found: &mut HashMap<Key, Value<'static>>) {
        let maps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = maps.get(entity) else { return };
        unknown.retain(|key| {
            let Some(source) = key.as_int() else { return true };
            let Some((_, run)) = known.range(..=source).next_back() else { return true };
            // The distance of two numbers of which the second is not smaller fits, or is beyond any run.
            let Some(distance) = source.checked_sub(run.source).filter(|distance| *distance < run.length) else { return true };
            found.insert(key.clone(), Value::Int(run.target + distance));
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: i64) -> Key {
        Key::from_values([&Value::Int(id)])
    }

    fn known(given: &Given, ids: &[i64]) -> (Vec<(i64, i64)>, usize) {
        let (mut unknown, mut found) = (ids.iter().map(|id| key(*id)).collect(), HashMap::new());
        given.take_known("a", &mut unknown, &mut found);
        let value = |value: &Value<'_>| if let Value::Int(id) = value { *id } else { i64::MIN };
        let mut pairs: Vec<(i64, i64)> = found.iter().map(|(key, id)| (key.as_int().expect("a number"), value(id))).collect();
        pairs.sort_unstable();
        (pairs, unknown.len())
    }

    #[test]
    fn numbers_that_follow_one_another_are_one_run() {
        let given = Given::default();
        let entries: Vec<(Key, Key)> = (1..=500).map(|id| (key(id), key(id + 9_000))).collect();
        for some in entries.chunks(100) {
            given.note("a", Given::pack(some));
        }
        assert_eq!(given.0.lock().expect("no panic")["a"].len(), 1);
        assert_eq!(known(&given, &[0, 1, 250, 500, 501]), (vec![(1, 9_001), (250, 9_250), (500, 9_500)], 2));
        assert!(Given::pack(&[(Key::from_values([&Value::Text("a".into())]), key(1))]).is_empty(), "no numbers");
    }

    #[test]
    fn entries_that_go_take_all_that_is_remembered_with_them() {
        let given = Given::default();
        given.note("a", Given::pack(&[(key(1), key(11))]));
        given.forget("a", &KeyMapChanges { entries: vec![(key(2), key(12))], ..KeyMapChanges::default() });
        assert_eq!(known(&given, &[1]).1, 0);
        given.forget("a", &KeyMapChanges { gone: vec![key(7)], ..KeyMapChanges::default() });
        assert_eq!(known(&given, &[1]).1, 1);
    }

    proptest! {
        #[test]
        fn what_is_known_is_what_was_given(
            sources in proptest::collection::btree_set(prop_oneof![-30i64..30, i64::MIN..i64::MIN + 5, i64::MAX - 5..=i64::MAX], 0..40),
            gaps in proptest::collection::vec(1i64..3, 40),
            asked in proptest::collection::vec(prop_oneof![-35i64..35, i64::MIN..i64::MIN + 5, i64::MAX - 5..=i64::MAX], 0..40),
            together in 1usize..9,
        ) {
            let mut next = 100;
            let ids = gaps.iter().map(|gap| { next += gap; next });
            let all: BTreeMap<i64, i64> = sources.into_iter().zip(ids).collect();
            let entries: Vec<(Key, Key)> = all.iter().map(|(source, target)| (key(*source), key(*target))).collect();
            let given = Given::default();
            for some in entries.chunks(together) {
                given.note("a", Given::pack(some));
            }
            let asked: std::collections::BTreeSet<i64> = asked.into_iter().collect();
            let expected: Vec<(i64, i64)> = asked.iter().filter_map(|id| all.get(id).map(|target| (*id, *target))).collect();
            let missing = asked.len() - expected.len();
            prop_assert_eq!(known(&given, &asked.into_iter().collect::<Vec<_>>()), (expected, missing));
        }
    }
}
