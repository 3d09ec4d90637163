//! What a comparison has found.

use crate::job::Timestamp;
use crate::pipeline::Cell;
use crate::plan::Drift;
use crate::source::Position;
use serde::Serialize;

/// What a comparison of a job's tables has found. Nothing was written.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Whether both sides hold the same rows.
    pub equal: bool,
    /// Each entity, in load order.
    pub entities: Vec<EntityVerification>,
}

/// What a comparison of one entity has found: the certificate, and what differs.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct EntityVerification {
    /// The entity's name.
    pub name: String,
    /// The source's table.
    pub source: String,
    /// The target's table.
    pub target: String,
    /// Rows of the source that were compared.
    pub source_rows: u64,
    /// Rows of the target that were compared.
    pub target_rows: u64,
    /// The sum of the checksums of the source's compared rows, hexadecimal: the same on both sides if and only if the rows are.
    pub source_checksum: String,
    /// The sum of the checksums of the target's compared rows.
    pub target_checksum: String,
    /// Rows of the source that were not compared: they are in quarantine, or would be.
    pub source_left_out: u64,
    /// Rows of the target that were not compared: the source's are in quarantine or have left the filter, or they are none of the job's.
    pub target_left_out: u64,
    /// The snapshot of the source.
    pub position: Position,
    /// The version of the encoding that the checksums are made of.
    pub encoding: u16,
    /// The version of the ledger's format.
    pub ledger: u16,
    /// When the comparison began, by the clock.
    pub compared_at: Timestamp,
    /// Rows that the target lacks.
    pub missing: u64,
    /// Rows that the source lacks.
    pub extra: u64,
    /// Rows that differ.
    pub different: u64,
    /// Rows that were refused, and are in quarantine or would be.
    pub quarantined: u64,
    /// Columns that the target's triggers own, which were not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_compared: Vec<String>,
    /// What has become of the source's columns since the last run: nothing of it was moved yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// Some of the differences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// How long it took.
    pub seconds: f64,
    /// The keys that repairing is about, as the source and the target spell them.
    #[serde(skip)]
    pub(crate) broken: Vec<BrokenRow>,
}

impl EntityVerification {
    /// Returns whether both sides hold the same rows.
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.different == 0
    }
}

/// A row that repairing is about.
#[derive(Debug, Clone)]
pub(crate) struct BrokenRow {
    pub(crate) kind: DifferenceKind,
    /// The key as the ledger has it.
    pub(crate) key: crate::value::Key,
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The target lacks it.
    Missing,
    /// The source lacks it, or has it less often.
    Extra,
    /// Both have it, with other values.
    Different,
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// How.
    pub kind: DifferenceKind,
    /// Its key at the target, as text, one for each key column; empty for a table without a key.
    pub key: Vec<String>,
    /// The columns that differ: `before` is the target's value and `after` the source's. Of a table without a key, all that have a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Cell>,
    /// What names the row of a table without a key: its checksum, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// How often the row is missing, or there too often: more than once also where it has a key that no unique index of the target guards.
    pub copies: u64,
}
