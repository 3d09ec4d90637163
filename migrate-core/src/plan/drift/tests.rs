use super::*;
use crate::memory::table;

const KEY: (&str, DataType) = ("id", DataType::Int64);

fn seen(columns: &[(&str, DataType)]) -> Vec<SourceColumn> {
    let columns = table("t", columns, &["id"]).columns.into_iter();
    let seen = |c: ColumnSchema| SourceColumn {
        name: c.name,
        native_type: c.native_type,
        data_type: c.data_type,
        portable_type: c.portable_type,
        fate: ColumnFate::Moved,
        key: None,
    };
    columns.map(seen).collect()
}

fn judge(
    policy: DriftPolicy,
    before: &[SourceColumn],
    source: &[(&str, DataType)],
    target: &[(&str, DataType)],
    entity: &Entity,
) -> Judged {
    let (source, target) = (table("t", source, &["id"]), table("t", target, &["id"]));
    let key = ["id".to_owned()];
    let case = Case { entity, policy, source: &source, key: &key, target: Some(&target), mark: None, remembered: Some(before) };
    case.judge().expect("the target's columns have names of their own")
}

#[test]
fn each_change_goes_by_the_policy_and_by_what_the_target_has() {
    use DriftAction::{AddedToTarget, Kept, LeftOut, Moved, Refused};
    use DriftPolicy::{Evolve, Ignore, Refuse};
    let (a, b) = (("a", DataType::Int32), ("b", DataType::Int32));
    let (long, short) = (("a", DataType::Int64), ("a", DataType::Int16));
    let two = || vec![KEY, a.clone()];
    let three = || vec![KEY, a.clone(), b.clone()];
    let (longer, shorter) = (|| vec![KEY, long.clone()], || vec![KEY, short.clone()]);
    for (what, before, source, target, expected) in [
        ("nothing", two(), two(), two(), [None, None, None]),
        ("added", two(), three(), two(), [Some(Refused), Some(LeftOut), Some(AddedToTarget)]),
        ("added on both sides", two(), three(), three(), [Some(Refused), Some(Moved), Some(Moved)]),
        ("dropped", three(), two(), three(), [Some(Refused), Some(Kept), Some(Kept)]),
        ("retyped to more", two(), longer(), two(), [Some(Refused), Some(Moved), Some(Refused)]),
        ("retyped to less", two(), shorter(), two(), [Some(Refused), Some(Moved), Some(Moved)]),
        ("retyped on both sides", two(), longer(), longer(), [Some(Refused), Some(Moved), Some(Moved)]),
    ] {
        for (policy, expected) in [Refuse, Ignore, Evolve].into_iter().zip(expected) {
            let judged = judge(policy, &seen(&before), &source, &target, &Entity::new("t"));
            let found: Vec<DriftAction> = judged.drift.iter().map(|d| d.action).collect();
            assert_eq!(found, Vec::from_iter(expected), "{what}, {policy}");
            assert_eq!(judged.columns.len(), source.len(), "{what}, {policy}: all columns are remembered");
        }
    }
}

#[test]
fn a_column_of_the_same_type_in_the_place_of_a_dropped_one_is_that_one_renamed() {
    let column = |name| (name, DataType::Int32);
    let (long, a, b, c, x, y) = (("x", DataType::Int64), column("a"), column("b"), column("c"), column("x"), column("y"));
    for (what, before, source, expected) in [
        ("one", vec![KEY, a.clone(), b.clone()], vec![KEY, x.clone(), b.clone()], vec!["x from a", "a to x"]),
        (
            "the last, and one more",
            vec![KEY, a.clone(), b.clone()],
            vec![KEY, a.clone(), x.clone(), y.clone()],
            vec!["x", "y", "b"],
        ),
        (
            "two",
            vec![KEY, a.clone(), b.clone(), c.clone()],
            vec![KEY, x.clone(), y.clone(), c.clone()],
            vec!["x from a", "y from b", "a to x", "b to y"],
        ),
        ("one retyped", vec![KEY, a.clone(), b.clone()], vec![KEY, long, b.clone()], vec!["x", "a"]),
        ("one dropped, one added elsewhere", vec![KEY, a.clone(), b.clone()], vec![KEY, b.clone(), x.clone()], vec!["x", "a"]),
    ] {
        let judged = judge(DriftPolicy::Ignore, &seen(&before), &source, &before, &Entity::new("t"));
        let told = |drift: &Drift| match (&drift.renamed, drift.change) {
            (Some(other), DriftChange::Added) => format!("{} from {other}", drift.column),
            (Some(other), _) => format!("{} to {other}", drift.column),
            (None, _) => drift.column.clone(),
        };
        assert_eq!(judged.drift.iter().map(told).collect::<Vec<_>>(), expected, "{what}");
    }
    let judged = judge(DriftPolicy::Ignore, &seen(&[KEY, a.clone()]), &[KEY, x], &[KEY, a], &Entity::new("t"));
    assert_eq!(judged.drift[0].to_string(), "column x was renamed at the source, from a (32-bit integer)");
    assert_eq!(judged.drift[1].to_string(), "column a was renamed at the source, to x (32-bit integer)");
}

#[test]
fn columns_that_the_entity_does_not_move_do_not_count() {
    let (a, b) = (("a", DataType::Int32), ("b", DataType::Int32));
    let entity = Entity::new("t").with_exclude("b").with_set("c", crate::Parameter::Int(1));
    let before = seen(&[KEY, a.clone(), ("c", DataType::Int64)]);
    let judged = judge(DriftPolicy::Refuse, &before, &[KEY, a.clone(), b.clone()], &[KEY, a.clone()], &entity);
    assert_eq!(judged.drift, [], "b is left out, c is a constant");
    // What the job has left out so far is no change of the source when it does not any more.
    let judged = judge(DriftPolicy::Refuse, &judged.columns, &[KEY, a.clone(), b], &[KEY, a], &Entity::new("t"));
    assert_eq!((judged.drift.len(), judged.left_out.len()), (0, 0), "the target lacks b, which is an error as ever");
}

#[test]
fn a_column_that_was_left_out_once_stays_so_until_the_target_has_it_or_is_to_get_it() {
    let (a, b) = (("a", DataType::Int32), ("b", DataType::Int32));
    let (two, three) = (vec![KEY, a.clone()], vec![KEY, a, b]);
    let entity = Entity::new("t");
    let before = judge(DriftPolicy::Ignore, &seen(&two), &three, &two, &entity).columns;
    assert_eq!(before[2].fate, ColumnFate::LeftOut);
    for policy in [DriftPolicy::Ignore, DriftPolicy::Refuse] {
        let judged = judge(policy, &before, &three, &two, &entity);
        assert_eq!((judged.drift.len(), judged.columns[2].fate), (0, ColumnFate::LeftOut), "{policy}");
        let judged = judge(policy, &before, &three, &three, &entity);
        assert_eq!((judged.drift.len(), judged.columns[2].fate), (0, ColumnFate::Moved), "{policy}");
    }
    let judged = judge(DriftPolicy::Evolve, &before, &three, &two, &entity);
    assert_eq!((judged.drift[0].action, judged.columns[2].fate), (DriftAction::AddedToTarget, ColumnFate::Moved));
}

#[test]
fn renamed_columns_are_looked_for_under_their_names_at_the_target() {
    let (a, b, c) = (("a", DataType::Int32), ("b", DataType::Int32), ("c", DataType::Int32));
    let entity = Entity::new("t").with_rename("b", "c");
    let judged = judge(DriftPolicy::Ignore, &seen(&[KEY, a.clone()]), &[KEY, a.clone(), b], &[KEY, a, c], &entity);
    assert_eq!(judged.drift.iter().map(|d| d.action).collect::<Vec<_>>(), [DriftAction::Moved]);
}

#[test]
fn another_spelling_of_a_type_is_no_change_while_other_labels_of_an_enumeration_are() {
    let of = |native: &str, data_type: DataType| {
        let mut column = table("t", &[("a", data_type)], &[]).columns.remove(0);
        column.native_type = native.to_owned();
        column
    };
    let before = |column: &ColumnSchema| SourceColumn {
        name: column.name.clone(),
        native_type: column.native_type.clone(),
        data_type: column.data_type.clone(),
        portable_type: column.portable_type.clone(),
        fate: ColumnFate::Moved,
        key: None,
    };
    let mood =
        |labels: &[&str]| DataType::Enum { name: "mood".to_owned(), labels: labels.iter().map(|l| (*l).to_owned()).collect() };
    let (int, integer) = (of("INT", DataType::Int64), of("INTEGER", DataType::Int64));
    assert!(!is_retyped(&before(&int), &integer));
    assert!(is_retyped(&before(&int), &of("TEXT", DataType::TEXT)));
    assert!(!is_retyped(&before(&of("odd", DataType::TEXT)), &of("odd", DataType::Int64)), "a later version reads it otherwise");
    let (one, two) = (of("mood", mood(&["sad"])), of("mood", mood(&["sad", "ok"])));
    assert!(is_retyped(&before(&one), &two));
    assert_eq!(spelled(&before(&one), &two), (Some("mood (sad)".to_owned()), Some("mood (sad, ok)".to_owned())));
}

#[test]
fn what_is_remembered_is_told_by_the_parts_that_are_not_up_to_date() {
    let now = table("t", &[KEY, ("b", DataType::Int32)], &["id"]);
    let (old, new) = (seen(&[KEY, ("a", DataType::Int32)]), seen(&[KEY, ("b", DataType::Int32)]));
    let part = |number: u32, done: bool, columns: Option<&Vec<SourceColumn>>| {
        (number, Checkpoint { done, source_columns: columns.cloned(), ..Checkpoint::default() })
    };
    assert_eq!(remembered(&[], &now), None, "there was no run");
    assert_eq!(remembered(&[part(0, true, None)], &now), None, "an earlier version has remembered nothing");
    assert_eq!(remembered(&[part(0, true, Some(&new)), part(1, true, Some(&new))], &now), Some(&new[..]));
    assert_eq!(
        remembered(&[part(0, true, Some(&new)), part(1, true, Some(&old))], &now),
        Some(&old[..]),
        "part 1 is still to come"
    );
    assert_eq!(remembered(&[part(0, true, Some(&new)), part(1, false, Some(&old))], &now), Some(&old[..]), "part 1 is under way");
    assert_eq!(remembered(&[part(0, true, Some(&new)), part(1, false, None)], &now), None, "no run has finished yet");
    let mut left_over = part(2, true, Some(&old));
    left_over.1.fingerprint = "of a job that was cut into more parts".to_owned();
    assert_eq!(remembered(&[part(0, true, Some(&new)), left_over], &now), Some(&new[..]));
}

#[test]
fn a_refusal_names_every_change_and_what_to_do() {
    let drift = |column: &str, change, before: Option<&str>, after: Option<&str>| Drift {
        column: column.to_owned(),
        change,
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        renamed: None,
        action: DriftAction::Refused,
        detail: None,
        of_key: false,
    };
    let one = [drift("age", DriftChange::Added, None, Some("integer"))];
    let two = [
        drift("name", DriftChange::Retyped, Some("text"), Some("bytea")),
        drift("old", DriftChange::Dropped, Some("date"), None),
    ];
    assert!(refusal([("person", &[][..])]).is_none());
    let said = refusal([("person", &one[..]), ("pet", &[][..])]).expect("a refusal").to_string();
    for piece in
        ["person: column age was added at the source (integer)", "entity person", "drift = \"evolve\"", "columns.exclude"]
    {
        assert!(said.contains(piece), "{piece:?} is expected in {said}");
    }
    let said = refusal([("person", &one[..]), ("pet", &two[..])]).expect("a refusal").to_string();
    for piece in [
        "in 3 places",
        "pet: column name was retyped at the source, from text to bytea",
        "column old was dropped at the source (date)",
    ] {
        assert!(said.contains(piece), "{piece:?} is expected in {said}");
    }
    let held = Drift { detail: Some("the target does not hold it".to_owned()), ..two[0].clone() };
    let said = refusal([("pet", &[held][..])]).expect("a refusal").to_string();
    assert!(said.contains("the target does not hold it") && !said.contains("columns.exclude"), "{said}");
}
