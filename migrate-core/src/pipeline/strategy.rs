//! Chooses how the changes of an entity are found.

use super::context::Context;
use super::cursor;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Level, Mode, Strategy, Timestamp};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Since, Snapshot, Survey};
use crate::state::{Checkpoint, Scope, SyncedAt};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const DAY: i64 = 24 * 60 * 60;
/// Days between two runs that look at all rows.
const SCRUB_DAYS: u32 = 7;

/// What a walk starts from, and what it will have reached at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Synced {
    /// How the changes are known; `None` where all rows are looked at.
    pub(super) known: Option<Known>,
    /// What holds until the walk is done.
    before: Option<SyncedAt>,
    /// What holds then.
    after: Option<SyncedAt>,
}

/// How changes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// By the source, since this landmark.
    Since(String),
    /// By the source's digests of what it holds.
    Digests,
    /// By a column of the table, since this landmark.
    Cursor(String),
}

impl Synced {
    /// Returns what is known of a ledger: in the midst of a walk, or at its end. Where rows were left open nothing is, from the commit on that
    /// leaves them so: they do not change at the source, and whoever goes on after a kill would pass over them.
    pub(super) fn at(&self, done: bool, complete: bool) -> Option<SyncedAt> {
        match (complete, done) {
            (false, _) => None,
            // Ranges that are not walked yet are as they were left.
            (true, false) => self.before.clone(),
            (true, true) => self.after.clone(),
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
        let by_cursor = strategy == Strategy::Cursor && entity.cursor.is_some();
        // A landmark of another strategy says nothing to this one.
        let landmark =
            before.as_ref().and_then(|before| before.landmark.as_deref()).filter(|l| cursor::is_cursor(l) == by_cursor);
        let survey = match (entity.impure(), by_cursor) {
            // Whatever is known of the rows, it is not known of what is made of more than them.
            (Some(column), _) => Survey { landmark: None, since: Since::Unknown(impure(column)) },
            (None, true) => cursor::survey(entity, &request, landmark, snapshot).await?,
            (None, false) => snapshot.survey(&request, landmark).await?,
        };
        let usable = landmark.is_some();
        let now = context.now();
        let skipping = context.job.mode == Mode::Append;
        let due = before.as_ref().is_none_or(|before| is_due(before.scrubbed, now, context.job.scrub_days.unwrap_or(SCRUB_DAYS)));
        let by_digests = match strategy {
            // What is read and what is hashed are not made at one moment.
            Strategy::Ledger if entity.impure().is_some() => false,
            // Asked for no digest at all, it says whether it could give any.
            Strategy::Ledger => snapshot.digest(&request, &[]).await?.is_some(),
            Strategy::Auto | Strategy::Full | Strategy::Xmin | Strategy::Cursor => false,
        };
        let known = match (before.as_ref().filter(|_| by_digests || usable), survey.since) {
            _ if strategy == Strategy::Full || context.limits.rows.is_some() => None,
            _ if strategy == Strategy::Ledger && !by_digests => {
                let why = entity.impure().map_or_else(|| "the source computes no digests of them".to_owned(), impure);
                context.log(Level::Info, &entity.name, format!("all rows are read: {why}"));
                None
            }
            _ if all => {
                if checkpoint.is_some() && !again {
                    context.log(Level::Info, &entity.name, "all rows are read: the job or its tables have changed");
                }
                None
            }
            (None, Since::Unknown(why)) => {
                let why = if survey.landmark.is_some() || by_digests { "some were left open by the last run" } else { &why };
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
            (Some(_), Since::Unknown(why)) if !by_digests => {
                context.log(Level::Info, &entity.name, format!("all rows are read: {why}"));
                None
            }
            (Some(before), Since::Known | Since::Unknown(_)) if before.version != VERSION => {
                context.log(Level::Info, &entity.name, "all rows are read, as the last run was that of another version");
                None
            }
            (Some(before), Since::Known | Since::Unknown(_)) if before.skipping && !skipping => {
                context.log(Level::Info, &entity.name, "all rows are read, as changed ones were skipped before");
                None
            }
            (Some(_), Since::Known | Since::Unknown(_)) if due => {
                context.log(Level::Info, &entity.name, "all rows are read, as they were not for long");
                None
            }
            (Some(_), Since::Known | Since::Unknown(_)) if by_digests => {
                context.log(Level::Info, &entity.name, "only blocks whose digest at the source has changed are read");
                Some(Known::Digests)
            }
            (Some(before), Since::Known | Since::Unknown(_)) if by_cursor => {
                let column = entity.cursor.as_ref().map_or("", |cursor| &cursor.column);
                let message = format!("only rows whose {column} has come since the last run are read, with the rows about them");
                context.log(Level::Info, &entity.name, message);
                before.landmark.clone().map(Known::Cursor)
            }
            (Some(before), Since::Known | Since::Unknown(_)) => {
                context.log(Level::Info, &entity.name, "only rows that changed since the last run are read");
                before.landmark.clone().map(Known::Since)
            }
        };
        let scrubbed = before.as_ref().filter(|_| known.is_some()).map_or(now, |before| before.scrubbed);
        let after = Some(SyncedAt { landmark: survey.landmark, scrubbed, skipping, version: VERSION.to_owned() });
        Ok(Synced { known, before, after })
    }
}

/// Returns a scope's checkpoint as one after which all rows are looked at, though the source knows of no change to some that were left
/// open; `None` where it is one already.
pub(super) async fn looking_at_all_rows(context: &Context, scope: &Scope) -> Result<Option<Checkpoint>> {
    let found = context.state.checkpoints(&scope.job, &scope.entity).await?;
    let own = found.into_iter().find(|(partition, checkpoint)| *partition == scope.partition && checkpoint.synced.is_some());
    Ok(own.map(|(_, checkpoint)| Checkpoint { synced: None, sequence: checkpoint.sequence + 1, ..checkpoint }))
}

fn impure(column: &str) -> String {
    format!("the expression of the column {column} may give another value for a row that has not changed")
}

fn is_due(scrubbed: Timestamp, now: Timestamp, days: u32) -> bool {
    let seconds = now.since(scrubbed).as_secs();
    i64::try_from(seconds).unwrap_or(i64::MAX) >= i64::from(days) * DAY
}
