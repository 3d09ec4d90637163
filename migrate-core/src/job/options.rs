//! What one run may say beyond its job.

use super::definition::Job;
use super::stage;
use super::sync::{DeleteGuard, Strategy};
use super::verify_mode::VerifyMode;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Parameter;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Different rows without a key that are compared row by row at most: as many as a hash table of 2¹⁹ places, 17 MiB, takes.
pub(crate) const MULTISET_ROWS: u64 = (1 << 19) / 8 * 7;

/// What one run says beyond its job, overriding it; a default changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RunOptions {
    /// Names of the entities to move; empty for all of the job, or of `stages`.
    pub entities: Vec<String>,
    /// Names of the stages to move, beside `entities`; empty for all of the job.
    pub stages: Vec<String>,
    /// Rows to read per entity at most.
    pub limit: Option<u64>,
    /// Rows per target transaction at most.
    pub batch_rows: Option<u64>,
    /// Bytes per target transaction, after which it commits.
    pub batch_bytes: Option<u64>,
    /// Bytes per page, after which no further row is added.
    pub page_bytes: Option<u64>,
    /// Entities, or parts of them, copied at the same time at most.
    pub parallel: Option<usize>,
    /// Bytes of an entity's rows, as the source guesses them, that are worth a part of their own.
    pub part_bytes: Option<u64>,
    /// How many refused rows end an entity.
    pub max_quarantined: Option<QuarantineLimit>,
    /// How many rows of an entity may be deleted.
    pub max_deletes: Option<DeleteGuard>,
    /// Up to how many different rows without a key are compared row by row; more of them are loaded anew when some have changed.
    pub multiset_rows: Option<u64>,
    /// How it is found out what has changed at the source.
    pub strategy: Option<Strategy>,
    /// How far the run proves what it has written.
    pub verify: Option<VerifyMode>,
    /// Only the changes of the plan with this hash; see [`crate::pipeline::Preview::hash`].
    pub plan_hash: Option<String>,
    /// Parameters, overriding the job's by name.
    pub params: BTreeMap<String, Parameter>,
    /// Who runs it, for the record.
    pub executed_by: Option<String>,
    /// The command line or call that runs it, for the record; without secrets.
    pub command: Option<String>,
    /// The source's url, for the record.
    pub source_url: Option<super::ConnectionUrl>,
    /// The target's url, for the record.
    pub target_url: Option<super::ConnectionUrl>,
}

impl RunOptions {
    /// Creates options that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves only these entities.
    #[must_use]
    pub fn with_entities(mut self, entities: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.entities = entities.into_iter().map(Into::into).collect();
        self
    }

    /// Moves only these stages.
    #[must_use]
    pub fn with_stages(mut self, stages: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.stages = stages.into_iter().map(Into::into).collect();
        self
    }

    /// Returns whether the run moves only a part of the job's entities.
    pub fn narrows(&self) -> bool {
        !self.entities.is_empty() || !self.stages.is_empty()
    }

    /// Returns whether the run moves an entity of a job.
    pub fn takes(&self, job: &Job, entity: &str) -> bool {
        let stage = || stage::place_of(&job.stages, entity).map(|place| &job.stages[place].name);
        !self.narrows() || self.entities.iter().any(|name| name == entity) || stage().is_some_and(|s| self.stages.contains(s))
    }

    /// Reads at most so many rows per entity.
    #[must_use]
    pub fn with_limit(mut self, rows: u64) -> Self {
        self.limit = Some(rows);
        self
    }

    /// Commits after so many rows.
    #[must_use]
    pub fn with_batch_rows(mut self, rows: u64) -> Self {
        self.batch_rows = Some(rows);
        self
    }

    /// Copies so many entities, or parts of them, at the same time.
    #[must_use]
    pub fn with_parallel(mut self, parallel: usize) -> Self {
        self.parallel = Some(parallel);
        self
    }

    /// Copies an entity in parts, at the same time, where each of them has at least so many bytes; 32 MiB by default.
    #[must_use]
    pub fn with_part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = Some(bytes);
        self
    }

    /// Ends an entity when more rows than this are refused.
    #[must_use]
    pub fn with_max_quarantined(mut self, limit: QuarantineLimit) -> Self {
        self.max_quarantined = Some(limit);
        self
    }

    /// Says how far the run proves what it has written.
    #[must_use]
    pub fn with_verify(mut self, verify: VerifyMode) -> Self {
        self.verify = Some(verify);
        self
    }

    /// Stops the run where more rows of an entity than this would be deleted.
    #[must_use]
    pub fn with_max_deletes(mut self, guard: DeleteGuard) -> Self {
        self.max_deletes = Some(guard);
        self
    }

    /// Compares rows without a key row by row as long as no more than so many are different; 458,752 by default, which take 17 MiB.
    #[must_use]
    pub fn with_multiset_rows(mut self, rows: u64) -> Self {
        self.multiset_rows = Some(rows);
        self
    }

    /// Says how it is found out what has changed at the source.
    #[must_use]
    pub fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Refuses to make other changes than those of the plan with this hash.
    #[must_use]
    pub fn with_plan_hash(mut self, hash: impl Into<String>) -> Self {
        self.plan_hash = Some(hash.into());
        self
    }

    /// Gives a parameter.
    #[must_use]
    pub fn with_param(mut self, name: impl Into<String>, value: Parameter) -> Self {
        self.params.insert(name.into(), value);
        self
    }

    /// Says who runs it, for the record.
    #[must_use]
    pub fn with_executed_by(mut self, who: impl Into<String>) -> Self {
        self.executed_by = Some(who.into());
        self
    }

    /// Says what runs it, for the record; without secrets.
    #[must_use]
    pub fn with_command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }
}

/// How many refused rows end an entity.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum QuarantineLimit {
    /// The 1,000th row, or 1 % of the rows read once 10,000 were read.
    #[default]
    Standard,
    /// More rows than this.
    Rows(u64),
    /// More than this many percent of the rows read: judged once 10,000 were read, and at the end of the entity.
    Percent(f64),
}

impl QuarantineLimit {
    const STANDARD_ROWS: u64 = 1_000;
    const SHARE_FROM: u64 = 10_000;

    /// Returns whether the entity ends; `finished` says that all its rows were read.
    pub fn is_exceeded(self, quarantined: u64, read: u64, finished: bool) -> bool {
        match self {
            QuarantineLimit::Standard => {
                quarantined >= Self::STANDARD_ROWS || (read >= Self::SHARE_FROM && percent(quarantined, read) >= 1.0)
            }
            QuarantineLimit::Rows(rows) => quarantined > rows,
            QuarantineLimit::Percent(limit) => {
                quarantined > 0 && (finished || read >= Self::SHARE_FROM) && percent(quarantined, read) > limit
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no exact count")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 100.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl fmt::Display for QuarantineLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuarantineLimit::Standard => f.write_str("1000 rows, or 1% once 10000 were read"),
            QuarantineLimit::Rows(rows) => write!(f, "{rows}"),
            QuarantineLimit::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for QuarantineLimit {
    type Err = Error;

    /// Reads a number of rows, or a share such as `0.5%`.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let limit = match text.strip_suffix('%') {
            Some(share) => share.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(QuarantineLimit::Percent),
            None => text.parse().ok().map(QuarantineLimit::Rows),
        };
        limit.ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("\"{text}\" is neither a number of rows, such as 500, nor a share, such as 0.5%"),
            )
        })
    }
}

impl Serialize for QuarantineLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            QuarantineLimit::Standard => serializer.serialize_none(),
            QuarantineLimit::Rows(rows) => serializer.serialize_u64(*rows),
            QuarantineLimit::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for QuarantineLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = QuarantineLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of rows, such as 500, or a share, such as \"0.5%\"")
            }

            fn visit_u64<E: de::Error>(self, rows: u64) -> Result<Self::Value, E> {
                Ok(QuarantineLimit::Rows(rows))
            }

            fn visit_i64<E: de::Error>(self, rows: i64) -> Result<Self::Value, E> {
                u64::try_from(rows).map(QuarantineLimit::Rows).map_err(|_| E::invalid_value(de::Unexpected::Signed(rows), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(|error: Error| E::custom(error.message()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for QuarantineLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "QuarantineLimit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "More refused rows than this end an entity: a number of rows, or a share such as \"0.5%\".",
            "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%?$" }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_limit_is_a_thousand_rows_or_one_percent_of_ten_thousand() {
        let limit = QuarantineLimit::Standard;
        assert!(!limit.is_exceeded(5, 5, true));
        assert!(!limit.is_exceeded(999, 9_999, true));
        assert!(limit.is_exceeded(1_000, 1_000, false));
        assert!(limit.is_exceeded(100, 10_000, false));
        assert!(!limit.is_exceeded(99, 10_000, false));
    }

    #[test]
    fn a_given_limit_is_the_largest_number_that_passes() {
        assert!(!QuarantineLimit::Rows(0).is_exceeded(0, 10, true));
        assert!(QuarantineLimit::Rows(0).is_exceeded(1, 10, false));
        assert!(!QuarantineLimit::Percent(10.0).is_exceeded(1, 2, false));
        assert!(QuarantineLimit::Percent(10.0).is_exceeded(1, 2, true));
        assert!(!QuarantineLimit::Percent(50.0).is_exceeded(1, 2, true));
        assert!(!QuarantineLimit::Percent(0.0).is_exceeded(0, 0, true));
    }

    #[test]
    fn limits_are_read_as_rows_or_percent() {
        assert_eq!("500".parse::<QuarantineLimit>().expect("rows"), QuarantineLimit::Rows(500));
        assert_eq!("0.5%".parse::<QuarantineLimit>().expect("a share"), QuarantineLimit::Percent(0.5));
        for text in ["", "-1", "many", "101%", "%", "1e400%", "NaN%"] {
            assert_eq!(text.parse::<QuarantineLimit>().expect_err("no limit").kind(), ErrorKind::Config, "{text}");
        }
    }
}
