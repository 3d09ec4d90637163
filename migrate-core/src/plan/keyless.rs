//! What a plan says of entities without a key.

use crate::job::{DeleteMode, Job, MULTISET_ROWS, Mode, RunOptions};

/// What is to be known of an entity without a key.
pub(super) fn notes(job: &Job, options: &RunOptions) -> Vec<String> {
    let most = options.multiset_rows.unwrap_or(MULTISET_ROWS);
    let over = match job.mode {
        Mode::Append => "a source that changed is refused",
        Mode::Init | Mode::Replace | Mode::Update => "all are loaded anew when the source has changed",
    };
    let mut notes = vec![format!(
        "has no key: its rows are told apart by what they hold, so that a changed row is one that is gone and one that is new; where more \
         than {most} are different, {over}; an interrupted first load starts again"
    )];
    match (job.mode, job.deletes.mode) {
        (Mode::Append, _) => notes.push("append adds the rows that are new; of a changed row both versions stay".to_owned()),
        (_, DeleteMode::Hard) => {}
        (_, DeleteMode::Ignore) => {
            notes.push(
                "what is gone is taken away, also where deletes = \"ignore\": it may be the old version of a changed row"
                    .to_owned(),
            );
        }
        (_, DeleteMode::Soft) => {
            notes.push("without a key no row is marked as deleted: where some are gone, all are loaded anew".to_owned());
        }
    }
    notes
}
