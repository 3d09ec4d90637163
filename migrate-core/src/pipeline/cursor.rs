//! Finds changes by a column that tells when each row was changed last.
//!
//! A landmark of this strategy says which column was looked at, and from which value on the next run looks again.

use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filter, Parameter};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Since, Snapshot, Survey};
use crate::state::BlockHead;
use crate::value::{Key, KeyRange};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ops::Range;

/// What all landmarks of this strategy begin with, and those of no source do.
const PREFIX: &str = "cursor ";
/// Rows that are looked out for at most: for each, the source is asked once for every 256 blocks before it. Where there are more, reading
/// all rows is the lesser evil.
pub(super) const LOOKED_OUT_FOR: usize = 1_000;
/// Rows that are looked up by one request.
const LOOKED_UP: usize = 500;

/// Where a cursor stood.
#[derive(Serialize, Deserialize)]
struct Landmark {
    column: String,
    from: Parameter,
}

/// Returns whether a landmark is one of this strategy, and not of the source's own.
pub(super) fn is_cursor(landmark: &str) -> bool {
    landmark.starts_with(PREFIX)
}

fn read(landmark: &str) -> Option<Landmark> {
    serde_json::from_str(landmark.strip_prefix(PREFIX)?).ok()
}

/// Says whether a landmark of an earlier run tells what has changed since, and where the column stands now.
pub(super) async fn survey(
    entity: &EntityPlan,
    request: &PageRequest<'_>,
    before: Option<&str>,
    snapshot: &mut dyn Snapshot,
) -> Result<Survey> {
    let Some(cursor) = &entity.cursor else { return Ok(Survey::default()) };
    let from = snapshot.cursor(request, cursor).await.map_err(|error| error.with("field", "cursor"))?;
    let landmark = from.map(|from| {
        let landmark = Landmark { column: cursor.column.clone(), from };
        serde_json::to_string(&landmark).map(|text| format!("{PREFIX}{text}"))
    });
    let landmark =
        landmark.transpose().map_err(|error| Error::new(ErrorKind::Internal, "a cursor cannot be kept").caused_by(error))?;
    let since = match before.and_then(read) {
        Some(before) if before.column == cursor.column => Since::Known,
        Some(_) => Since::Unknown(format!("the column {} was not looked at before", cursor.column)),
        None => Since::Unknown("no value of the cursor is known yet".to_owned()),
    };
    Ok(Survey { landmark, since })
}

/// Which rows may have changed.
#[derive(Debug)]
pub(super) struct Candidates {
    filter: Filter,
}

impl Candidates {
    /// Returns the rows that may have changed since a landmark of this strategy.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is none.
    pub(super) fn since(entity: &EntityPlan, landmark: &str) -> Result<Self> {
        let Some(Landmark { column, from }) = read(landmark) else {
            return Err(Error::new(ErrorKind::Corrupt, "a kept cursor is damaged").with("entity", &entity.name));
        };
        Ok(Candidates { filter: Filter::from(entity.parsed_filter.as_ref(), &column, from) })
    }

    /// Returns whether there are any at all.
    pub(super) async fn any(&self, entity: &EntityPlan, snapshot: &mut dyn Snapshot) -> Result<bool> {
        Ok(snapshot.count_rows(&entity.source, Some(&self.filter)).await? > 0)
    }

    /// Returns the places of blocks, which follow one another behind a key, outside of which there are none. Halves of them are asked for as
    /// long as there are some in one half alone: what one row has changed costs one block, and not all of them.
    pub(super) async fn places(
        &self,
        entity: &EntityPlan,
        after: Option<&Key>,
        heads: &[BlockHead],
        snapshot: &mut dyn Snapshot,
    ) -> Result<Range<usize>> {
        let ends: Vec<Key> = heads.iter().map(|head| Key::from_bytes(&head.last_key)).collect();
        let range = |places: &Range<usize>| {
            let after = if places.start == 0 { after } else { Some(&ends[places.start - 1]) };
            between(after, &ends[places.end - 1])
        };
        let mut found = 0..ends.len();
        if found.is_empty() || !self.any_in(entity, range(&found), snapshot).await? {
            return Ok(0..0);
        }
        while found.len() > 1 {
            let middle = found.start + found.len() / 2;
            let (first, second) = (found.start..middle, middle..found.end);
            let in_first = self.any_in(entity, range(&first), snapshot).await?;
            if in_first && self.any_in(entity, range(&second), snapshot).await? {
                break;
            }
            found = if in_first { first } else { second };
        }
        Ok(found)
    }

    /// Returns whether there are any in a range.
    async fn any_in(&self, entity: &EntityPlan, range: KeyRange, snapshot: &mut dyn Snapshot) -> Result<bool> {
        let request = PageRequest::new(&entity.source, &entity.key, &entity.key)
            .with_filter(Some(&self.filter))
            .with_range(range)
            .with_limits(usize::MAX, 1);
        Ok(!snapshot.read_page(&request).await?.is_empty())
    }
}

/// Rows of the source that are looked at whatever the column tells, and were not come by yet.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    keys: Vec<Key>,
}

impl Lookout {
    /// Returns those of these rows that the source has under the entity's filter.
    pub(super) async fn of(entity: &EntityPlan, rows: &HashSet<Key>, snapshot: &mut dyn Snapshot) -> Result<Self> {
        let request = PageRequest::new(&entity.source, &entity.key, &entity.key).with_filter(entity.parsed_filter.as_ref());
        let all: Vec<Key> = rows.iter().cloned().collect();
        let mut keys = Vec::new();
        for some in all.chunks(LOOKED_UP) {
            for row in snapshot.read_rows(&request, some).await.map_err(|error| error.with("entity", &entity.name))?.rows() {
                keys.push(Key::from_values(&row.values()?));
            }
        }
        Ok(Lookout { keys })
    }

    /// Takes those out that are not behind a key. No key is ever compared for order here: what is behind it only the source can say.
    pub(super) async fn take(&mut self, entity: &EntityPlan, up_to: &Key, snapshot: &mut dyn Snapshot) -> Result<Lookout> {
        let mut taken = Lookout::default();
        for key in std::mem::take(&mut self.keys) {
            let request = PageRequest::new(&entity.source, &entity.key, &entity.key)
                .with_filter(entity.parsed_filter.as_ref())
                .with_range(between(Some(up_to), &key))
                .with_limits(usize::MAX, 1);
            // The row itself is in that range, unless it ends before it begins.
            let behind = !snapshot.read_page(&request).await.map_err(|error| error.with("entity", &entity.name))?.is_empty();
            if behind { &mut self.keys } else { &mut taken.keys }.push(key);
        }
        Ok(taken)
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The range between the ends of two blocks.
pub(super) fn between(after: Option<&Key>, up_to: &Key) -> KeyRange {
    KeyRange { after: after.cloned(), up_to: Some(up_to.clone()) }
}
