//! Finds changes by a column that tells when each row was changed last.
//!
//! A landmark of this strategy says which column was looked at, and from which value on the next run looks again.

use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filter, Parameter};
use crate::plan::EntityPlan;
use crate::source::{PageRequest, Since, Snapshot, Survey};
use crate::value::{Key, KeyRange};
use serde::{Deserialize, Serialize};

/// What all landmarks of this strategy begin with, and those of no source do.
const PREFIX: &str = "cursor ";

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

    /// Returns whether there are any in a range.
    pub(super) async fn any_in(&self, entity: &EntityPlan, range: KeyRange, snapshot: &mut dyn Snapshot) -> Result<bool> {
        let request = PageRequest::new(&entity.source, &entity.key, &entity.key)
            .with_filter(Some(&self.filter))
            .with_range(range)
            .with_limits(usize::MAX, 1);
        Ok(!snapshot.read_page(&request).await?.is_empty())
    }
}

/// The range between the ends of two blocks.
pub(super) fn between(after: Option<&Key>, up_to: &Key) -> KeyRange {
    KeyRange { after: after.cloned(), up_to: Some(up_to.clone()) }
}
