//! What a job does about rows that the source has lost, rows that both sides have changed, and columns that have changed at the source.

use super::Job;
use crate::error::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// What happens to rows of the target that the source has lost.
///
/// Only rows that this job has brought are ever meant; what others have put into the table stays. Without a key a changed row is one that
/// the source has lost and one that is new, so that lost ones are deleted also where nothing is to be; such rows are not marked: where
/// some are lost, all are loaded anew.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Deletes {
    /// What happens to them.
    pub mode: DeleteMode,
    /// The target's column that marks a row as deleted, for [`DeleteMode::Soft`].
    pub column: Option<String>,
    /// How many rows of an entity may go in one run.
    pub max: DeleteGuard,
}

impl Deletes {
    /// Creates a rule for rows that the source has lost.
    pub fn new(mode: DeleteMode) -> Self {
        Deletes { mode, ..Deletes::default() }
    }

    /// Marks rows in this column of the target instead of deleting them.
    #[must_use]
    pub fn with_column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    /// Stops a run that would delete more rows than this.
    #[must_use]
    pub fn with_max(mut self, max: DeleteGuard) -> Self {
        self.max = max;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        match (self.mode, &self.column) {
            (DeleteMode::Soft, None) => Err(Error::new(
                ErrorKind::Config,
                "deletes of mode \"soft\" need the column that marks a row: column = \"deleted_at\"",
            )),
            (DeleteMode::Ignore | DeleteMode::Hard, Some(_)) => {
                Err(Error::new(ErrorKind::Config, "deletes.column marks rows, which only the mode \"soft\" does"))
            }
            (DeleteMode::Soft, Some(_)) | (DeleteMode::Ignore | DeleteMode::Hard, None) => Ok(()),
        }
    }
}

/// What happens to a row of the target that the source has lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeleteMode {
    /// It stays, and is forgotten.
    #[default]
    Ignore,
    /// It is marked in a column of the target: with the time, or with true; in an integer column with milliseconds since 1970.
    Soft,
    /// It is deleted.
    Hard,
}

impl fmt::Display for DeleteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeleteMode::Ignore => "ignore",
            DeleteMode::Soft => "soft",
            DeleteMode::Hard => "hard",
        })
    }
}

/// How many rows of an entity one run may delete; more of them stop it before the first has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum DeleteGuard {
    /// 1,000 rows, or half of the entity where that is more.
    #[default]
    Standard,
    /// So many rows.
    Rows(u64),
    /// So many percent of the rows that the ledger knew before.
    Percent(f64),
}

impl DeleteGuard {
    const STANDARD_ROWS: u64 = 1_000;

    /// Returns whether so many rows may go of so many that were known.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no exact count")]
    pub fn allows(self, going: u64, known: u64) -> bool {
        match self {
            DeleteGuard::Standard => going <= Self::STANDARD_ROWS.max(known / 2),
            DeleteGuard::Rows(rows) => going <= rows,
            DeleteGuard::Percent(percent) => going as f64 * 100.0 <= percent * known as f64,
        }
    }
}

impl fmt::Display for DeleteGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeleteGuard::Standard => f.write_str("1000 rows, or half of them where that is more"),
            DeleteGuard::Rows(rows) => write!(f, "{rows} rows"),
            DeleteGuard::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for DeleteGuard {
    type Err = Error;

    /// Reads a number of rows, or a share such as `10%`.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let guard = match text.strip_suffix('%') {
            Some(share) => share.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(DeleteGuard::Percent),
            None => text.parse().ok().map(DeleteGuard::Rows),
        };
        guard.ok_or_else(|| {
            let message = format!("\"{text}\" is neither a number of rows, such as 500, nor a share, such as 10%");
            Error::new(ErrorKind::Config, message)
        })
    }
}

/// The table form of [`Deletes`], as a job file spells it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeletesTable {
    /// What happens to rows of the target that the source has lost.
    mode: DeleteMode,
    /// The target's column that marks a row as deleted, with mode "soft".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    /// How many rows may go in one run: a number, or a share such as "10%".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<GuardText>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum GuardText {
    Rows(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "\"ignore\", \"hard\", or a table such as { mode = \"soft\", column = \"deleted_at\", max = \"10%\" }"
)]
enum DeletesText {
    Mode(DeleteMode),
    Table(DeletesTable),
}

impl Serialize for Deletes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let max = match self.max {
            DeleteGuard::Standard => None,
            DeleteGuard::Rows(rows) => Some(GuardText::Rows(rows)),
            DeleteGuard::Percent(percent) => Some(GuardText::Text(format!("{percent}%"))),
        };
        DeletesTable { mode: self.mode, column: self.column.clone(), max }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Deletes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = match DeletesText::deserialize(deserializer)? {
            DeletesText::Mode(mode) => DeletesTable { mode, column: None, max: None },
            DeletesText::Table(table) => table,
        };
        let max = match table.max {
            None => DeleteGuard::Standard,
            Some(GuardText::Rows(rows)) => DeleteGuard::Rows(rows),
            Some(GuardText::Text(text)) => text.parse().map_err(|error: Error| de::Error::custom(error.message()))?,
        };
        Ok(Deletes { mode: table.mode, column: table.column, max })
    }
}

impl JsonSchema for Deletes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Deletes".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (mode, table) = (generator.subschema_for::<DeleteMode>(), generator.subschema_for::<DeletesTable>());
        schemars::json_schema!({ "description": "What happens to rows that the source has lost.", "anyOf": [mode, table] })
    }
}

/// What happens to a row that is still at the source but no longer belongs to the entity: its filter or a transform leaves it out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftFilter {
    /// It stays in the target, and is forgotten.
    #[default]
    Keep,
    /// It is treated as deleted, as the job's `deletes` say; deleted where they say `ignore`.
    Delete,
}

impl Job {
    /// Returns whether rows that the source has lost, or that have left the filter, may be deleted.
    pub(crate) fn may_delete(&self) -> bool {
        self.deletes.mode == DeleteMode::Hard || self.left_filter == LeftFilter::Delete
    }
}

/// Who wins where source and target have both changed a column since the last sync, in mode `update`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnConflict {
    /// The source's value is written.
    Source,
    /// The target's value stays.
    Target,
    /// The target's value stays, and the conflict is reported by every run until it is settled.
    #[default]
    Report,
}

/// What happens when columns were added, dropped, renamed or retyped at the source since the last finished run of an entity.
///
/// A renamed column is one that was dropped and one that was added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DriftPolicy {
    /// The run is refused before a row moves.
    #[default]
    Refuse,
    /// The target stays as it is: a column that it lacks is not moved, one that was dropped is not written any more, a retyped one is
    /// moved as far as its values fit.
    Ignore,
    /// The target follows: a column that it lacks is added to it. One that was dropped is not written any more; a retyped one is moved if
    /// the target's type holds the new one.
    Evolve,
}

impl fmt::Display for DriftPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriftPolicy::Refuse => "refuse",
            DriftPolicy::Ignore => "ignore",
            DriftPolicy::Evolve => "evolve",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_are_read_as_a_word_or_a_table() {
        let read = |text: &str| serde_json::from_str::<Deletes>(text);
        assert_eq!(read("\"hard\"").expect("a word"), Deletes::new(DeleteMode::Hard));
        let soft = Deletes::new(DeleteMode::Soft).with_column("gone").with_max(DeleteGuard::Percent(10.0));
        assert_eq!(read(r#"{"mode":"soft","column":"gone","max":"10%"}"#).expect("a table"), soft);
        assert_eq!(read(&serde_json::to_string(&soft).expect("it serializes")).expect("its own form"), soft);
        let rows = read(r#"{"mode":"hard","max":7}"#).expect("a number of rows");
        assert_eq!(rows.max, DeleteGuard::Rows(7));
        for wrong in ["\"sometimes\"", r#"{"mode":"hard","max":"many"}"#, r#"{"mode":"hard","colum":"x"}"#, "{}"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_guard_lets_a_thousand_rows_or_half_go_unless_told_otherwise() {
        assert!(DeleteGuard::Standard.allows(1_000, 1_000));
        assert!(!DeleteGuard::Standard.allows(1_001, 2_000));
        assert!(DeleteGuard::Standard.allows(5_000, 10_000));
        assert!(!DeleteGuard::Rows(5).allows(6, 1_000));
        assert!(DeleteGuard::Percent(10.0).allows(10, 100) && !DeleteGuard::Percent(10.0).allows(11, 100));
        assert!(DeleteGuard::Percent(0.0).allows(0, 0));
    }
}

/// How a job finds out what has changed at the source since its last run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strategy {
    /// The quickest that is exact: `xmin` where the source allows it, else `full`.
    #[default]
    Auto,
    /// Every row is read and compared with the ledger.
    Full,
    /// Block by block, digests that the source computes of its rows are compared with those that it gave when they were read last, and only
    /// blocks of which they differ are read. Sources that compute none are read as in `full`.
    Ledger,
    /// PostgreSQL tables: only the rows are read that were written since, as the server itself knows. Where anything speaks against that,
    /// every row is read as in `full`, and the log says why.
    Xmin,
    /// Only the rows are read whose [`super::CursorColumn`] is not lower than what the last run has seen, with the rows about them. What the
    /// column does not tell stays unseen until all rows are read again: deleted rows above all.
    Cursor,
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Strategy::Auto),
            "full" => Ok(Strategy::Full),
            "ledger" => Ok(Strategy::Ledger),
            "xmin" => Ok(Strategy::Xmin),
            "cursor" => Ok(Strategy::Cursor),
            _ => Err(Error::new(ErrorKind::Config, "a strategy is \"auto\", \"full\", \"ledger\", \"xmin\" or \"cursor\"")),
        }
    }
}
