//! Short cases that once went wrong.

use super::case::{Case, Cut, Ids, Null, Reference, Table, Target};
use super::play_on_all_pairs;
use crate::faults::Action;
use migrate_core::job::{Bind, Mode, OrphanPolicy};

fn reference(child: usize, parent: usize, null: Null) -> Reference {
    Reference { child, parent, null, deferred: false, policy: None, bind: None }
}

fn table(rows: i64, ids: Ids) -> Table {
    Table { composite: false, ids, rows }
}

fn case(tables: &[Table], references: &[Reference]) -> Case {
    Case {
        tables: tables.to_vec(),
        references: references.to_vec(),
        checked: false,
        target: Target::Empty,
        mode: Mode::Replace,
        deletes: false,
        fails: false,
        batch_rows: 1,
        page_bytes: 200,
        first: Vec::new(),
        second: Vec::new(),
        edits: [0; 3],
        seed: 2359708436814925622,
    }
}

#[test]
fn rows_that_were_refused_for_want_of_a_parent_come_in_with_it_where_each_is_the_others_and_is_checked_at_the_commit() {
    let quarantined = Reference { policy: Some(OrphanPolicy::Quarantine), deferred: true, ..reference(0, 1, Null::All) };
    let tables = [table(29, Ids::Kept), table(1, Ids::Kept), table(1, Ids::Kept)];
    play_on_all_pairs(&case(&tables, &[quarantined, reference(1, 0, Null::None)]));
}

#[test]
fn an_id_of_the_source_that_is_another_rows_now_is_so_to_rows_of_its_own_table_too() {
    let mut case = case(
        &[table(12, Ids::ByCode), table(8, Ids::Kept), table(28, Ids::Kept)],
        &[
            reference(0, 0, Null::All),
            reference(2, 0, Null::All),
            reference(1, 0, Null::All),
            reference(0, 0, Null::All),
            reference(2, 0, Null::All),
        ],
    );
    case.second = vec![Cut { action: Action::Vanish, nth: 8 }];
    (case.deletes, case.edits, case.seed) = (true, [2, 8, 1], 18093314352108955445);
    play_on_all_pairs(&case);
}

#[test]
fn the_job_file_may_name_a_reference_to_ids_that_the_target_gives_beside_a_key() {
    let named = Reference { policy: Some(OrphanPolicy::Null), ..reference(0, 1, Null::All) };
    play_on_all_pairs(&case(&[table(9, Ids::Kept), table(3, Ids::ByCode)], &[named]));
}

#[test]
fn a_row_that_waits_for_two_parents_is_counted_once_where_the_target_gives_one_of_them_its_id() {
    let quarantined = Reference { policy: Some(OrphanPolicy::Quarantine), ..reference(0, 2, Null::All) };
    let mut case = case(
        &[table(21, Ids::Kept), table(22, Ids::ByMap), table(3, Ids::Kept)],
        &[
            reference(1, 0, Null::None),
            reference(2, 0, Null::None),
            reference(0, 1, Null::All),
            quarantined,
            reference(0, 0, Null::All),
            reference(1, 0, Null::All),
            reference(0, 0, Null::All),
        ],
    );
    case.seed = 7021132341274495369;
    play_on_all_pairs(&case);
}

#[test]
fn a_row_that_is_left_out_of_those_inserted_at_once_keeps_no_id_that_another_then_gets() {
    let mut case = case(
        &[table(9, Ids::Kept), table(1, Ids::ByMap)],
        &[reference(1, 0, Null::All), reference(0, 0, Null::All), reference(1, 1, Null::None), reference(1, 0, Null::All)],
    );
    case.second = vec![Cut { action: Action::Vanish, nth: 1 }];
    (case.edits, case.seed) = ([1, 6, 0], 9115034229417502487);
    play_on_all_pairs(&case);
}

#[test]
fn append_completes_a_row_that_waited_for_one_whose_id_the_target_gives() {
    let mut case = case(
        &[table(4, Ids::ByMap), table(4, Ids::Kept)],
        &[
            reference(0, 1, Null::All),
            reference(1, 0, Null::All),
            reference(0, 0, Null::All),
            reference(1, 0, Null::All),
            reference(1, 0, Null::All),
            reference(0, 0, Null::All),
        ],
    );
    (case.mode, case.seed) = (Mode::Append, 11915267466764266355);
    play_on_all_pairs(&case);
}

#[test]
fn the_last_rows_of_a_cycle_go_where_all_others_are_refused() {
    let together = |child: usize, parent: usize| Reference { bind: Some(Bind::Together), ..reference(child, parent, Null::All) };
    let quarantined = Reference { policy: Some(OrphanPolicy::Quarantine), ..together(2, 0) };
    let mut case = case(
        &[table(21, Ids::Kept), table(18, Ids::Kept), table(13, Ids::Kept)],
        &[together(0, 1), together(1, 2), together(2, 0), quarantined, together(0, 0), together(1, 0)],
    );
    (case.deletes, case.edits, case.seed) = (true, [1, 1, 3], 5065563377264140194);
    play_on_all_pairs(&case);
}

#[test]
fn an_id_that_was_given_to_a_row_which_waits_is_given_to_no_other() {
    let mut case = case(
        &[table(14, Ids::ByMap), table(4, Ids::Kept)],
        &[
            reference(1, 0, Null::All),
            reference(0, 0, Null::All),
            reference(1, 1, Null::All),
            Reference { policy: Some(OrphanPolicy::Quarantine), ..reference(1, 0, Null::All) },
            reference(0, 1, Null::All),
            reference(1, 1, Null::None),
            reference(1, 0, Null::All),
            reference(0, 0, Null::All),
        ],
    );
    (case.deletes, case.edits, case.seed) = (true, [2, 0, 0], 7211628886385288396);
    (case.batch_rows, case.page_bytes) = (4, 65536);
    play_on_all_pairs(&case);
}
