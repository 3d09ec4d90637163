//! What stands in place of a row's ids.

use super::{Refused, ShapedRow};
use crate::pipeline::keymap::{Replaced, Translated};

/// What stands in place of a row's ids.
#[derive(Clone, Copy)]
pub(super) struct InPlace<'t> {
    pub(super) translated: &'t Translated,
    pub(super) row: usize,
    /// The rows of the page before it.
    pub(super) before: &'t [ShapedRow],
    pub(super) refused: &'t Refused<'t>,
}

impl<'t> InPlace<'t> {
    /// What stands in place of a column, if anything does.
    pub(super) fn cell(self, column: usize) -> Option<&'t Replaced> {
        const LATE: &Replaced = &Replaced::Missing { late: true };
        const NEVER: &Replaced = &Replaced::Missing { late: false };
        let cell = self.translated.cell(column, self.row)?;
        let is_refused = |row: &ShapedRow| row.place.is_err() || (self.refused)(&row.key);
        match cell {
            // An id was drawn for it all the same: it was refused since, or by the target when it was tried before.
            Replaced::OfRow { row, late, .. } if self.before.get(*row).is_some_and(is_refused) => {
                Some(if *late { LATE } else { NEVER })
            }
            Replaced::Value(_) | Replaced::OfRow { .. } | Replaced::Missing { .. } => Some(cell),
        }
    }
}
