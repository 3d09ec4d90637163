//! Ids that the target gives: found for a page before it is shaped, and taken note of once its rows are written.

use super::super::context::Purpose;
use super::super::keymap::{RowIds, giving, ids_of, mapped, mask, masked, pretended};
use super::super::shape::Shaped;
use super::super::update::shown;
use super::Walk;
use crate::error::Result;
use crate::job::Level;
use crate::plan::GeneratedPlan;
use crate::value::{Key, Page, Value};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

impl Walk {
    /// Shapes a page, ids replaced.
    pub(super) async fn shape(&mut self, page: Page) -> Result<Shaped> {
        let Some(translator) = &mut self.translator else { return self.shaper.shape(page) };
        let loads = self.live.in_tail && self.loadable;
        let state = self.context.state.clone();
        let translated = translator.look_up(state.as_ref(), &page, loads, giving(&self.context, &mut self.batch)).await?;
        let refused = |key: &Key| self.refused.contains_key(key);
        let mut shaped = self.shaper.shape_translated_but(page, &translated, &refused)?;
        if self.plan.entity.generated_beside_key().is_some() {
            for row in &mut shaped.rows {
                let Ok(place) = row.place else { continue };
                row.checksum = masked(row.checksum, &mask(&self.plan.entity, shaped.ids.as_deref(), place));
            }
        }
        Ok(shaped)
    }

    /// Takes note of a row that is written without a parent.
    pub(super) fn note_waiting(&mut self, key: &Key) {
        if self.context.purpose != Purpose::Run {
            return;
        }
        self.live.counters.pending += 1;
        if !self.late.is_empty() {
            self.batch.without_id.insert(key.clone());
        }
        self.incomplete.store(true, Ordering::Relaxed);
        if self.named > 0 {
            self.named -= 1;
            let message = format!(
                "the row with the key ({}) waits for a parent that is not there; until then it refers to none",
                shown(key)
            );
            self.context.log(Level::Warn, &self.plan.entity.name, message);
        }
    }

    /// Puts what is known of the ids of rows that were written just now into the key map.
    pub(super) async fn note_ids(&mut self, page: &Page, rows: &[u32], ids: &RowIds) -> Result<()> {
        let entity = self.plan.entity.clone();
        let drawn: Vec<(Key, Key)> = rows.iter().filter_map(|row| ids.drawn(*row)).collect();
        if let Some(translator) = &mut self.translator {
            translator.note_own(&drawn)?;
        }
        self.batch.key_map.entries.extend(drawn);
        let loaded = page.columns().len() > entity.columns.len();
        let Some(own) = entity.generated_beside_key().filter(|_| !loaded && !rows.is_empty()) else { return Ok(()) };
        // The target has given ids to new rows, or has had them for long.
        let mut found = Vec::new();
        for (source, target) in self.ids_there(own, page, rows, ids).await? {
            match target {
                Some(target) => found.push((source, target)),
                None if self.context.purpose == Purpose::Preview => {
                    let target = Key::from_values([&pretended(&own.target_type, &source)]);
                    found.push((source, target));
                }
                // Kept out by a trigger, or not the job's to write: nobody can refer to it.
                None => {}
            }
        }
        let known = if self.context.purpose == Purpose::Run { self.known_ids(&found).await? } else { HashMap::new() };
        self.take_ids(found, &known)
    }

    /// Puts ids of rows that the target keeps as it has them into the key map, as far as they are news to it: in mode `append` such a row
    /// may have another id at the source by now, or one that was another row's.
    pub(super) async fn learn_ids(&mut self, page: &Page, rows: &[u32], ids: &RowIds) -> Result<()> {
        let entity = self.plan.entity.clone();
        let Some(own) = entity.generated_beside_key().filter(|_| !rows.is_empty()) else { return Ok(()) };
        let begins = !self.batch.has_begun();
        let there = self.ids_there(own, page, rows, ids).await?;
        let mut found: Vec<(Key, Key)> = there.into_iter().filter_map(|(source, target)| Some((source, target?))).collect();
        let known = self.known_ids(&found).await?;
        found.retain(|(source, target)| known.get(source) != Some(target));
        if found.is_empty() && begins {
            // There may be nothing else to commit.
            return self.batch.give_up().await;
        }
        self.batch.rows += found.len();
        self.take_ids(found, &known)
    }

    /// Returns the rows' ids at the source with those that the target has for them beside their keys; none where it has no such row.
    async fn ids_there(
        &mut self,
        own: &GeneratedPlan,
        page: &Page,
        rows: &[u32],
        ids: &RowIds,
    ) -> Result<Vec<(Key, Option<Key>)>> {
        let entity = self.plan.entity.clone();
        let places: Vec<usize> =
            entity.target_key.iter().filter_map(|name| entity.columns.iter().position(|c| &c.target == name)).collect();
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            let values = page.row(*row as usize).values()?;
            keys.push(Key::from_values(places.iter().map(|place| &values[*place])));
        }
        let transaction = self.batch.transaction(&self.context).await?;
        let there = ids_of(transaction.as_mut(), &entity, own, &keys).await?;
        let none = Key::from_values([&Value::Null]);
        let found = rows.iter().zip(&keys).filter_map(|(row, key)| {
            let source = ids.source(*row).filter(|source| **source != none)?;
            Some((source.clone(), there.get(key).cloned()))
        });
        Ok(found.collect())
    }

    /// Returns what the key map has for the ids of the source that were found.
    async fn known_ids(&mut self, found: &[(Key, Key)]) -> Result<HashMap<Key, Key>> {
        if found.is_empty() {
            return Ok(HashMap::new());
        }
        let sources: Vec<Key> = found.iter().map(|(source, _)| source.clone()).collect();
        mapped(self.context.state.as_ref(), &self.context.job.name, &self.plan.entity.name, &sources).await
    }

    /// Adds to the key map what was found, of which this is known.
    fn take_ids(&mut self, found: Vec<(Key, Key)>, known: &HashMap<Key, Key>) -> Result<()> {
        let other = |(source, target): &(Key, Key)| known.get(source).is_some_and(|known| known != target);
        if self.context.purpose == Purpose::Run && found.iter().any(other) {
            self.reassigned.store(true, Ordering::Relaxed);
        }
        if let Some(translator) = &mut self.translator {
            translator.note_own(&found)?;
        }
        self.batch.key_map.entries.extend(found);
        Ok(())
    }
}
