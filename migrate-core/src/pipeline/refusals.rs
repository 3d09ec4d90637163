//! How many rows of an entity are refused, over all of its parts: the limit is one of the entity.

use super::context::Context;
use crate::error::Result;
use crate::state::Counters;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What the parts of an entity have refused, of how many rows, by the part: one that goes again counts anew.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    parts: Mutex<BTreeMap<u32, (u64, u64)>>,
}

impl Refusals {
    /// Takes note of what a part has refused by now, and fails if all parts together have refused more than the job allows. A share of
    /// the rows is judged only once there are enough of them: what comes later, or in another part, may make it a smaller one.
    pub(super) fn check(&self, context: &Context, part: u32, refused: u64, read: u64) -> Result<()> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, (refused, read));
        self.judge(context, false)
    }

    /// Fails if more rows were refused than the job allows, now that all parts have come to their end.
    pub(super) fn check_all(&self, context: &Context) -> Result<()> {
        self.judge(context, true)
    }

    fn judge(&self, context: &Context, finished: bool) -> Result<()> {
        let (refused, read) = {
            let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.values().fold((0, 0), |(refused, read), part| (refused + part.0, read + part.1))
        };
        context.check_quarantine(&Counters { quarantined: refused, ..Counters::default() }, read, finished)
    }
}
