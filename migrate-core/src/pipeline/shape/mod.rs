//! Turns pages of source rows into pages of target rows: conformed, keyed and checksummed.

mod mirror;
mod recipe;
mod refused_set;
mod replaced;
mod row;

pub(crate) use mirror::{mirrored, target_key};

use self::recipe::Recipe;
use self::refused_set::with_set;
use self::replaced::InPlace;
use self::row::{Made, checksum_whole, conform_row};
use super::keymap::{RowIds, Translated};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::EntityPlan;
use crate::value::canonical::{self, Checksum};
use crate::value::{Encoding, Key, Page, PageBuilder, PageColumn, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of room that are kept from one page to the next.
const SCRATCH: usize = 64 << 10;

/// A page of conformed rows, with what is known of each source row.
pub(crate) struct Shaped {
    /// The rows that were not refused, under the target's column names.
    pub(crate) page: Page,
    /// Every source row, in order.
    pub(crate) rows: Vec<ShapedRow>,
    /// The page as it was read.
    pub(crate) source: Page,
    /// The ids of the conformed page's rows, where the target gives them.
    pub(crate) ids: Option<Arc<RowIds>>,
}

/// One source row.
pub(crate) struct ShapedRow {
    /// The row's key; empty for an entity without a key.
    pub(crate) key: Key,
    /// The row's place in the conformed page, or why it has none.
    pub(crate) place: std::result::Result<u32, RowRefusal>,
    /// The checksum of the conformed row.
    pub(crate) checksum: Checksum,
    /// Whether it refers to a row whose id is not known: it has NULL there, or was refused for it.
    pub(crate) lacks_parent: bool,
    /// Whether it has NULL in place of a parent that is nowhere.
    pub(crate) is_orphan: bool,
}

/// Why a row was refused before it reached the target.
#[derive(Debug, Clone)]
pub(crate) struct RowRefusal {
    pub(crate) column: Option<String>,
    pub(crate) reason: String,
    /// What tells the set that the row belongs to, where rows are replaced in sets and it can be told.
    pub(crate) set: Option<Key>,
}

/// Says of a row, by its key, whether the target has refused it.
pub(crate) type Refused<'r> = dyn Fn(&Key) -> bool + 'r;

/// Shapes the pages of one entity.
pub(crate) struct Shaper {
    entity: Arc<EntityPlan>,
    targets: Arc<[PageColumn]>,
    /// For the encoding and columns seen last: how each target column is made.
    recipe: Option<Recipe>,
    scratch: Vec<u8>,
}

impl Shaper {
    pub(crate) fn new(entity: Arc<EntityPlan>) -> Self {
        let columns = entity.columns.iter().map(|c| PageColumn { name: c.target.clone(), data_type: c.target_type.clone() });
        Shaper { targets: columns.collect(), entity, recipe: None, scratch: Vec::with_capacity(1024) }
    }

    /// Shapes one page.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the page lacks a column that was asked for, [`ErrorKind::Corrupt`] if its bytes are damaged.
    pub(crate) fn shape(&mut self, page: Page) -> Result<Shaped> {
        self.prepare(&page)?;
        self.shape_as(page, None)
    }

    /// Shapes one page in which ids are replaced.
    ///
    /// # Errors
    /// As [`Shaper::shape`].
    pub(crate) fn shape_translated(&mut self, page: Page, translated: &Translated) -> Result<Shaped> {
        self.shape_translated_but(page, translated, &|_| false)
    }

    /// The same, where the target has refused rows before, by their keys: no row is made to refer to the ids that were drawn for them.
    ///
    /// # Errors
    /// As [`Shaper::shape`].
    pub(crate) fn shape_translated_but(&mut self, page: Page, translated: &Translated, refused: &Refused<'_>) -> Result<Shaped> {
        self.prepare(&page)?;
        self.shape_as(page, Some((translated, refused)))
    }

    fn prepare(&mut self, page: &Page) -> Result<()> {
        if !self.recipe.as_ref().is_some_and(|recipe| recipe.fits(page)) {
            self.recipe = Some(Recipe::new(&self.entity, page)?);
        }
        Ok(())
    }

    fn shape_as(&mut self, page: Page, replaced: Option<(&Translated, &Refused<'_>)>) -> Result<Shaped> {
        let translated = replaced.map(|(translated, _)| translated);
        let Some(recipe) = &self.recipe else { return Err(Error::new(ErrorKind::Internal, "a page has no recipe")) };
        let mut ids = RowIds::default();
        let mut rows = Vec::with_capacity(page.row_count());
        let mut keys: Vec<Value<'_>> = Vec::with_capacity(recipe.key.len());
        let shaped = if let Some(whole) = &recipe.whole {
            for (place, row) in page.rows().enumerate() {
                let outcome = checksum_whole(&self.entity, recipe, row, &mut keys, &mut self.scratch)?;
                let outcome = with_set(outcome, &self.entity, recipe, row, None)?;
                let key = Key::from_values(&keys);
                let place = outcome.map(|()| place as u32);
                let checksum = canonical::checksum(&self.scratch);
                rows.push(ShapedRow { key, place, checksum, lacks_parent: false, is_orphan: false });
            }
            page.clone().with_columns(whole.clone())
        } else {
            let given = translated.and_then(|translated| translated.columns_with_id(&self.targets));
            let mut builder = PageBuilder::new(given.unwrap_or_else(|| self.targets.clone()), Encoding::CANONICAL)
                .with_capacity(page.data().len() + page.data().len() / 4);
            for (at, row) in page.rows().enumerate() {
                self.scratch.clear();
                builder.begin_row();
                let replaced = replaced.map(|(translated, refused)| InPlace { translated, row: at, before: &rows, refused });
                let (page, canonical) = (&mut builder, &mut self.scratch);
                let mut made = Made { page, canonical, lacks_parent: false, is_orphan: false };
                let outcome = conform_row(&self.entity, recipe, row, replaced, &mut keys, &mut made)?;
                let outcome = with_set(outcome, &self.entity, recipe, row, replaced)?;
                let Made { lacks_parent, is_orphan, .. } = made;
                let place = builder.row_count() as u32;
                if outcome.is_ok() {
                    if let Some(translated) = translated {
                        translated.end_row(at, &mut builder, &mut ids)?;
                    }
                    builder.end_row();
                } else {
                    builder.discard_row();
                }
                let key = Key::from_values(&keys);
                let checksum = canonical::checksum(&self.scratch);
                rows.push(ShapedRow { key, place: outcome.map(|()| place), checksum, lacks_parent, is_orphan });
            }
            builder.finish(None)
        };
        drop(keys);
        // A huge row's room is not kept while its page is written.
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH);
        let ids = (!ids.is_empty()).then(|| Arc::new(ids));
        Ok(Shaped { page: shaped, rows, source: page, ids })
    }
}

/// Encodes a source row as it was read, for quarantine; what cannot be decoded is kept as bytes.
pub(crate) fn whole_row(page: &Page, row: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (cell, column) in page.row(row).cells().zip(page.columns().iter()) {
        let value = page
            .encoding()
            .decode(&column.data_type, cell)
            .unwrap_or_else(|_| Value::Bytes(Cow::Borrowed(cell.unwrap_or_default())));
        canonical::encode_value(&value, &mut bytes);
    }
    bytes
}
