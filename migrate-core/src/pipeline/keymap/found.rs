//! What was found in place of a page's ids.

use super::pretended;
use crate::error::Result;
use crate::plan::EntityPlan;
use crate::value::{Key, PageBuilder, PageColumn, Value};
use std::sync::Arc;

/// The ids of a page's rows, by their places in the conformed page.
#[derive(Debug, Default)]
pub(crate) struct RowIds {
    /// What the source has.
    pub(super) sources: Vec<Key>,
    /// What was drawn for a row that is new to the key map.
    pub(super) drawn: Vec<Option<Key>>,
}

impl RowIds {
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns what the source has as the id of a row.
    pub(in crate::pipeline) fn source(&self, place: u32) -> Option<&Key> {
        self.sources.get(place as usize)
    }

    /// Returns a row's new entry of the key map, if it has one.
    pub(in crate::pipeline) fn drawn(&self, place: u32) -> Option<(Key, Key)> {
        let target = self.drawn.get(place as usize)?.clone()?;
        Some((self.source(place)?.clone(), target))
    }
}

/// What stands in place of a cell.
#[derive(Debug, PartialEq)]
pub(crate) enum Replaced {
    Value(Value<'static>),
    /// What was drawn for an earlier row of the page, or this one: nothing, should that row be refused.
    OfRow {
        value: Value<'static>,
        row: usize,
        /// Whether that row may come later.
        late: bool,
    },
    /// Nothing is known of the row that it refers to.
    Missing {
        /// Whether that row may come later.
        late: bool,
    },
}

/// What was found for a page.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// By the places of columns that are written: each row's cell.
    pub(super) columns: Vec<(usize, Vec<Replaced>)>,
    /// The source's ids of the rows, where the target gives others.
    pub(super) sources: Vec<Key>,
    pub(super) drawn: Vec<Option<Key>>,
    /// The column of the ids, where rows are loaded with them; and each row's.
    pub(super) loaded: Option<(PageColumn, Vec<Value<'static>>)>,
}

impl Translated {
    /// Returns what stands in place of a cell, if anything does.
    pub(crate) fn cell(&self, column: usize, row: usize) -> Option<&Replaced> {
        self.columns.iter().find(|(place, _)| *place == column).and_then(|(_, cells)| cells.get(row))
    }

    /// Gives cells whose parents are not known a value that no row has, so that a row which waits for its parent is seen to differ.
    pub(super) fn show_missing(&mut self, entity: &EntityPlan) {
        for (place, cells) in &mut self.columns {
            let Some(column) = entity.columns.get(*place) else { continue };
            for cell in cells.iter_mut() {
                match cell {
                    Replaced::Missing { late: true } => *cell = Replaced::Value(pretended(&column.target_type, &Key::default())),
                    // Made up as well, whether or not its row is refused.
                    Replaced::OfRow { value, .. } => *cell = Replaced::Value(std::mem::replace(value, Value::Null)),
                    Replaced::Missing { late: false } | Replaced::Value(_) => {}
                }
            }
        }
    }

    /// Returns the columns of the conformed page, where it has one more than the entity: that of the ids.
    pub(crate) fn columns_with_id(&self, columns: &[PageColumn]) -> Option<Arc<[PageColumn]>> {
        self.loaded.as_ref().map(|(id, _)| columns.iter().chain([id]).cloned().collect())
    }

    /// Ends a row of the conformed page with its id.
    pub(crate) fn end_row(&self, row: usize, builder: &mut PageBuilder, ids: &mut RowIds) -> Result<()> {
        if let Some((_, values)) = &self.loaded {
            builder.push_value(values.get(row).unwrap_or(&Value::Null))?;
        }
        if let Some(source) = self.sources.get(row) {
            ids.sources.push(source.clone());
            ids.drawn.push(self.drawn.get(row).cloned().flatten());
        }
        Ok(())
    }
}
