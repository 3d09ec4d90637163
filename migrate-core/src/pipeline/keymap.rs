//! Replaces ids of the source by those that the target has given.
//!
//! ```text
//! page ──▶ its ids and references ──▶ one question for each key map ──▶ shape, with what was found in their place
//!                 │ new rows of an entity whose ids the target gives
//!                 └──▶ ids are drawn from the target ──▶ rows and key map, one commit
//! ```
//!
//! What follows sees the target's ids alone: the ledger's checksums, the columns of mode `update`, and a comparison of both sides. So a
//! row whose parent has another id now is a row that has changed. The source's keys stay what the ledger is ordered by.

use super::batch::Batch;
use super::context::{Context, Purpose};
use super::shape::target_key;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{EntityPlan, GeneratedPlan};
use crate::sink::SinkTransaction;
use crate::source::PageRequest;
use crate::state::TargetState;
use crate::value::canonical::{self, Checksum};
use crate::value::conform::conform;
use crate::value::{DataType, Key, Page, PageBuilder, PageColumn, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Ids of each key map that are remembered from one page to the next.
const REMEMBERED: usize = 65_536;
/// Rows of one transaction at most, where each brings an entry of a key map.
pub(super) const MAPPED_ROWS: usize = 65_536;
/// Keys that are looked up together.
const AT_ONCE: usize = 8_192;

/// The ids of a page's rows, by their places in the conformed page.
#[derive(Debug, Default)]
pub(crate) struct RowIds {
    /// What the source has.
    sources: Vec<Key>,
    /// What was drawn for a row that is new to the key map.
    drawn: Vec<Option<Key>>,
}

impl RowIds {
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Returns what the source has as the id of a row.
    pub(super) fn source(&self, place: u32) -> Option<&Key> {
        self.sources.get(place as usize)
    }

    /// Returns a row's new entry of the key map, if it has one.
    pub(super) fn drawn(&self, place: u32) -> Option<(Key, Key)> {
        let target = self.drawn.get(place as usize)?.clone()?;
        Some((self.source(place)?.clone(), target))
    }
}

/// What stands in place of a cell.
#[derive(Debug, PartialEq)]
pub(crate) enum Replaced {
    Value(Value<'static>),
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
    columns: Vec<(usize, Vec<Replaced>)>,
    /// The source's ids of the rows, where the target gives others.
    sources: Vec<Key>,
    drawn: Vec<Option<Key>>,
    /// The column of the ids, where rows are loaded with them; and each row's.
    loaded: Option<(PageColumn, Vec<Value<'static>>)>,
}

impl Translated {
    /// Returns what stands in place of a cell, if anything does.
    pub(crate) fn cell(&self, column: usize, row: usize) -> Option<&Replaced> {
        self.columns.iter().find(|(place, _)| *place == column).and_then(|(_, cells)| cells.get(row))
    }

    /// Gives cells whose parents are not known a value that no row has, so that a row which waits for its parent is seen to differ.
    fn show_missing(&mut self, entity: &EntityPlan) {
        for (place, cells) in &mut self.columns {
            let Some(column) = entity.columns.get(*place) else { continue };
            for cell in cells.iter_mut().filter(|cell| **cell == (Replaced::Missing { late: true })) {
                *cell = Replaced::Value(pretended(&column.target_type, &Key::default()));
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

/// How ids are given to rows that are new to the key map.
pub(super) enum Give<'a> {
    /// They are drawn from the target.
    Draw(&'a Context, &'a mut Batch),
    /// Some that no row has, as nothing is written.
    Pretend,
}

/// Who is asked what the target has given.
pub(super) enum Known<'a> {
    /// What is committed.
    State(&'a dyn TargetState),
    /// With what the transaction brings.
    Transaction(&'a mut dyn SinkTransaction),
}

impl Known<'_> {
    async fn mapped(&mut self, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
        match self {
            Known::State(state) => mapped(*state, job, entity, sources).await,
            Known::Transaction(transaction) => transaction.mapped(job, entity, sources).await,
        }
    }
}

/// One column whose cells are replaced.
struct Column {
    source: String,
    place: usize,
    target_type: DataType,
    late: bool,
    map: usize,
}

/// Replaces the ids of one entity's rows.
pub(crate) struct Translator {
    entity: Arc<EntityPlan>,
    job: String,
    /// The entities whose key maps are asked.
    maps: Vec<String>,
    columns: Vec<Column>,
    /// Of each map, what was found lately.
    remembered: Vec<HashMap<Key, Value<'static>>>,
    /// Entries that the transaction at hand brings, where rows of the entity refer to others of it.
    own: HashMap<Key, Value<'static>>,
    /// The place of the entity's own key map, if its rows refer to one another.
    own_map: Option<usize>,
}

impl Translator {
    /// Creates the translator of an entity; `None` if none of its ids is replaced.
    pub(crate) fn new(entity: &Arc<EntityPlan>, job: &str) -> Option<Self> {
        if entity.generated.is_none() && entity.translations.is_empty() {
            return None;
        }
        let mut maps: Vec<String> = Vec::new();
        let mut columns = Vec::new();
        for translation in &entity.translations {
            let Some(place) = entity.columns.iter().position(|c| c.target == translation.target) else { continue };
            let known = maps.iter().position(|map| *map == translation.entity);
            let map = known.unwrap_or_else(|| {
                maps.push(translation.entity.clone());
                maps.len() - 1
            });
            columns.push(Column {
                source: translation.source.clone(),
                place,
                target_type: entity.columns[place].target_type.clone(),
                late: translation.late,
                map,
            });
        }
        let own_map = maps.iter().position(|map| *map == entity.name);
        Some(Translator {
            entity: entity.clone(),
            job: job.to_owned(),
            remembered: maps.iter().map(|_| HashMap::new()).collect(),
            maps,
            columns,
            own: HashMap::new(),
            own_map,
        })
    }

    /// Forgets what the transaction at hand would have brought.
    pub(super) fn forget_own(&mut self) {
        self.own.clear();
    }

    /// Takes note of entries that the transaction at hand brings.
    pub(super) fn note_own(&mut self, pairs: &[(Key, Key)]) -> Result<()> {
        let Some(map) = self.own_map else { return Ok(()) };
        for (source, target) in pairs {
            self.remembered[map].remove(source);
            self.own.insert(source.clone(), only_value(target)?);
        }
        Ok(())
    }

    /// Looks up what stands in place of a page's ids without giving any: new rows have some that no row has, and so have references to
    /// rows that are not there.
    pub(crate) async fn compare(&mut self, state: &dyn TargetState, page: &Page) -> Result<Translated> {
        let mut translated = self.look_up(state, page, false, Give::Pretend).await?;
        translated.show_missing(&self.entity);
        Ok(translated)
    }

    /// Looks up what stands in place of a page's ids, and gives ids to rows that are new to the key map: `loads` says that no row of
    /// the page is in the target.
    pub(super) async fn look_up(
        &mut self,
        state: &dyn TargetState,
        page: &Page,
        loads: bool,
        give: Give<'_>,
    ) -> Result<Translated> {
        let entity = self.entity.clone();
        let mut found = Translated::default();
        let pretends = matches!(give, Give::Pretend);
        if let Some(own) = &entity.generated {
            self.give(state, page, own, loads, give, &mut found).await?;
        }
        self.replace(&mut Known::State(state), pretends, page, &mut found).await?;
        Ok(found)
    }

    /// Looks up what stands in place of a page's ids, which were all given, or made up, beforehand. A row that has none of its own is not to
    /// be written.
    pub(super) async fn look_up_given(&mut self, known: &mut Known<'_>, pretends: bool, page: &Page) -> Result<Translated> {
        let entity = self.entity.clone();
        let mut found = Translated::default();
        if let Some(own) = &entity.generated {
            let sources = sources_of(page, own)?;
            let given = known.mapped(&self.job, &entity.name, &sources).await?;
            let value = |source: &Key| given.get(source).map_or(Ok(pretended(&own.target_type, source)), only_value);
            let values = sources.iter().map(value).collect::<Result<Vec<_>>>()?;
            found.drawn = vec![None; values.len()];
            found.sources = sources;
            place_ids(&entity, own, values, &mut found)?;
        }
        self.replace(known, pretends, page, &mut found).await?;
        Ok(found)
    }

    /// Looks up what stands in place of a page's references. Ids that are made up fit any column.
    async fn replace(&mut self, known: &mut Known<'_>, pretends: bool, page: &Page, found: &mut Translated) -> Result<()> {
        let mut cells: Vec<Vec<Option<Key>>> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            cells.push(keys_of(page, &column.source)?);
        }
        for map in 0..self.maps.len() {
            let of_map = self.columns.iter().zip(&cells).filter(|(column, _)| column.map == map);
            let wanted: HashSet<&Key> = of_map.flat_map(|(_, cells)| cells.iter().flatten()).collect();
            let own = self.own_map == Some(map);
            let unknown = |key: &&&Key| !(self.remembered[map].contains_key(**key) || own && self.own.contains_key(**key));
            let unknown: Vec<Key> = wanted.iter().filter(unknown).map(|key| (*key).clone()).collect();
            if self.remembered[map].len() + unknown.len() > REMEMBERED {
                self.remembered[map].retain(|key, _| wanted.contains(key));
            }
            for some in unknown.chunks(AT_ONCE) {
                for (source, target) in known.mapped(&self.job, &self.maps[map], some).await? {
                    self.remembered[map].insert(source, only_value(&target)?);
                }
            }
        }
        // Rows of the entity itself that the page brings: only earlier ones are there when a row is written.
        let earlier: HashMap<&Key, usize> = match self.own_map {
            Some(_) => found.sources.iter().enumerate().map(|(row, source)| (source, row)).collect(),
            None => HashMap::new(),
        };
        for (column, cells) in self.columns.iter().zip(cells) {
            let own = self.own_map == Some(column.map);
            let replaced = cells.into_iter().enumerate().map(|(row, key)| {
                let Some(key) = key else { return Replaced::Value(Value::Null) };
                let in_page = earlier.get(&key).filter(|_| own).filter(|place| **place <= row);
                let in_page = in_page.and_then(|place| found.drawn.get(*place)?.as_ref()).and_then(|key| only_value(key).ok());
                let known = in_page
                    .or_else(|| self.own.get(&key).filter(|_| own).cloned())
                    .or_else(|| self.remembered[column.map].get(&key).cloned());
                match known.map(|value| conform(value, &column.target_type)) {
                    Some(Ok(value)) => Replaced::Value(value),
                    Some(Err(_)) if pretends => Replaced::Value(pretended(&column.target_type, &key)),
                    Some(Err(_)) | None => Replaced::Missing { late: column.late },
                }
            });
            let replaced: Vec<Replaced> = replaced.collect();
            found.columns.push((column.place, replaced));
        }
        Ok(())
    }

    /// Finds the rows' own ids, or draws them.
    async fn give(
        &self,
        state: &dyn TargetState,
        page: &Page,
        own: &GeneratedPlan,
        loads: bool,
        give: Give<'_>,
        found: &mut Translated,
    ) -> Result<()> {
        let (none, sources) = (no_id(), sources_of(page, own)?);
        if !own.keyed && !loads {
            // Known once the rows are written, by their keys.
            found.sources = sources;
            return Ok(());
        }
        let mut known: HashMap<Key, Key> = HashMap::new();
        if !loads {
            for some in sources.chunks(AT_ONCE) {
                known.extend(mapped(state, &self.job, &self.entity.name, some).await?);
            }
        }
        // Nobody refers to a row without an id, which is loaded with one all the same.
        let gets_none = |source: &Key| own.keyed && *source == none;
        let new = sources.iter().filter(|source| !known.contains_key(*source) && !gets_none(source)).count();
        let mut drawn = match give {
            Give::Pretend => None,
            Give::Draw(_, _) if new == 0 => None,
            Give::Draw(context, batch) => Some(draw(context, batch, &self.entity, own, new, loads).await?.into_iter()),
        };
        let mut values = Vec::with_capacity(sources.len());
        for source in &sources {
            let (value, fresh) = match known.get(source) {
                Some(target) => (only_value(target)?, false),
                None if gets_none(source) => (Value::Null, false),
                None => match &mut drawn {
                    Some(drawn) => (
                        drawn.next().ok_or_else(|| Error::new(ErrorKind::Internal, "fewer ids were drawn than rows are new"))?,
                        *source != none,
                    ),
                    None => (pretended(&own.target_type, source), *source != none),
                },
            };
            found.drawn.push(fresh.then(|| Key::from_values([&value])));
            values.push(value);
        }
        found.sources = sources;
        place_ids(&self.entity, own, values, found)
    }
}

/// A row without an id is refused for its key, or has none that anybody refers to.
fn no_id() -> Key {
    Key::from_values([&Value::Null])
}

/// Returns the rows' own ids at the source.
fn sources_of(page: &Page, own: &GeneratedPlan) -> Result<Vec<Key>> {
    Ok(keys_of(page, &own.source)?.into_iter().map(|key| key.unwrap_or_else(no_id)).collect())
}

/// Puts the rows' own ids where they are written: into the key, or into a column more.
fn place_ids(entity: &EntityPlan, own: &GeneratedPlan, values: Vec<Value<'static>>, found: &mut Translated) -> Result<()> {
    if own.keyed {
        let place = entity.columns.iter().position(|c| c.source.as_ref() == Some(&own.source));
        let place = place.ok_or_else(|| Error::new(ErrorKind::Internal, "the key is not written"))?;
        found.columns.push((place, values.into_iter().map(Replaced::Value).collect()));
    } else {
        found.loaded = Some((PageColumn { name: own.target.clone(), data_type: own.target_type.clone() }, values));
    }
    Ok(())
}

/// Returns what the key map of an entity has for ids of the source.
pub(super) async fn mapped(state: &dyn TargetState, job: &str, entity: &str, sources: &[Key]) -> Result<HashMap<Key, Key>> {
    or_none(state.mapped(job, entity, sources).await)
}

/// A plan, or a comparison, may find state tables of an older version, or none: they know no key map, and a run adds it, empty.
fn or_none(found: Result<HashMap<Key, Key>>) -> Result<HashMap<Key, Key>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(HashMap::new()),
        other => other,
    }
}

/// Draws ids that no row of the target has.
async fn draw(
    context: &Context,
    batch: &mut Batch,
    entity: &EntityPlan,
    own: &GeneratedPlan,
    count: usize,
    loads: bool,
) -> Result<Vec<Value<'static>>> {
    let transaction = batch.transaction(context).await?;
    if loads {
        return transaction.reserve(&entity.target, &own.target, count).await;
    }
    draw_from(context, transaction.as_mut(), entity, own, count).await
}

/// Draws ids that no row of the target has, also where rows came with numbers of their own.
pub(super) async fn draw_from(
    context: &Context,
    transaction: &mut dyn SinkTransaction,
    entity: &EntityPlan,
    own: &GeneratedPlan,
    count: usize,
) -> Result<Vec<Value<'static>>> {
    let column = std::slice::from_ref(&own.target);
    let mut drawn: Vec<Value<'static>> = Vec::with_capacity(count);
    while drawn.len() < count {
        let mut some = transaction.reserve(&entity.target, &own.target, count - drawn.len()).await?;
        // A sequence may lie behind the rows.
        let keys: Vec<Key> = some.iter().map(|value| Key::from_values([value])).collect();
        let taken = transaction.existing(&entity.target, column, &keys).await?;
        let mut keys = keys.iter();
        some.retain(|_| keys.next().is_some_and(|key| !taken.contains(key)));
        drawn.extend(some);
        context.check_cancelled()?;
    }
    Ok(drawn)
}

/// Returns the cells of a column as keys; NULL is none, and neither is what cannot be decoded: its row is refused.
pub(super) fn keys_of(page: &Page, column: &str) -> Result<Vec<Option<Key>>> {
    let place =
        page.column_index(column).ok_or_else(|| Error::new(ErrorKind::Internal, format!("a page lacks the column {column}")))?;
    let (encoding, data_type) = (page.encoding(), &page.columns()[place].data_type);
    let mut keys = Vec::with_capacity(page.row_count());
    for row in page.rows() {
        let value = encoding.decode(data_type, row.cells().nth(place).flatten()).unwrap_or(Value::Null);
        keys.push((!value.is_null()).then(|| Key::from_values([&value])));
    }
    Ok(keys)
}

fn only_value(key: &Key) -> Result<Value<'static>> {
    let value = key.values()?.into_iter().next().map(Value::into_owned);
    value.ok_or_else(|| Error::new(ErrorKind::Corrupt, "an entry of the key map holds no id"))
}

/// An id that no row has, but for a very small chance, and the same one each time.
pub(super) fn pretended(data_type: &DataType, source: &Key) -> Value<'static> {
    let seed = canonical::checksum(source.as_bytes());
    let number = i64::from_be_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
    match data_type {
        DataType::Int16 => Value::Int(i64::from(i16::MIN) + (number & 0x0fff)),
        DataType::Int32 => Value::Int(i64::from(i32::MIN) + (number & 0x00ff_ffff)),
        DataType::Int64 | DataType::Dynamic { .. } => Value::Int(i64::MIN + (number & 0x00ff_ffff_ffff_ffff)),
        DataType::Uuid => Value::Uuid(seed),
        DataType::Bytes => Value::Bytes(seed.to_vec().into()),
        _ => Value::Text(crate::state::to_hex(&seed).into()),
    }
}

/// A checksum that stands for a source's id. Beside the key it is part of no row, yet a row that has another one is to be looked at again.
pub(super) fn mask(source: Option<&Key>) -> Checksum {
    source.map_or([0; 16], |source| canonical::checksum(source.as_bytes()))
}

/// Puts an id's checksum on a row's, or takes it off again.
pub(super) fn masked(mut checksum: Checksum, mask: &Checksum) -> Checksum {
    checksum.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    checksum
}

/// Returns the target's spelling of keys of the source, ids in them replaced; `None` where nothing is known of such an id, so that the
/// target has no row of the key.
///
/// # Errors
/// As [`target_key`], and those of the target's state.
pub(crate) async fn target_keys(
    state: &dyn TargetState,
    job: &str,
    entity: &EntityPlan,
    keys: &[Key],
) -> Result<Vec<Option<Key>>> {
    if !entity.translates_key() {
        return keys.iter().map(|key| target_key(entity, key).map(Some)).collect();
    }
    let mut rows: Vec<Option<Vec<Value<'static>>>> = Vec::with_capacity(keys.len());
    for key in keys {
        rows.push(Some(key.values()?.into_iter().map(Value::into_owned).collect()));
    }
    for (place, name) in entity.key.iter().enumerate() {
        let Some(map) = entity.map_of(name) else { continue };
        let source = |row: &Option<Vec<Value<'static>>>| Some(Key::from_values([row.as_ref()?.get(place)?]));
        let wanted: Vec<Key> = rows.iter().filter_map(source).collect::<HashSet<_>>().into_iter().collect();
        let mut known = HashMap::new();
        for some in wanted.chunks(AT_ONCE) {
            known.extend(mapped(state, job, map, some).await?);
        }
        for row in &mut rows {
            let target = source(row).and_then(|source| known.get(&source)).map(only_value).transpose()?;
            match (row.as_mut().and_then(|row| row.get_mut(place)), target) {
                (Some(value), Some(target)) => *value = target,
                _ => *row = None,
            }
        }
    }
    rows.into_iter().map(|row| row.map(|row| target_key(entity, &Key::from_values(&row))).transpose()).collect()
}

/// Returns the source's spelling of keys of the target, ids in them put back; `None` where the key map does not know one, so that the row
/// is none of the job's.
///
/// # Errors
/// Those of the target's state.
pub(crate) async fn source_keys(
    state: &dyn TargetState,
    job: &str,
    entity: &EntityPlan,
    keys: &[Key],
) -> Result<Vec<Option<Key>>> {
    let mut rows: Vec<Option<Vec<Value<'static>>>> = Vec::with_capacity(keys.len());
    for key in keys {
        rows.push(Some(key.values()?.into_iter().take(entity.key.len()).map(Value::into_owned).collect()));
    }
    for (place, name) in entity.key.iter().enumerate() {
        let Some(map) = entity.map_of(name) else { continue };
        let target = |row: &Option<Vec<Value<'static>>>| Some(Key::from_values([row.as_ref()?.get(place)?]));
        let wanted: Vec<Key> = rows.iter().filter_map(target).collect::<HashSet<_>>().into_iter().collect();
        let mut known = HashMap::new();
        for some in wanted.chunks(AT_ONCE) {
            known.extend(or_none(state.mapped_back(job, map, some).await)?);
        }
        for row in &mut rows {
            let source = target(row).and_then(|target| known.get(&target)).map(only_value).transpose()?;
            match (row.as_mut().and_then(|row| row.get_mut(place)), source) {
                (Some(value), Some(source)) => *value = source,
                _ => *row = None,
            }
        }
    }
    Ok(rows.into_iter().map(|row| row.map(|row| Key::from_values(&row))).collect())
}

/// Returns the ids that the target's rows of these keys have, by key.
pub(super) async fn ids_of(
    transaction: &mut dyn SinkTransaction,
    entity: &EntityPlan,
    own: &GeneratedPlan,
    keys: &[Key],
) -> Result<HashMap<Key, Key>> {
    let mut columns = entity.target_key.clone();
    columns.push(own.target.clone());
    let types: Vec<Option<&DataType>> = columns.iter().map(|name| entity.target.column(name).map(|c| &c.data_type)).collect();
    let request = PageRequest::new(&entity.target, &columns, &entity.target_key);
    let page = transaction.read_rows(&request, keys).await?;
    let mut found = HashMap::with_capacity(keys.len());
    for row in page.rows() {
        let values = row.values()?.into_iter().zip(&types);
        let values: Vec<Value<'_>> = values
            .map(|(value, data_type)| match data_type {
                Some(data_type) => conform(value.clone(), data_type).unwrap_or(value),
                None => value,
            })
            .collect();
        let (id, key) = values.split_last().ok_or_else(|| Error::new(ErrorKind::Internal, "a row without its id"))?;
        found.insert(Key::from_values(key), Key::from_values([id]));
    }
    Ok(found)
}

/// Returns how ids are given in a run, and in one that only looks.
pub(super) fn giving<'a>(context: &'a Context, batch: &'a mut Batch) -> Give<'a> {
    match context.purpose {
        Purpose::Run => Give::Draw(context, batch),
        Purpose::Preview | Purpose::Adopt => Give::Pretend,
    }
}
