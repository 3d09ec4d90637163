//! How far a run proves what it has written.

use crate::error::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// How far a run proves what it has written. Every run checks that each row has one outcome, whatever is said here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyMode {
    /// Only the counts are checked.
    Counts,
    /// Once an entity was moved, rows that are written are read back and compared before their transaction commits, and deleted rows
    /// are looked for; what a first copy loads is not.
    #[default]
    Changes,
    /// Every row that is written is read back and compared before its transaction commits, those of a first copy as well.
    Inline,
    /// As `changes`; and after the run the command compares both databases row by row, as `migrate verify` does.
    Full,
}

impl FromStr for VerifyMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "counts" => Ok(VerifyMode::Counts),
            "changes" => Ok(VerifyMode::Changes),
            "inline" => Ok(VerifyMode::Inline),
            "full" => Ok(VerifyMode::Full),
            _ => {
                let message = "what is verified is \"counts\", \"changes\", \"inline\" or \"full\"";
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }
}
