//! Turns pages of source rows into pages of target rows: conformed, keyed and checksummed.

use super::keymap::{Replaced, RowIds, Translated};
use super::orphans::{Bereft, Rules};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{ColumnPlan, EntityPlan, SetPlan};
use crate::value::canonical::{self, Checksum};
use crate::value::conform::{conform, is_identity};
use crate::value::{DataType, Encoding, Key, Page, PageBuilder, PageColumn, RowRef, Value};
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

struct Recipe {
    encoding: Encoding,
    sources: Arc<[PageColumn]>,
    steps: Vec<Step>,
    key: Vec<usize>,
    /// The target's columns, if the source's bytes are the target's row as they stand: its names with the source's types, as
    /// those say how the bytes are to be read.
    whole: Option<Arc<[PageColumn]>>,
    /// What tells rows without a parent.
    orphans: Option<Rules>,
}

/// What a row is made into.
struct Made<'m> {
    page: &'m mut PageBuilder,
    canonical: &'m mut Vec<u8>,
    lacks_parent: bool,
    is_orphan: bool,
}

/// What stands in place of a row's ids.
#[derive(Clone, Copy)]
struct InPlace<'t> {
    translated: &'t Translated,
    row: usize,
    /// The rows of the page before it.
    before: &'t [ShapedRow],
    refused: &'t Refused<'t>,
}

impl<'t> InPlace<'t> {
    fn cell(self, column: usize) -> Option<&'t Replaced> {
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

struct Step {
    from: Option<usize>,
    identity: bool,
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
        if self.recipe.as_ref().is_none_or(|r| r.encoding != page.encoding() || &r.sources != page.columns()) {
            self.recipe = Some(self.recipe(page)?);
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

    fn recipe(&self, page: &Page) -> Result<Recipe> {
        let transform = self.entity.transform.as_deref();
        let find = |name: &str| {
            let place = match transform {
                Some(transform) => transform.table().columns.iter().position(|c| c.name == name),
                None => page.column_index(name),
            };
            place.ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("a page lacks the column {name}")).with("entity", &self.entity.name)
            })
        };
        let mut steps = Vec::with_capacity(self.entity.columns.len());
        for column in &self.entity.columns {
            let from = column.source.as_deref().map(find).transpose()?;
            let identity =
                transform.is_none() && from.is_some_and(|i| is_identity(&page.columns()[i].data_type, &column.target_type));
            steps.push(Step { from, identity });
        }
        let key = self.entity.key.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
        let orphans = Rules::new(&self.entity, page.columns());
        let replaced = self.entity.generated.is_some() || !self.entity.translations.is_empty();
        let in_place =
            !replaced && orphans.is_none() && steps.iter().enumerate().all(|(i, step)| step.identity && step.from == Some(i));
        let whole = (in_place && steps.len() == page.columns().len()).then(|| {
            let named = page.columns().iter().zip(&self.entity.columns);
            named.map(|(from, to)| PageColumn { name: to.target.clone(), data_type: from.data_type.clone() }).collect()
        });
        Ok(Recipe { encoding: page.encoding(), sources: page.columns().clone(), whole, steps, key, orphans })
    }
}

impl Made<'_> {
    fn push(&mut self, value: &Value<'_>) -> Result<()> {
        canonical::encode_value(value, self.canonical);
        self.page.push_value(value)
    }
}

type RowOutcome = std::result::Result<(), RowRefusal>;

/// A row's values, as they are before each is conformed to its column.
struct Taken<'p> {
    values: Vec<Option<Value<'p>>>,
    bereft: Bereft,
    outcome: RowOutcome,
}

/// Computes the canonical bytes of a row that is the target's as it stands.
fn checksum_whole<'p>(
    entity: &EntityPlan,
    recipe: &Recipe,
    row: RowRef<'p>,
    keys: &mut Vec<Value<'p>>,
    canonical: &mut Vec<u8>,
) -> Result<RowOutcome> {
    keys.clear();
    canonical.clear();
    let mut outcome = Ok(());
    let mut cells = row.cells();
    for (i, column) in entity.columns.iter().enumerate() {
        let cell =
            cells.next().ok_or_else(|| Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns"))?;
        let value = match decode(recipe, i, cell) {
            Ok(value) => value,
            Err(error) => match (decoding(error)?, cell) {
                // A column that takes cells as they are takes also what has no value, such as text that is not UTF-8.
                (_, Some(bytes)) if matches!(column.target_type, DataType::Dynamic { .. }) && !recipe.key.contains(&i) => {
                    Value::Bytes(Cow::Borrowed(bytes))
                }
                (reason, _) => {
                    outcome = Err(refusal(&column.target, reason));
                    Value::Null
                }
            },
        };
        if value.is_null() && column.not_null && outcome.is_ok() && entity.target.triggers.is_empty() {
            outcome = Err(refusal(&column.target, NULL_REFUSED.to_owned()));
        }
        canonical::encode_value(&value, canonical);
        if recipe.key.contains(&i) {
            keys.push(value);
        }
    }
    put_in_key_order(recipe, keys);
    Ok(outcome)
}

/// Decodes a row, and takes its values through the entity's transformation.
fn take<'p>(entity: &EntityPlan, recipe: &Recipe, row: RowRef<'p>) -> Result<Taken<'p>> {
    // One walk over the cells: `recipe.steps` mostly follows their order, so values are decoded once and kept by place.
    let mut values: Vec<Option<Value<'p>>> = Vec::with_capacity(recipe.sources.len());
    let mut outcome: RowOutcome = Ok(());
    let mut cells = row.cells();
    for i in 0..recipe.sources.len() {
        let cell =
            cells.next().ok_or_else(|| Error::new(ErrorKind::Corrupt, "a row has fewer cells than its page has columns"))?;
        match decode(recipe, i, cell) {
            Ok(value) => values.push(Some(value)),
            Err(error) => {
                let reason = decoding(error)?;
                outcome = outcome.and(Err(refusal(&recipe.sources[i].name, reason)));
                values.push(None);
            }
        }
    }
    let bereft = recipe.orphans.as_ref().and_then(|rules| rules.look(&values)).unwrap_or_default();
    if let Some((column, reason)) = &bereft.refused {
        outcome = outcome.and(Err(refusal(column, reason.clone())));
    }
    if let Some(transform) = &entity.transform {
        // What could not be decoded is NULL to the steps; its row is refused all the same, with its key.
        let row = values.into_iter().map(|value| value.unwrap_or(Value::Null)).collect();
        let (row, refused) = transform.apply(row);
        values = row.into_iter().map(Some).collect();
        if let Some(refused) = refused {
            outcome = outcome.and(Err(refusal(&refused.column, refused.reason)));
        }
    }
    Ok(Taken { values, bereft, outcome })
}

fn conform_row<'p>(
    entity: &EntityPlan,
    recipe: &Recipe,
    row: RowRef<'p>,
    replaced: Option<InPlace<'_>>,
    keys: &mut Vec<Value<'p>>,
    made: &mut Made<'_>,
) -> Result<RowOutcome> {
    keys.clear();
    let Taken { mut values, bereft, outcome } = take(entity, recipe, row)?;
    for &place in &recipe.key {
        keys.push(values[place].clone().unwrap_or(Value::Null));
    }
    if outcome.is_err() {
        return Ok(outcome);
    }
    for (at, (step, column)) in recipe.steps.iter().zip(&entity.columns).enumerate() {
        if let Some((_, value)) = bereft.instead.iter().find(|(place, _)| *place == at) {
            made.is_orphan = true;
            made.push(value)?;
            continue;
        }
        if let Some(replaced) = replaced.and_then(|replaced| replaced.cell(at)) {
            let value = match replaced {
                Replaced::Value(value) | Replaced::OfRow { value, .. } => value,
                // Written without it for now, and again once it is there.
                Replaced::Missing { late: true } if !column.not_null => {
                    made.lacks_parent = true;
                    &Value::Null
                }
                Replaced::Missing { .. } => {
                    made.lacks_parent = true;
                    return Ok(Err(refusal(&column.target, PARENT_UNKNOWN.to_owned())));
                }
            };
            if value.is_null() && column.not_null && entity.target.triggers.is_empty() {
                return Ok(Err(refusal(&column.target, NULL_REFUSED.to_owned())));
            }
            made.push(value)?;
            continue;
        }
        let value = match (step.from, &column.constant) {
            (Some(place), _) => values[place].take().unwrap_or(Value::Null),
            (None, Some(constant)) => borrowed(constant),
            (None, None) => Value::Null,
        };
        let value = if step.identity || step.from.is_none() {
            value
        } else {
            match conform(value, &column.target_type) {
                Ok(value) => value,
                Err(error) => return Ok(Err(refusal(&column.target, error.reason))),
            }
        };
        if value.is_null() && column.not_null && entity.target.triggers.is_empty() {
            return Ok(Err(refusal(&column.target, NULL_REFUSED.to_owned())));
        }
        if value.is_null() {
            made.push(&value)?;
        } else {
            let before = made.page.bytes();
            made.page.push_value(&value)?;
            made.canonical.extend_from_slice(made.page.tail(before + 4));
        }
    }
    Ok(Ok(()))
}

/// Adds to a refusal what tells the row's set.
fn with_set(
    outcome: RowOutcome,
    entity: &EntityPlan,
    recipe: &Recipe,
    row: RowRef<'_>,
    replaced: Option<InPlace<'_>>,
) -> Result<RowOutcome> {
    match (outcome, &entity.set) {
        (Err(refusal), Some(set)) => {
            let set = set_of_refused(entity, set, &refusal, (recipe, row, replaced))?;
            Ok(Err(RowRefusal { set, ..refusal }))
        }
        (outcome, _) => Ok(outcome),
    }
}

/// Returns what tells the set of a refused row, as it would be written; `None` if that is among what was refused.
fn set_of_refused(
    entity: &EntityPlan,
    set: &SetPlan,
    refusal: &RowRefusal,
    (recipe, row, replaced): (&Recipe, RowRef<'_>, Option<InPlace<'_>>),
) -> Result<Option<Key>> {
    let Taken { values, bereft, .. } = take(entity, recipe, row)?;
    let mut told = Vec::with_capacity(set.target.len());
    for name in &set.target {
        let Some(at) = entity.columns.iter().position(|column| &column.target == name) else { continue };
        let (step, column) = (&recipe.steps[at], &entity.columns[at]);
        let instead = bereft.instead.iter().find(|(place, _)| *place == at);
        let value = match (instead, replaced.and_then(|replaced| replaced.cell(at)), step.from) {
            (Some((_, value)), _, _) | (None, Some(Replaced::Value(value) | Replaced::OfRow { value, .. }), _) => {
                Some(value.clone())
            }
            (None, Some(Replaced::Missing { late: true }), _) => Some(Value::Null),
            (None, Some(Replaced::Missing { late: false }), _) => None,
            (None, None, Some(place)) if step.identity => values[place].clone(),
            (None, None, Some(place)) => values[place].clone().and_then(|value| conform(value, &column.target_type).ok()),
            (None, None, None) => Some(column.constant.clone().unwrap_or(Value::Null)),
        };
        // A step that refuses a value leaves NULL in its place.
        let names = [Some(&column.target), column.source.as_ref()];
        let is_refused = refusal.column.as_ref().is_some_and(|refused| names.contains(&Some(refused)));
        match value.filter(|value| !(is_refused && value.is_null())) {
            Some(value) => told.push(value),
            None => return Ok(None),
        }
    }
    Ok(Some(Key::from_values(&told)))
}

const PARENT_UNKNOWN: &str = "the row that it refers to is not in the target, so that no id is known for it";
const NULL_REFUSED: &str = "the column refuses NULL";

fn decode<'p>(recipe: &Recipe, column: usize, cell: Option<&'p [u8]>) -> Result<Value<'p>> {
    recipe.encoding.decode(&recipe.sources[column].data_type, cell)
}

/// A cell that the adapter cannot decode refuses its row; damaged bytes fail the run.
fn decoding(error: Error) -> Result<String> {
    if error.kind() == ErrorKind::RowRejected { Ok(error.message().to_owned()) } else { Err(error) }
}

fn refusal(column: &str, reason: String) -> RowRefusal {
    RowRefusal { column: Some(column.to_owned()), reason, set: None }
}

fn borrowed<'a>(constant: &'a Value<'static>) -> Value<'static> {
    let constant: &'a Value<'static> = constant;
    constant.clone()
}

/// Key values were collected in the page's order; the key may name them in another.
fn put_in_key_order(recipe: &Recipe, keys: &mut Vec<Value<'_>>) {
    if recipe.key.is_sorted() {
        return;
    }
    let mut sorted = recipe.key.clone();
    sorted.sort_unstable();
    let by_place: Vec<Value<'_>> =
        recipe.key.iter().filter_map(|p| sorted.binary_search(p).ok()).map(|i| keys[i].clone()).collect();
    *keys = by_place;
}

/// Returns the entity that reads the target's rows back through its own columns.
pub(crate) fn mirrored(mut entity: EntityPlan) -> EntityPlan {
    for column in &mut entity.columns {
        *column = ColumnPlan {
            source: Some(column.target.clone()),
            target: column.target.clone(),
            source_type: column.target_type.clone(),
            target_type: column.target_type.clone(),
            not_null: false,
            constant: None,
            unfit: None,
        };
    }
    (entity.generated, entity.translations) = (None, Vec::new());
    entity.source = entity.target.clone();
    entity.key.clone_from(&entity.target_key);
    entity.filter = None;
    entity.transform = None;
    entity.parsed_filter = None;
    entity.orphans = Arc::new([]);
    entity
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

/// Returns the target's spelling of a source key.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the key is damaged or cannot be conformed, which a key that was written before can.
pub(crate) fn target_key(entity: &EntityPlan, key: &Key) -> Result<Key> {
    let column = |name: &String| entity.columns.iter().find(|c| c.source.as_ref() == Some(name));
    let values = key.values()?;
    let mut conformed = Vec::with_capacity(values.len());
    for (value, column) in values.into_iter().zip(entity.key.iter().filter_map(column)) {
        // A key holds a number in one spelling for all that are equal; the column has it with all places of its scale. Ids that the
        // target has given may be of a type of their own.
        let spelled = if column.unfit.is_some() { Ok(value) } else { conform(value, &column.source_type) };
        let value = spelled.and_then(|value| conform(value, &column.target_type)).map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("a key of the ledger does not fit the target: {}", e.reason))
                .with("entity", &entity.name)
        })?;
        conformed.push(value);
    }
    // Beyond the source's key there are constants only.
    for name in entity.target_key.iter().skip(entity.key.len()) {
        let constant = entity.columns.iter().find(|c| &c.target == name).and_then(|c| c.constant.clone());
        conformed.push(constant.unwrap_or(Value::Null));
    }
    Ok(Key::from_values(&conformed))
}
