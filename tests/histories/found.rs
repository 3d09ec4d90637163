//! Short histories that once went wrong.

use crate::case::{Case, Content, Edit, Extra, Fault, Round, Shape, TargetEdit};
use crate::faults::Action;
use crate::keys::Kind;
use crate::play_on_all_pairs;
use migrate_core::job::{DeleteMode, Mode, OnConflict};

const FOLDING: Kind = Kind::Letters { source_folds: false, target_folds: true };

const SHAPE: Shape = Shape {
    kind: Kind::Integer,
    composite: None,
    extra: Extra::Nothing,
    mode: Mode::Replace,
    deletes: DeleteMode::Hard,
    policy: OnConflict::Report,
    full: false,
    batch_rows: 3,
    page_bytes: 1 << 16,
    parts: 1,
    created: false,
};

const CONTENT: Content = Content { spelling: 0, text: 0, number: 0, nameless: false };

fn case(shape: Shape, rounds: impl IntoIterator<Item = Round>) -> Case {
    let content = |text| Content { spelling: 0, text, number: 1, nameless: false };
    let first = (2..10).map(|class| (class, content(class % 5))).collect();
    Case { shape, first, others: Vec::new(), rounds: rounds.into_iter().collect() }
}

fn round(edits: &[Edit], at_target: &[TargetEdit]) -> Round {
    Round { edits: edits.to_vec(), at_target: at_target.to_vec(), fault: None, planned: false }
}

#[test]
fn rows_that_others_delete_are_not_taken_for_overwritten_where_the_target_folds_keys() {
    for mode in [Mode::Replace, Mode::Update] {
        let shape = Shape { kind: FOLDING, mode, ..SHAPE };
        let later = round(&[Edit::SetText(3, 2)], &[TargetEdit::Delete(0)]);
        play_on_all_pairs(&case(shape, [round(&[], &[]), later]));
    }
}

#[test]
fn a_moved_row_takes_its_unique_value_along_into_a_table_whose_first_load_was_interrupted() {
    for nth in [7, 9, 10, 12] {
        let shape = Shape { extra: Extra::Unique, created: true, batch_rows: 1, page_bytes: 1, ..SHAPE };
        let fault =
            Fault { action: Action::VanishAfter, nth, between: vec![Edit::Move(0, 30), Edit::Move(3, 0)], forgotten: false };
        play_on_all_pairs(&case(shape, [Round { fault: Some(fault), ..round(&[], &[]) }]));
    }
}

#[test]
fn a_respelled_key_keeps_its_row_in_mode_append_where_the_target_folds_keys() {
    for deletes in [DeleteMode::Soft, DeleteMode::Hard] {
        let shape = Shape { kind: FOLDING, mode: Mode::Append, deletes, ..SHAPE };
        play_on_all_pairs(&case(shape, [round(&[], &[]), round(&[Edit::Respell(1, 1)], &[])]));
    }
}

#[test]
fn a_source_row_that_goes_back_while_a_conflict_is_open_takes_its_other_columns_back() {
    let shape = Shape { mode: Mode::Update, ..SHAPE };
    let rounds = [
        round(&[Edit::SetText(0, 2)], &[]),
        round(&[Edit::SetText(0, 3), Edit::SetNumber(0, 2)], &[TargetEdit::SetText(0, 4)]),
        round(&[Edit::SetText(0, 2), Edit::SetNumber(0, 1)], &[]),
    ];
    play_on_all_pairs(&case(shape, rounds));
}

#[test]
fn rows_beside_a_conflict_count_as_what_the_first_pass_made_of_them_where_their_range_is_walked_twice() {
    let shape = Shape { extra: Extra::Unique, mode: Mode::Update, batch_rows: 1, page_bytes: 1, ..SHAPE };
    let rows = [(1, CONTENT), (10, CONTENT), (20, CONTENT)];
    // The new row takes the unique value of one that is still there.
    let edits = [Edit::Bequeath(0, 3), Edit::AddColumn(Some(7)), Edit::Set(1, Content { text: 2, number: 2, ..CONTENT })];
    let rounds = [round(&[], &[]), round(&edits, &[TargetEdit::SetText(1, 3)])];
    play_on_all_pairs(&Case { first: rows.to_vec(), ..case(shape, rounds) });
    // Where the target wins, the row is settled by the first pass, and no unchanged one to the second.
    let shape = Shape { policy: OnConflict::Target, ..shape };
    let rounds = [round(&[], &[]), round(&[Edit::Bequeath(0, 3), Edit::SetText(1, 2)], &[TargetEdit::SetText(1, 3)])];
    play_on_all_pairs(&Case { first: rows.to_vec(), ..case(shape, rounds) });
}

#[test]
fn a_row_respelled_between_two_attempts_is_no_others_in_mode_append() {
    for kind in [Kind::Uuid, FOLDING] {
        for (nth, parts) in [(9, 1), (14, 1), (14, 2)] {
            let shape =
                Shape { kind, mode: Mode::Append, deletes: DeleteMode::Soft, batch_rows: 1, page_bytes: 1, parts, ..SHAPE };
            let between = (0..8).flat_map(|row| [Edit::Respell(row, 1), Edit::SetText(row, 3)]).collect();
            let fault = Fault { action: Action::VanishAfter, nth, between, forgotten: false };
            play_on_all_pairs(&case(shape, [Round { fault: Some(fault), ..round(&[], &[]) }]));
        }
    }
}

#[test]
fn rows_are_counted_as_deleted_where_they_were_the_last_and_another_takes_their_unique_value() {
    // The first call of the run, and the commit that deletes the table's last rows.
    for nth in [1, 20] {
        let shape = Shape { extra: Extra::Unique, batch_rows: 1, page_bytes: 1, ..SHAPE };
        let fault = Fault { action: Action::LoseAnswer, nth, between: Vec::new(), forgotten: false };
        let last = Round { fault: Some(fault), ..round(&[Edit::Delete(0), Edit::Bequeath(0, 2)], &[]) };
        let rounds = [round(&[Edit::Insert(0, CONTENT)], &[]), round(&[Edit::Insert(1, CONTENT)], &[]), last];
        play_on_all_pairs(&Case { first: Vec::new(), ..case(shape, rounds) });
    }
}

#[test]
fn a_row_that_others_have_deleted_is_no_conflict_where_the_source_has_but_a_column_more() {
    for policy in [OnConflict::Source, OnConflict::Target, OnConflict::Report] {
        let shape = Shape { mode: Mode::Update, policy, ..SHAPE };
        let rounds = [
            round(&[], &[]),
            round(&[Edit::AddColumn(None)], &[TargetEdit::Delete(2)]),
            round(&[Edit::SetText(0, 3)], &[]),
            round(&[Edit::SetText(2, 1)], &[]),
        ];
        play_on_all_pairs(&case(shape, rounds));
    }
}

#[test]
fn a_row_that_others_have_deleted_stays_away_also_where_the_job_deletes_the_last_one_that_is_left() {
    for mode in [Mode::Append, Mode::Replace, Mode::Update] {
        let shape = Shape { mode, policy: OnConflict::Source, ..SHAPE };
        let rows = [(3, CONTENT), (0, CONTENT)];
        // The source keeps the row of 3, which the target has lost; that of 0 goes.
        let rounds = [
            round(&[], &[]),
            round(&[Edit::Delete(0)], &[TargetEdit::Delete(1)]),
            round(&[], &[]),
            round(&[Edit::Insert(5, CONTENT)], &[]),
            round(&[], &[TargetEdit::Delete(0)]),
        ];
        play_on_all_pairs(&Case { first: rows.to_vec(), ..case(shape, rounds) });
    }
}
