//! Ids that the target gives: found for a page before it is shaped, and taken note of once its rows are written.

use super::super::context::Purpose;
use super::super::keymap::{RowIds, giving, ids_of, mapped, mask, masked, pretended};
use super::super::shape::Shaped;
use super::super::update::shown;
use super::Walk;
use crate::error::Result;
use crate::job::Level;
use crate::value::{Key, Page, Value};
use std::sync::atomic::Ordering;

impl Walk {
    /// Shapes a page, ids replaced.
    pub(super) async fn shape(&mut self, page: Page) -> Result<Shaped> {
        let Some(translator) = &mut self.translator else { return self.shaper.shape(page) };
        let loads = self.live.in_tail && self.loadable;
        let state = self.context.state.clone();
        let translated = translator.look_up(state.as_ref(), &page, loads, giving(&self.context, &mut self.batch)).await?;
        let mut shaped = self.shaper.shape_translated(page, &translated)?;
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
        let mut found = Vec::new();
        for (row, key) in rows.iter().zip(&keys) {
            let Some(source) = ids.source(*row).filter(|source| **source != none) else { continue };
            match there.get(key) {
                Some(target) => found.push((source.clone(), target.clone())),
                None if self.context.purpose == Purpose::Preview => {
                    found.push((source.clone(), Key::from_values([&pretended(&own.target_type, source)])));
                }
                // Kept out by a trigger, or not the job's to write: nobody can refer to it.
                None => {}
            }
        }
        if self.context.purpose == Purpose::Run && !found.is_empty() {
            let sources: Vec<Key> = found.iter().map(|(source, _)| source.clone()).collect();
            let before = mapped(self.context.state.as_ref(), &self.context.job.name, &entity.name, &sources).await?;
            if found.iter().any(|(source, target)| before.get(source).is_some_and(|before| before != target)) {
                self.reassigned.store(true, Ordering::Relaxed);
            }
        }
        if let Some(translator) = &mut self.translator {
            translator.note_own(&found)?;
        }
        self.batch.key_map.entries.extend(found);
        Ok(())
    }
}
