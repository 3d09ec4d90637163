//! What a job does about rows whose parent is nowhere.

use super::definition::Job;
use super::entity::{Entities, Entity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What happens to a row that refers to a parent which neither the source nor the target has.
///
/// It is decided when a run begins, for rows of which source and job move the parents too. Where nothing is said, it is [`Fail`] for
/// references that the target checks or the job file declares, and [`Allow`] for others.
///
/// [`Fail`]: OrphanPolicy::Fail
/// [`Allow`]: OrphanPolicy::Allow
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OrphanPolicy {
    /// The run is refused before anything is written.
    Fail,
    /// It is written with NULL in place of the reference, and with the reference once the parent is there.
    Null,
    /// It is kept in quarantine until the parent is there.
    Quarantine,
    /// It is written with a reference to a placeholder, a row of the parents' table that the job makes, until the parent is there. The
    /// placeholder goes once nothing refers to it.
    Placeholder,
    /// Nobody looks for it beforehand: it is written as it is where nothing checks it, waits with NULL where its reference may wait, and is
    /// refused where the target refuses it.
    Allow,
}

impl fmt::Display for OrphanPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OrphanPolicy::Fail => "fail",
            OrphanPolicy::Null => "null",
            OrphanPolicy::Quarantine => "quarantine",
            OrphanPolicy::Placeholder => "placeholder",
            OrphanPolicy::Allow => "allow",
        })
    }
}

impl Job {
    /// Returns whether rows may be put in place of parents that are nowhere.
    pub(crate) fn has_placeholders(&self) -> bool {
        let of_entities: &[Entity] = match &self.entities {
            Entities::All => &[],
            Entities::List(list) => list,
        };
        let said = of_entities.iter().flat_map(|e| e.references.iter().map(|r| r.orphans).chain([e.orphans]));
        said.chain([self.orphans]).any(|policy| policy == Some(OrphanPolicy::Placeholder))
    }
}
