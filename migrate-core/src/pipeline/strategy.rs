//! Chooses how the changes of an entity are found.

use super::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Level, Strategy, Timestamp};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Since, Snapshot};
use crate::state::{Checkpoint, SyncedAt};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const DAY: i64 = 24 * 60 * 60;
/// Days between two runs that look at all rows.
const SCRUB_DAYS: u32 = 7;

/// What a walk starts from, and what it will have reached at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Synced {
    /// The landmark since which the changes are known; `None` where all rows are looked at.
    pub(super) since: Option<String>,
    /// What holds until the walk is done.
    before: Option<SyncedAt>,
    /// What holds then.
    after: Option<SyncedAt>,
}

impl Synced {
    /// Returns what is known of a ledger: in the midst of a walk, or at its end, where perhaps rows were left open.
    pub(super) fn at(&self, done: bool, complete: bool) -> Option<SyncedAt> {
        match done {
            // Ranges that are not walked yet are as they were left.
            false => self.before.clone(),
            true => self.after.clone().filter(|_| complete),
        }
    }

    /// Looks up what the source knows of its changes since a part was walked last.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] if the source is older than what was read of it before.
    pub(super) async fn look_up(
        context: &Context,
        entity: &EntityPlan,
        checkpoint: Option<&Checkpoint>,
        (all, again): (bool, bool),
        snapshot: &mut dyn Snapshot,
    ) -> Result<Self> {
        let strategy = context.strategy;
        let before = checkpoint.and_then(|c| c.synced.clone());
        let columns = entity.read_columns();
        let request = PageRequest::new(&entity.source, &columns, &entity.key).with_filter(entity.parsed_filter.as_ref());
        let survey = snapshot.survey(&request, before.as_ref().map(|b| b.landmark.as_str())).await?;
        let now = context.now();
        let due = before.as_ref().is_none_or(|before| is_due(before.scrubbed, now, context.job.scrub_days.unwrap_or(SCRUB_DAYS)));
        let since = match (&before, survey.since) {
            _ if strategy == Strategy::Full || context.limits.rows.is_some() => None,
            _ if all => {
                if checkpoint.is_some() && !again {
                    context.log(Level::Info, &entity.name, "all rows are read: the job or its tables have changed");
                }
                None
            }
            (None, Since::Unknown(why)) => {
                let why = if survey.landmark.is_some() { "some were left open by the last run" } else { &why };
                if checkpoint.is_some_and(|c| c.done) && (!why.is_empty() || strategy == Strategy::Xmin) {
                    context.log(Level::Info, &entity.name, format!("all rows are read: {why}"));
                }
                None
            }
            (None, Since::Known | Since::Behind(_)) => None,
            (Some(_), Since::Behind(what)) => {
                let message = format!(
                    "the source is older than what was read of it before ({what}): it may be a standby that lags; \
                     --strategy full copies it nevertheless"
                );
                return Err(Error::new(ErrorKind::Refused, message).with("entity", &entity.name));
            }
            (Some(_), Since::Unknown(why)) => {
                context.log(Level::Info, &entity.name, format!("all rows are read: {why}"));
                None
            }
            (Some(before), Since::Known) if before.version != VERSION => {
                context.log(Level::Info, &entity.name, "all rows are read, as the last run was that of another version");
                None
            }
            (Some(_), Since::Known) if due => {
                context.log(Level::Info, &entity.name, "all rows are read, as they were not for long");
                None
            }
            (Some(before), Since::Known) => {
                context.log(Level::Info, &entity.name, "only rows that changed since the last run are read");
                Some(before.landmark.clone())
            }
        };
        let scrubbed = before.as_ref().filter(|_| since.is_some()).map_or(now, |before| before.scrubbed);
        let after = survey.landmark.map(|landmark| SyncedAt { landmark, scrubbed, version: VERSION.to_owned() });
        Ok(Synced { since, before, after })
    }
}

fn is_due(scrubbed: Timestamp, now: Timestamp, days: u32) -> bool {
    let seconds = now.since(scrubbed).as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX) >= i64::from(days) * DAY
}
