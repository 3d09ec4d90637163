//! One suite that every adapter passes, case by case.
//!
//! An adapter's author implements [`Harness`] and [`TestDatabase`] (how to make an empty database, and how to write and read it
//! without the adapter) and writes one line in an integration test; see `docs/writing-an-adapter.md`:
//!
//! ```ignore
//! migrate_core::conformance_tests!(MyHarness);
//! ```
//!
//! That makes one `#[tokio::test]` per case. A case that needs a [`Feature`] which the harness says is missing is left out and prints
//! why; [`report`] counts both kinds, so that a test can hold the numbers fixed and no case goes missing unseen.

mod check;
mod deletion_cases;
mod harness;
mod key_cases;
mod query_cases;
mod rehearsal_cases;
mod sample;
mod sink_cases;
mod source_cases;
mod state_cases;
mod table_cases;
mod tie_cases;
mod work;

pub use check::Failure;
pub use harness::{Feature, Harness, TestDatabase};

use std::future::Future;
use std::pin::Pin;

/// A case's run, under way.
type Run<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// One case of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The sentence that the adapter must make true.
    pub name: &'static str,
    /// What the adapter must have for the case to make sense.
    pub needs: &'static [Feature],
    run: for<'a> fn(&'a dyn Harness) -> Run<'a>,
}

/// What the suite does with an adapter.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The cases that are run.
    pub run: Vec<&'static str>,
    /// The cases that are left out, each with the reason.
    pub left_out: Vec<(&'static str, String)>,
}

impl Case {
    /// Returns why the case is left out for an adapter, if it is.
    pub fn left_out(&self, harness: &dyn Harness) -> Option<String> {
        self.needs.iter().find_map(|feature| harness.lacks(*feature))
    }

    /// Runs the case, on a database of its own.
    ///
    /// # Errors
    /// A [`Failure`] that says what was expected and what was found.
    pub async fn run(&self, harness: &dyn Harness) -> Result<(), Failure> {
        (self.run)(harness).await
    }
}

/// Returns which cases are run for an adapter and which are left out.
pub fn report(harness: &dyn Harness) -> Report {
    let mut report = Report::default();
    for case in CASES {
        match case.left_out(harness) {
            Some(reason) => report.left_out.push((case.name, reason)),
            None => report.run.push(case.name),
        }
    }
    report
}

/// Runs one case by name, or prints why it is left out.
///
/// # Errors
/// A [`Failure`] from the case, or one that says that there is no such case.
pub async fn run(harness: &dyn Harness, name: &str) -> Result<(), Failure> {
    let case = CASES.iter().find(|c| c.name == name).ok_or_else(|| Failure::new(format!("there is no case {name}")))?;
    match case.left_out(harness) {
        Some(reason) => {
            println!("left out: {name}: {reason}");
            Ok(())
        }
        None => case.run(harness).await,
    }
}

/// Lists the cases once, for the constant and for the macro that makes tests of them.
macro_rules! cases {
    ($dollar:tt $($module:ident [$always:ident] { $($name:ident $([$($feature:ident)*])?;)* })*) => {
        /// All cases of the suite.
        pub const CASES: &[Case] = &[$($(Case {
            name: stringify!($name),
            needs: &[Feature::$always, $($(Feature::$feature,)*)?],
            run: |harness| Box::pin($module::$name(harness)),
        },)*)*];

        /// Makes one `#[tokio::test]` of every case; takes an expression that gives a [`Harness`](crate::conformance::Harness).
        #[macro_export]
        macro_rules! conformance_tests {
            ($dollar harness:expr) => {
                $($(
                    #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        if let Err(failure) = $dollar crate::conformance::run(&$dollar harness, stringify!($name)).await {
                            panic!("{failure}");
                        }
                    }
                )*)*
            };
        }
    };
}

cases! { $
    source_cases [Source] {
        the_schema_names_tables_columns_and_keys;
        the_identity_is_the_same_for_the_same_database_only;
        a_readable_table_is_said_to_be_readable;
        a_page_holds_no_more_rows_than_asked_for;
        a_page_ends_at_its_budget_of_bytes;
        only_the_last_page_has_no_next_key_and_all_others_have_their_last_rows;
        columns_come_in_the_order_asked_for;
        an_empty_table_gives_one_empty_page;
        a_row_larger_than_a_page_comes_whole;
        a_table_without_a_key_is_read_in_one_go [TablesWithoutKey];
        odd_names_are_read;
        a_snapshot_never_sees_what_is_written_after_it_was_opened;
        a_fork_sees_the_same_view [Forks];
        rows_are_counted;
        an_abandoned_read_leaves_the_next_one_right;
        a_table_that_does_not_exist_is_a_schema_error;
        every_value_is_read_as_it_was_written;
        null_and_empty_stay_apart_when_read;
    }
    key_cases [Source] {
        a_range_leaves_out_its_start_and_takes_in_its_end;
        ranges_cut_at_keys_that_do_not_exist_cover_every_row_once;
        ranges_cut_by_split_keys_cover_every_row_once;
        integer_keys_around_zero_come_once_each;
        text_keys_of_any_kind_come_once_each;
        uuid_keys_come_once_each;
        timestamp_keys_come_once_each;
        composite_keys_come_once_each;
        rows_are_read_by_key;
        rows_are_read_by_text_and_composite_keys;
        rows_of_some_keys_come_in_key_order [Changes];
        keys_that_are_not_unique_are_found [TablesWithoutKey];
    }
    query_cases [Source] {
        rows_are_counted_and_read_under_a_filter_with_parameters [Filters];
        columns_that_expressions_make_are_read_as_others_are [Filters Expressions];
        what_is_no_expression_of_one_row_is_refused [Expressions];
        rows_that_changed_since_a_landmark_are_named [Changes];
        digests_of_ranges_tell_whether_their_rows_are_the_same [Digests];
        a_parameter_is_compared_as_the_column_beside_it [Filters];
        rows_without_their_parent_are_found;
        rows_without_their_parent_are_found_under_filters [Filters];
    }
    sink_cases [Sink] {
        a_load_writes_all_rows;
        a_load_writes_only_the_rows_asked_for;
        an_empty_write_does_nothing;
        an_upsert_tells_new_changed_and_equal_rows_apart;
        an_upsert_compares_to_the_letter;
        insert_missing_leaves_what_is_there_alone;
        columns_are_matched_by_name_and_missing_ones_left_to_the_target;
        pages_of_the_adapters_own_encoding_are_taken;
        pages_of_a_foreign_encoding_are_taken;
        several_tables_are_written_in_one_transaction;
        a_refused_row_of_an_upsert_is_named_or_the_batch_is_blamed;
        a_refused_row_of_a_load_is_named_or_the_batch_is_blamed;
        a_key_that_is_there_refuses_a_load;
        nothing_is_seen_before_the_commit;
        a_rollback_leaves_nothing;
        a_dropped_transaction_leaves_nothing;
        an_abandoned_write_leaves_the_sink_usable;
        rows_are_read_by_key_as_the_transaction_sees_them;
        loaded_rows_are_read_back_before_the_commit;
        keys_that_exist_are_found_as_the_transaction_sees_them;
        a_large_cell_is_written;
        odd_names_are_written;
        a_table_without_a_key_is_loaded [TablesWithoutKey];
        two_transactions_write_at_once [ConcurrentWriters];
    }
    deletion_cases [Sink] {
        rows_are_deleted_by_key_and_counted;
        rows_without_a_key_are_deleted_one_by_one_by_what_they_hold [TablesWithoutKey Choice];
        rows_are_chosen_page_by_page_as_the_transaction_sees_them [TablesWithoutKey Choice];
        a_table_is_cleared_and_its_rows_counted;
    }
    state_cases [Sink] {
        the_state_is_made_once_and_never_shown_as_tables;
        rows_and_state_are_committed_together;
        rows_and_state_are_rolled_back_together;
        epochs_only_grow;
        the_fence_knows_its_holder;
        jobs_have_fences_of_their_own;
        an_older_epoch_cannot_commit;
        a_takeover_ends_an_open_transaction_or_waits_for_it;
        settling_passes_for_the_holder_only;
        checkpoints_come_back_as_written_by_part;
        a_commit_that_follows_one_which_is_not_there_fails_and_leaves_nothing;
        ledger_blocks_come_back_in_order_page_by_page;
        ledger_blocks_are_overwritten_and_removed_by_ordinal;
        digests_of_the_source_are_kept_until_their_block_is_written_again;
        a_reset_empties_one_scope_only;
        refused_rows_come_back_as_written_newest_first;
        refused_rows_are_replaced_and_released_by_key;
        gone_rows_come_back_latest_first_until_they_are_settled;
        an_id_of_the_target_stands_for_one_id_of_the_source;
    }
    table_cases [Sink] {
        a_foreign_table_is_created_with_its_columns_and_key;
        preparing_building_and_finishing_twice_is_once;
        steps_abandoned_on_the_way_can_be_taken_again;
        a_created_table_is_unfinished_until_it_is_finished;
        keys_built_before_the_end_serve_upserts;
        an_existing_table_is_left_as_it_is;
        columns_are_added_to_a_table_that_is_there;
        unique_keys_hold_after_the_end;
        references_hold_after_the_end [ForeignKeys];
        duplicates_stop_the_end_with_a_constraint_error;
        rows_without_their_parents_stop_the_end_with_a_constraint_error [ForeignKeys];
        another_process_cannot_prepare_or_finish;
        every_value_survives_or_is_refused;
        odd_names_are_created;
    }
    tie_cases [Sink] {
        ids_are_drawn_that_no_row_has_and_none_gets_later [NewIds];
        the_key_map_is_read_as_the_transaction_sees_it [Together];
        rows_that_refer_to_one_another_are_inserted_at_once [Together ForeignKeys];
        a_reference_that_may_wait_is_left_open_where_its_parent_is_not_there [Together ForeignKeys];
        rows_set_aside_leave_nothing_after_a_rollback [Together ForeignKeys];
        rows_that_refer_to_one_another_are_deleted_at_once [Together ForeignKeys];
        rows_that_would_go_with_one_another_are_deleted_at_once_and_counted [Together ForeignKeys];
    }
    rehearsal_cases [Sink] {
        a_rehearsal_sees_what_it_writes_and_leaves_nothing [Rehearsals];
        a_transaction_of_a_rehearsal_that_fails_leaves_those_before_it [Rehearsals];
        tables_that_a_rehearsal_creates_are_gone_after_it [Rehearsals];
        a_dropped_rehearsal_leaves_nothing [Rehearsals];
    }
}
