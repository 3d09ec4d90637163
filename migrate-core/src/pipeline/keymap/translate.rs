//! Finds, for a page, what stands in place of its ids.

use super::draw::{Give, draw, pretended};
use super::found::{Replaced, Translated};
use super::given::Given;
use super::{AT_ONCE, keys_of, mapped, no_id, only_value, sources_of};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{EntityPlan, GeneratedPlan};
use crate::sink::SinkTransaction;
use crate::state::TargetState;
use crate::value::conform::conform;
use crate::value::{DataType, Key, Page, PageColumn, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Ids of each key map that are remembered from one page to the next.
const REMEMBERED: usize = 16_384;

/// Who is asked what the target has given.
pub(in crate::pipeline) enum Known<'a> {
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
    /// What the attempt at hand has given.
    given: Option<Arc<Given>>,
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
            given: None,
        })
    }

    /// Lets what the attempt at hand has given be known without asking.
    pub(in crate::pipeline) fn knowing(mut self, given: Arc<Given>) -> Self {
        self.given = Some(given);
        self
    }

    /// Forgets what the transaction at hand would have brought.
    pub(in crate::pipeline) fn forget_own(&mut self) {
        self.own.clear();
    }

    /// Takes note of entries that the transaction at hand brings.
    pub(in crate::pipeline) fn note_own(&mut self, pairs: &[(Key, Key)]) -> Result<()> {
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
    pub(in crate::pipeline) async fn look_up(
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

    /// Looks up what stands in place of a page's ids, which were all given, or made up, beforehand. A row that is known by its id, and has
    /// none, is refused.
    pub(in crate::pipeline) async fn look_up_given(
        &mut self,
        known: &mut Known<'_>,
        pretends: bool,
        page: &Page,
    ) -> Result<Translated> {
        let entity = self.entity.clone();
        let mut found = Translated::default();
        if let Some(own) = &entity.generated {
            let sources = sources_of(page, own)?;
            let given = known.mapped(&self.job, &entity.name, &sources).await?;
            let value = |source: &Key| match given.get(source) {
                Some(target) => only_value(target).map(Replaced::Value),
                None if own.keyed && !pretends => Ok(Replaced::Missing { late: false }),
                None => Ok(Replaced::Value(pretended(&own.target_type, source))),
            };
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
            let mut unknown: Vec<Key> = wanted.iter().filter(unknown).map(|key| (*key).clone()).collect();
            if self.remembered[map].len() + unknown.len() > REMEMBERED {
                self.remembered[map].retain(|key, _| wanted.contains(key));
            }
            if let Some(given) = &self.given {
                given.take_known(&self.maps[map], &mut unknown, &mut self.remembered[map]);
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
                let in_page = in_page.and_then(|place| Some((*place, only_value(found.drawn.get(*place)?.as_ref()?).ok()?)));
                let (place, drawn) = in_page.unzip();
                let known = drawn
                    .or_else(|| self.own.get(&key).filter(|_| own).cloned())
                    .or_else(|| self.remembered[column.map].get(&key).cloned());
                let value = match known.map(|value| conform(value, &column.target_type)) {
                    Some(Ok(value)) => value,
                    Some(Err(_)) if pretends => pretended(&column.target_type, &key),
                    Some(Err(_)) | None => return Replaced::Missing { late: column.late },
                };
                match place {
                    Some(row) => Replaced::OfRow { value, row, late: column.late },
                    None => Replaced::Value(value),
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
            values.push(Replaced::Value(value));
        }
        found.sources = sources;
        place_ids(&self.entity, own, values, found)
    }
}

/// Puts the rows' own ids where they are written: into the key, or into a column more.
fn place_ids(entity: &EntityPlan, own: &GeneratedPlan, values: Vec<Replaced>, found: &mut Translated) -> Result<()> {
    if own.keyed {
        let place = entity.columns.iter().position(|c| c.source.as_ref() == Some(&own.source));
        let place = place.ok_or_else(|| Error::new(ErrorKind::Internal, "the key is not written"))?;
        found.columns.push((place, values));
    } else {
        let value = |replaced| match replaced {
            Replaced::Value(value) | Replaced::OfRow { value, .. } => value,
            Replaced::Missing { .. } => Value::Null,
        };
        let values = values.into_iter().map(value).collect();
        found.loaded = Some((PageColumn { name: own.target.clone(), data_type: own.target_type.clone() }, values));
    }
    Ok(())
}
