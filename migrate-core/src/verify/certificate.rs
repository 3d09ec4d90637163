//! What is kept of a comparison: one line in the log of an execution for each entity.

use super::report::EntityVerification;
use crate::job::{Level, LogLine, Timestamp};
use serde::{Deserialize, Serialize};

/// What a comparison says of one entity, as it is kept with an execution: the fields of a line in its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Certificate {
    /// The entity's name.
    #[serde(default)]
    pub entity: String,
    /// Whether the rows that were compared are the same.
    pub equal: bool,
    /// Rows of the source that were compared.
    pub source_rows: u64,
    /// Rows of the target that were compared.
    pub target_rows: u64,
    /// The sum of the checksums of the source's compared rows, hexadecimal.
    pub source_checksum: String,
    /// The sum of the checksums of the target's compared rows.
    pub target_checksum: String,
    /// Rows of the source that were not compared.
    pub source_left_out: u64,
    /// Rows of the target that were not compared.
    pub target_left_out: u64,
    /// The version of the encoding that the checksums are made of.
    pub encoding: u16,
    /// The version of the ledger's format.
    pub ledger: u16,
    /// The snapshot of the source.
    pub snapshot: String,
    /// When the comparison began, by the clock.
    pub compared_at: Timestamp,
}

impl Certificate {
    /// Takes what a comparison has found.
    pub fn of(found: &EntityVerification) -> Self {
        Certificate {
            entity: found.name.clone(),
            equal: found.is_equal(),
            source_rows: found.source_rows,
            target_rows: found.target_rows,
            source_checksum: found.source_checksum.clone(),
            target_checksum: found.target_checksum.clone(),
            source_left_out: found.source_left_out,
            target_left_out: found.target_left_out,
            encoding: found.encoding,
            ledger: found.ledger,
            snapshot: found.position.to_string(),
            compared_at: found.compared_at,
        }
    }

    /// Reads a line of a log; `None` if it is no certificate.
    pub fn from_log(line: &LogLine) -> Option<Self> {
        let read: Self = serde_json::from_value(line.fields.clone().into()).ok()?;
        Some(Certificate { entity: line.entity.clone()?, ..read })
    }

    /// Writes it as a line of a log, with what differs in words.
    pub(super) fn to_log(&self, found: &EntityVerification, at: Timestamp) -> LogLine {
        let (level, verdict) = match self.equal {
            true => (Level::Info, format!("certificate: {} rows are equal", self.source_rows)),
            false => {
                let (missing, extra, different) = (found.missing, found.extra, found.different);
                (Level::Warn, format!("{missing} missing, {extra} extra and {different} different rows"))
            }
        };
        let mut line = LogLine::new(at, level, format!("verified: {verdict}")).with_entity(&self.entity);
        if let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(self) {
            fields.remove("entity");
            line.fields = fields;
        }
        line
    }
}
