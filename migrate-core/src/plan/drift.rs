//! What has become of the source's columns since the last finished run of an entity, and what the job makes of it.
//!
//! | change | `refuse` | `ignore` | `evolve` |
//! |---|---|---|---|
//! | added, the target lacks it | refused | not moved | added to the target |
//! | added, the target has it | refused | moved | moved |
//! | dropped | refused | not written any more | not written any more |
//! | retyped | refused | moved, row by row as values fit | moved if the target's type holds the new one, else refused |
//! | of the key | refused | refused | refused |

use super::columns::find_column;
use super::fit::{Fit, fit};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{DriftPolicy, Entity};
use crate::schema::{ColumnSchema, TableSchema};
use crate::state::{Checkpoint, ColumnFate, SourceColumn};
use crate::value::DataType;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// How to go on where rows are known by another key than before: the ledger's are no keys of now, and say nothing of what is gone.
const OTHER_KEY: &str = "the target's rows are known by the key as it was; let `migrate adopt` make the target remember them as it is now, \
                         or begin anew with a job of another name or without the target's table";

/// A column of the source that is not what the last finished run has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Drift {
    /// The source's column.
    pub column: String,
    /// What has happened to it.
    pub change: DriftChange,
    /// Its type at the last finished run; `None` if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its type now; `None` if it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Its name before, if it was added, or now, if it was dropped, where as far as can be told it was renamed: another column of the
    /// same type stands in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed: Option<String>,
    /// What a run does about it.
    pub action: DriftAction,
    /// Why a run is refused, where the policy is another one than `refuse`; or the type of a column that is added to the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether it is refused since rows are known by another key: then they can be adopted.
    #[serde(skip)]
    pub(crate) of_key: bool,
}

/// What has happened to a column of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftChange {
    /// It was added, or renamed to this: see [`Drift::renamed`].
    Added,
    /// It was dropped, or renamed to something else.
    Dropped,
    /// It has another type.
    Retyped,
    /// It belongs to the key that identifies rows now, which is made of other columns than before; or it did, if there is none.
    Rekeyed,
}

/// What a run does about a column that has changed at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftAction {
    /// The run is refused.
    Refused,
    /// The column is not moved.
    LeftOut,
    /// The column is moved.
    Moved,
    /// The column is added to the target and moved.
    AddedToTarget,
    /// Nothing is written to the target's column, which keeps its values.
    Kept,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.before.as_deref().unwrap_or_default(), self.after.as_deref().unwrap_or_default());
        match (self.change, &self.renamed) {
            (DriftChange::Added, Some(from)) => {
                write!(f, "column {} was renamed at the source, from {from} ({after})", self.column)
            }
            (DriftChange::Dropped, Some(to)) => write!(f, "column {} was renamed at the source, to {to} ({before})", self.column),
            (DriftChange::Added, None) => write!(f, "column {} was added at the source ({after})", self.column),
            (DriftChange::Dropped, None) => write!(f, "column {} was dropped at the source ({before})", self.column),
            (DriftChange::Retyped, _) => {
                write!(f, "column {} was retyped at the source, from {before} to {after}", self.column)
            }
            (DriftChange::Rekeyed, _) if self.after.is_none() => write!(f, "the key ({before}) was dropped at the source"),
            (DriftChange::Rekeyed, _) => write!(f, "the key was changed at the source, from ({before}) to ({after})"),
        }
    }
}

impl Drift {
    /// Says what has happened to the column and what a run does about it.
    pub fn note(&self) -> String {
        let detail = self.detail.as_deref();
        let then = match (self.action, self.change) {
            (DriftAction::Refused, _) => match detail {
                Some(reason) => format!("a run is refused: {reason}"),
                None => "a run is refused, as drift = \"refuse\" says".to_owned(),
            },
            (DriftAction::LeftOut, _) => "it is not moved, since the target has no such column".to_owned(),
            (DriftAction::AddedToTarget, _) => {
                format!("it is added to the target, as {} that allows NULL, and filled", detail.unwrap_or("a column"))
            }
            (DriftAction::Moved, DriftChange::Retyped) => {
                "it is moved; rows whose value does not fit the target's type are quarantined".to_owned()
            }
            (DriftAction::Moved, DriftChange::Added | DriftChange::Dropped | DriftChange::Rekeyed) => {
                "it is moved, since the target has such a column".to_owned()
            }
            (DriftAction::Kept, _) => "nothing is written to the target's column any more, which keeps its values".to_owned(),
        };
        format!("{self}: {then}")
    }
}

/// What is known of an entity's columns before they are paired with the target's.
#[derive(Debug, Clone, Default)]
pub(super) struct Judged {
    pub(super) drift: Vec<Drift>,
    /// The source's columns, for the target to remember once the run has finished.
    pub(super) columns: Vec<SourceColumn>,
    /// Columns that are not moved where the target lacks them.
    pub(super) left_out: BTreeSet<String>,
}

impl Judged {
    /// Returns whether a run is refused for what has changed.
    pub(super) fn is_refused(&self) -> bool {
        self.drift.iter().any(|drift| drift.action == DriftAction::Refused)
    }

    /// Returns the columns whose change keeps a run from beginning: no plan need be made for them.
    pub(super) fn refused(&self) -> impl Iterator<Item = &str> {
        self.drift.iter().filter(|drift| drift.action == DriftAction::Refused).map(|drift| drift.column.as_str())
    }

    /// Puts what has changed in the place of an error that may well come from it.
    pub(super) fn explain(&self, entity: &str, error: Error) -> Error {
        if self.is_refused() { refusal([(entity, &self.drift[..])]).unwrap_or(error) } else { error }
    }

    /// Forgets added columns that a transformation does not pass on: they are not moved.
    pub(super) fn keep_moved(&mut self, after: &TableSchema) {
        self.drift.retain(|drift| drift.change != DriftChange::Added || after.column(&drift.column).is_some());
    }
}

/// Everything that decides what becomes of an entity's columns.
pub(super) struct Case<'a> {
    pub(super) entity: &'a Entity,
    pub(super) policy: DriftPolicy,
    pub(super) source: &'a TableSchema,
    /// The source's columns that identify a row.
    pub(super) key: &'a [String],
    /// The target's table, where it is there already and complete.
    pub(super) target: Option<&'a TableSchema>,
    /// The target's column that marks rows as deleted, which no column of the source feeds.
    pub(super) mark: Option<&'a str>,
    /// The columns as the last finished run has found them.
    pub(super) remembered: Option<&'a [SourceColumn]>,
}

impl Case<'_> {
    /// Compares the source's columns with those that are remembered.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the target has several columns of a name, but for upper and lower case.
    pub(super) fn judge(&self) -> Result<Judged> {
        let mut judged = Judged::default();
        for column in &self.source.columns {
            let moved = self.moves(&column.name);
            let mut fate = if moved { ColumnFate::Moved } else { ColumnFate::Excluded };
            if let (true, Some(target), Some(remembered)) = (moved, self.target, self.remembered) {
                let before = remembered.iter().find(|c| c.name == column.name);
                if self.judge_column(column, before, target, &mut judged)? {
                    fate = ColumnFate::LeftOut;
                    judged.left_out.insert(column.name.clone());
                }
            }
            judged.columns.push(SourceColumn {
                name: column.name.clone(),
                native_type: column.native_type.clone(),
                data_type: column.data_type.clone(),
                portable_type: column.portable_type.clone(),
                fate,
                key: self.key.iter().position(|key| key == &column.name),
            });
        }
        if let (Some(_), Some(remembered)) = (self.target, self.remembered) {
            let lost = |c: &&SourceColumn| c.fate == ColumnFate::Moved && self.source.column(&c.name).is_none();
            for column in remembered.iter().filter(lost).filter(|c| self.moves(&c.name)) {
                let (action, detail) = self.action(DriftAction::Kept);
                let before = Some(column.native_type.clone());
                let column = column.name.clone();
                let change = DriftChange::Dropped;
                judged.drift.push(Drift { column, change, before, after: None, renamed: None, action, detail, of_key: false });
            }
            judged.drift.extend(self.judge_key(remembered));
            self.pair_renamed(remembered, &mut judged.drift);
        }
        Ok(judged)
    }

    /// Compares the source's own key with the one by which the target's rows are known. A key that the job names is the job's to change.
    fn judge_key(&self, remembered: &[SourceColumn]) -> Option<Drift> {
        let mut before: Vec<(usize, &str)> = remembered.iter().filter_map(|c| Some((c.key?, c.name.as_str()))).collect();
        before.sort_unstable();
        let before: Vec<&str> = before.into_iter().map(|(_, name)| name).collect();
        let named = !(self.entity.key.is_empty() && self.entity.replace_per.is_empty());
        if before.is_empty() || named || self.key.iter().eq(&before) {
            return None;
        }
        let column = self.key.first().map_or(before[0], String::as_str).to_owned();
        let still = before.iter().all(|name| self.source.column(name).is_some());
        let keep = if still { format!("say key = {before:?} to keep it; or else ") } else { String::new() };
        Some(Drift {
            column,
            change: DriftChange::Rekeyed,
            before: Some(before.join(", ")),
            after: (!self.key.is_empty()).then(|| self.key.join(", ")),
            renamed: None,
            action: DriftAction::Refused,
            detail: Some(format!("{keep}{OTHER_KEY}")),
            of_key: true,
        })
    }

    /// Finds out which of the added columns are dropped ones under another name: between the same columns that stayed are as many as before,
    /// and the one in its place has its type.
    fn pair_renamed(&self, remembered: &[SourceColumn], drift: &mut [Drift]) {
        let stayed = |name: &str| remembered.iter().any(|c| c.name == name) && self.source.column(name).is_some();
        let before: Vec<_> = remembered.iter().map(|c| (c.name.as_str(), &c.native_type)).collect();
        let now: Vec<_> = self.source.columns.iter().map(|c| (c.name.as_str(), &c.native_type)).collect();
        let (before, now) = (before.split(|(name, _)| stayed(name)), now.split(|(name, _)| stayed(name)));
        let place = |drift: &[Drift], change, name: &str| drift.iter().position(|d| d.change == change && d.column == name);
        for (old, new) in before.zip(now).filter(|(old, new)| old.len() == new.len()) {
            for ((from, old_type), (to, new_type)) in old.iter().zip(new) {
                let dropped = place(drift, DriftChange::Dropped, from);
                let added = place(drift, DriftChange::Added, to);
                if let (Some(dropped), Some(added), true) = (dropped, added, old_type == new_type) {
                    drift[dropped].renamed = Some((*to).to_owned());
                    drift[added].renamed = Some((*from).to_owned());
                }
            }
        }
    }

    /// Judges a column that is there; true if it is not moved where the target lacks it.
    fn judge_column(
        &self,
        column: &ColumnSchema,
        before: Option<&SourceColumn>,
        target: &TableSchema,
        judged: &mut Judged,
    ) -> Result<bool> {
        let found = self.find(target, &column.name)?;
        let mut drift = Drift {
            column: column.name.clone(),
            change: DriftChange::Added,
            before: None,
            after: Some(column.native_type.clone()),
            renamed: None,
            action: DriftAction::Refused,
            detail: None,
            of_key: false,
        };
        let known = before.filter(|before| before.fate == ColumnFate::LeftOut);
        match (before, known, found, self.policy) {
            // It was left out before, and nothing has changed about that.
            (_, Some(_), None, DriftPolicy::Refuse | DriftPolicy::Ignore) => return Ok(true),
            (_, Some(_), Some(_), _) => return Ok(false),
            (None, _, Some(_), _) => (drift.action, drift.detail) = self.action(DriftAction::Moved),
            (None, _, None, DriftPolicy::Refuse) => {}
            (None, _, None, DriftPolicy::Ignore | DriftPolicy::Evolve) if self.key.contains(&column.name) => {
                drift.detail = Some("it belongs to the key, which the rows of the target lack".to_owned());
            }
            (None, _, None, DriftPolicy::Ignore) => drift.action = DriftAction::LeftOut,
            (None, _, None, DriftPolicy::Evolve) | (_, Some(_), None, DriftPolicy::Evolve) => {
                (drift.action, drift.detail) = self.action(DriftAction::AddedToTarget);
            }
            (Some(before), None, _, _) => {
                if before.fate != ColumnFate::Moved || !is_retyped(before, column) {
                    return Ok(false);
                }
                drift.change = DriftChange::Retyped;
                (drift.before, drift.after) = spelled(before, column);
                if self.key.contains(&column.name) && before.data_type != column.data_type {
                    drift.detail = Some(format!("it belongs to the key, and {OTHER_KEY}"));
                    drift.of_key = true;
                    judged.drift.push(drift);
                    return Ok(false);
                }
                (drift.action, drift.detail) = self.action(DriftAction::Moved);
                if let (DriftPolicy::Evolve, DriftAction::Moved, Some(found)) = (self.policy, drift.action, found)
                    && fit(concrete(&column.data_type, &column.portable_type), &found.data_type) != Fit::Always
                {
                    drift.action = DriftAction::Refused;
                    let native = &found.native_type;
                    drift.detail = Some(format!(
                        "the target's type {native} does not hold every value of it; change the target's column, or set drift = \"ignore\""
                    ));
                }
            }
        }
        let left_out = match drift.action {
            DriftAction::LeftOut => true,
            DriftAction::Refused => found.is_none() && drift.change == DriftChange::Added,
            DriftAction::Moved | DriftAction::AddedToTarget | DriftAction::Kept => false,
        };
        judged.drift.push(drift);
        Ok(left_out)
    }

    /// Returns what is done about a change that concerns rows which are there: nothing without a key.
    fn action(&self, action: DriftAction) -> (DriftAction, Option<String>) {
        if self.policy == DriftPolicy::Refuse {
            return (DriftAction::Refused, None);
        }
        if self.key.is_empty() {
            let reason = "without a key the target's rows cannot be told apart; give a key, leave the column out with \
                          columns.exclude, or drop the target's table";
            return (DriftAction::Refused, Some(reason.to_owned()));
        }
        (action, None)
    }

    /// Whether the entity moves a column of this name, if there is one.
    fn moves(&self, name: &str) -> bool {
        let columns = &self.entity.columns;
        !columns.exclude.iter().any(|c| c == name) && !columns.set.contains_key(name)
    }

    fn find<'t>(&self, target: &'t TableSchema, name: &str) -> Result<Option<&'t ColumnSchema>> {
        let renamed = self.entity.columns.rename.get(name);
        let found = find_column(target, renamed.map_or(name, String::as_str), renamed.is_none())?;
        Ok(found.filter(|column| Some(column.name.as_str()) != self.mark))
    }
}

/// Whether a column has another type than before. One that is only spelled otherwise has not; an enumeration with other labels has.
fn is_retyped(before: &SourceColumn, now: &ColumnSchema) -> bool {
    let differs = before.data_type != now.data_type || before.portable_type != now.portable_type;
    let labels = matches!((&before.data_type, &now.data_type), (DataType::Enum { .. }, DataType::Enum { .. }));
    differs && (before.native_type != now.native_type || labels)
}

/// The types, as the engine spells them; with what they stand for where that is the same.
fn spelled(before: &SourceColumn, now: &ColumnSchema) -> (Option<String>, Option<String>) {
    if before.native_type != now.native_type {
        return (Some(before.native_type.clone()), Some(now.native_type.clone()));
    }
    let spell = |native: &str, data_type: &DataType| match data_type {
        DataType::Enum { labels, .. } => format!("{native} ({})", labels.join(", ")),
        other => format!("{native} ({other})"),
    };
    (Some(spell(&before.native_type, &before.data_type)), Some(spell(&now.native_type, &now.data_type)))
}

/// The type that says more, where cells carry their own.
fn concrete<'t>(data_type: &'t DataType, portable: &'t DataType) -> &'t DataType {
    if matches!(data_type, DataType::Dynamic { .. }) { portable } else { data_type }
}

/// Returns the columns that the last finished run of an entity has found, from what is remembered of its parts.
///
/// Parts that a run has not finished remember those of the run before. One that it has not come to yet does too, and is told by its list.
/// Those of another fingerprint than the first may be left over from a time when the entity was cut into more parts, and say nothing.
pub(crate) fn remembered<'c>(checkpoints: &'c [(u32, Checkpoint)], source: &TableSchema) -> Option<&'c [SourceColumn]> {
    let fingerprint = &checkpoints.first()?.1.fingerprint;
    let parts = || checkpoints.iter().map(|(_, c)| c).filter(|c| &c.fingerprint == fingerprint);
    if let Some(open) = parts().find(|c| !c.done) {
        return open.source_columns.as_deref();
    }
    let mut lists = parts().filter_map(|c| c.source_columns.as_deref());
    let same = |list: &&[SourceColumn]| {
        list.len() == source.columns.len()
            && list.iter().all(|c| source.column(&c.name).is_some_and(|now| now.native_type == c.native_type))
    };
    let first = lists.next()?;
    Some(if same(&first) { lists.find(|list| !same(list)).unwrap_or(first) } else { first })
}

/// The error of a run that is refused for what has changed at the source; `None` if it is not.
pub(super) fn refusal<'d>(entities: impl IntoIterator<Item = (&'d str, &'d [Drift])>) -> Option<Error> {
    let mut changes = Vec::new();
    let (mut names, mut open) = (BTreeSet::new(), false);
    for (entity, drift) in entities {
        for drift in drift.iter().filter(|drift| drift.action == DriftAction::Refused) {
            let reason = drift.detail.as_ref().map(|reason| format!("; {reason}")).unwrap_or_default();
            open |= reason.is_empty();
            names.insert(entity);
            changes.push(format!("{entity}: {drift}{reason}"));
        }
    }
    let [first, ..] = changes.as_slice() else { return None };
    let mut message = match changes.len() {
        1 => format!("the source has changed since the last run: {first}"),
        count => format!("the source has changed since the last run, in {count} places: {}", changes.join(". ")),
    };
    if open {
        message.push_str(
            ". To go on, set drift = \"evolve\", which adds columns to the target, or drift = \"ignore\", which leaves it as it is; \
             or leave a column out with columns.exclude",
        );
    }
    let error = Error::new(ErrorKind::Config, message);
    Some(match names.len() {
        1 => names.into_iter().fold(error, |error, name| error.with("entity", name)),
        _ => error,
    })
}

#[cfg(test)]
mod tests;
