//! One side of a comparison: its rows as keys and checksums.

use crate::error::Result;
use crate::pipeline::keymap::{Translator, without_names};
use crate::pipeline::shape::{Shaped, Shaper, mirrored, target_key};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Snapshot};
use crate::state::TargetState;
use crate::value::canonical::{self, Checksum};
use crate::value::{DataType, Key, Page, Value};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Bytes of a page that is read.
const PAGE_BYTES: usize = 256 << 10;

/// One side of a comparison.
pub(super) struct Side {
    pub(super) entity: Arc<EntityPlan>,
    shaper: Shaper,
    /// The target's rows that are not this entity's: another constant, or a mark.
    strangers: Vec<(usize, Vec<u8>)>,
    /// The target's rows that stand in for others: what each has in its columns.
    placeholders: Vec<Vec<(usize, Vec<u8>)>>,
    /// For each column of the key, the type in which both sides spell it; `None` if they spell keys differently, whatever is read.
    key_types: Option<Vec<DataType>>,
    /// What replaces ids of the source, where the target has given others, and where the key maps are.
    translator: Option<(Translator, Arc<dyn TargetState>)>,
}

/// One row of a side.
pub(super) struct SideRow {
    /// The key as the target spells it; for a table without one, the row's checksum.
    pub(super) key: Key,
    /// The key as this side spells it.
    pub(super) own_key: Key,
    pub(super) checksum: Checksum,
    /// Whether the row is one of a set, which `own_key` then says: it has no key at all.
    of_set: bool,
    /// The row's values, if asked for.
    pub(super) values: Vec<Value<'static>>,
}

impl SideRow {
    /// Returns what the row is summed up by: rows of one set together.
    pub(super) fn group(&self) -> &Key {
        if self.of_set { &self.own_key } else { &self.key }
    }
}

/// Of which rows the values are asked for.
#[derive(Clone, Copy)]
pub(super) enum Values<'k> {
    OfNone,
    OfAll,
    /// Of the rows with these keys, as [`SideRow::key`] has them.
    Of(&'k HashSet<Key>),
}

impl Values<'_> {
    fn wants(self, key: &Key) -> bool {
        match self {
            Values::OfNone => false,
            Values::OfAll => true,
            Values::Of(keys) => keys.contains(key),
        }
    }
}

/// What a page holds.
pub(super) struct SideRows {
    pub(super) rows: Vec<SideRow>,
    /// Keys of rows that cannot be shaped, as the target spells them where they can be at all.
    pub(super) refused: Vec<Key>,
    /// How many more cannot be, whose keys at the target are not known.
    pub(super) unknown: u64,
}

impl Side {
    /// The source, its rows shaped as a run would.
    pub(super) fn of_source(entity: &EntityPlan, left_out: &BTreeSet<String>, job: &str, state: Arc<dyn TargetState>) -> Self {
        let mut entity = entity.clone();
        entity.columns.retain(|c| !left_out.contains(&c.target));
        // The steps of a transformation take values in other types than the page's.
        let alike = entity.transform.is_none() && entity.key.len() == entity.target_key.len();
        let key_types = alike.then(|| {
            let pairs = entity.key.iter().zip(&entity.target_key);
            let column =
                |(source, target)| entity.columns.iter().find(|c| c.source.as_ref() == Some(source) && &c.target == target);
            pairs.map(|pair| column(pair).map(|c| c.target_type.clone())).collect::<Option<Vec<_>>>()
        });
        let mut side = Side::new(entity, Vec::new(), key_types.flatten());
        side.translator = Translator::new(&side.entity, job).map(|translator| (translator, state));
        side
    }

    /// The target, read back through its own columns.
    pub(super) fn of_target(entity: &EntityPlan, left_out: &BTreeSet<String>) -> Self {
        let mut mirror = entity.clone();
        mirror.columns.retain(|c| !left_out.contains(&c.target));
        let encoded = |value: &Value<'_>| {
            let mut bytes = Vec::new();
            canonical::encode_value(value, &mut bytes);
            bytes
        };
        let constants = mirror.columns.iter().enumerate();
        let strangers = constants.filter_map(|(place, c)| Some((place, encoded(c.constant.as_ref()?)))).collect();
        let placeholders = mirror.placeholders.iter().map(|placeholder| {
            let cells = placeholder.key.iter().zip(&placeholder.values);
            let place = |name: &String| mirror.columns.iter().position(|c| &c.target == name);
            cells.filter_map(|(name, value)| Some((place(name)?, encoded(value)))).collect()
        });
        let placeholders = placeholders.collect();
        let mirror = mirrored(mirror);
        let of_key = |name: &String| mirror.columns.iter().find(|c| &c.target == name).map(|c| c.target_type.clone());
        let key_types = mirror.key.iter().map(of_key).collect();
        Side { placeholders, ..Side::new(mirror, strangers, key_types) }
    }

    fn new(entity: EntityPlan, strangers: Vec<(usize, Vec<u8>)>, key_types: Option<Vec<DataType>>) -> Self {
        let entity = Arc::new(entity);
        Side { shaper: Shaper::new(entity.clone()), entity, strangers, placeholders: Vec::new(), key_types, translator: None }
    }

    /// Whether a page's keys are spelled as the target's columns have them. SQLite's cells are text where its column says
    /// `TIMESTAMPTZ_TEXT`, so that the columns' types do not tell: the page's do.
    fn has_target_keys(&self, page: &Page) -> bool {
        let is = |(name, data_type): (&String, &DataType)| {
            page.column_index(name).is_some_and(|place| &page.columns()[place].data_type == data_type)
        };
        self.key_types.as_ref().is_some_and(|types| self.entity.key.iter().zip(types).all(is))
    }

    /// Reads all rows, in whatever order is quickest, and hands over each page's.
    pub(super) async fn read_all(
        &mut self,
        snapshot: &mut dyn Snapshot,
        values: Values<'_>,
        take: &mut (dyn FnMut(SideRows) + Send),
    ) -> Result<()> {
        let entity = self.entity.clone();
        let columns = entity.read_columns();
        let mut request = PageRequest::new(&entity.source, &columns, &[])
            .with_filter(entity.parsed_filter.as_ref())
            .with_limits(PAGE_BYTES, usize::MAX);
        loop {
            let mut page = snapshot.read_page(&request).await.map_err(|e| e.with("entity", &entity.name))?;
            let next = page.next.take();
            let shaped = self.shape(page).await?;
            take(self.rows(&shaped, values)?);
            match next {
                Some(key) => request.range.after = Some(key),
                None => return Ok(()),
            }
        }
    }

    /// Reads the rows of these keys, with their values.
    pub(super) async fn read_some(&mut self, snapshot: &mut dyn Snapshot, keys: &[Key]) -> Result<SideRows> {
        let entity = self.entity.clone();
        let columns = entity.read_columns();
        let request = PageRequest::new(&entity.source, &columns, &entity.key).with_filter(entity.parsed_filter.as_ref());
        let page = snapshot.read_rows(&request, &without_names(keys)?).await.map_err(|e| e.with("entity", &entity.name))?;
        let shaped = self.shape(page).await?;
        self.rows(&shaped, Values::OfAll)
    }

    /// Shapes a page as a run would; ids that a run would draw are some that no row has.
    async fn shape(&mut self, page: Page) -> Result<Shaped> {
        let Some((translator, state)) = &mut self.translator else { return self.shaper.shape(page) };
        let translated = translator.compare(state.as_ref(), &page).await?;
        self.shaper.shape_translated(page, &translated)
    }

    fn rows(&self, shaped: &Shaped, wanted: Values<'_>) -> Result<SideRows> {
        let mut out = SideRows { rows: Vec::with_capacity(shaped.rows.len()), refused: Vec::new(), unknown: 0 };
        let as_they_are = self.has_target_keys(&shaped.source);
        for row in &shaped.rows {
            let spelled = |key: &Key| if as_they_are { Ok(key.clone()) } else { target_key(&self.entity, key) };
            let Ok(place) = row.place else {
                if self.entity.translates_key() {
                    // Known by what quarantine has; nothing says what its key would be.
                    out.unknown += 1;
                    continue;
                }
                out.refused.extend(spelled(&row.key).ok());
                continue;
            };
            let at = shaped.page.row(place as usize);
            let key_in_row = |values: &[Value<'_>]| {
                let place = |name: &String| self.entity.columns.iter().position(|c| &c.target == name);
                Key::from_values(self.entity.target_key.iter().filter_map(place).map(|place| &values[place]))
            };
            if !(self.strangers.is_empty() && self.placeholders.is_empty()) && self.is_strange(&at.values()?) {
                continue;
            }
            if let Some(set) = &self.entity.set {
                let values = at.values()?;
                let place = |name: &String| self.entity.columns.iter().position(|c| &c.target == name);
                let parent = Key::from_values(set.target.iter().filter_map(place).map(|place| &values[place]));
                let parent = canonical::checksum(parent.as_bytes());
                let key = Key::from_bytes([parent, row.checksum].concat());
                let own_key = Key::from_bytes(parent);
                let values = if wanted.wants(&key) { values.into_iter().map(Value::into_owned).collect() } else { Vec::new() };
                out.rows.push(SideRow { key, own_key, checksum: row.checksum, of_set: true, values });
                continue;
            }
            let key = if self.entity.is_keyless() {
                Key::from_bytes(row.checksum)
            } else if self.entity.translates_key() {
                // The row has its ids replaced already.
                key_in_row(&at.values()?)
            } else {
                spelled(&row.key)?
            };
            let values = match wanted.wants(&key) {
                true => at.values()?.into_iter().map(Value::into_owned).collect(),
                false => Vec::new(),
            };
            out.rows.push(SideRow { key, own_key: row.key.clone(), checksum: row.checksum, of_set: false, values });
        }
        Ok(out)
    }

    /// Whether a row of the target belongs to another entity of its table, is marked as deleted, or stands in for others.
    fn is_strange(&self, values: &[Value<'_>]) -> bool {
        let mut bytes = Vec::new();
        let mut has = |(place, constant): &(usize, Vec<u8>)| {
            bytes.clear();
            canonical::encode_value(&values[*place], &mut bytes);
            &bytes == constant
        };
        !self.strangers.iter().all(&mut has) || self.placeholders.iter().any(|cells| cells.iter().all(&mut has))
    }
}
