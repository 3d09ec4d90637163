//! How the target's columns are made of a page's.

use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::orphans::Rules;
use crate::plan::EntityPlan;
use crate::value::conform::is_identity;
use crate::value::{Encoding, Page, PageColumn, Value};
use std::sync::Arc;

/// How each target column is made, for pages of one encoding and one list of columns.
pub(super) struct Recipe {
    pub(super) encoding: Encoding,
    pub(super) sources: Arc<[PageColumn]>,
    pub(super) steps: Vec<Step>,
    pub(super) key: Vec<usize>,
    /// The target's columns, if the source's bytes are the target's row as they stand: its names with the source's types, as
    /// those say how the bytes are to be read.
    pub(super) whole: Option<Arc<[PageColumn]>>,
    /// What tells rows without a parent.
    pub(super) orphans: Option<Rules>,
}

/// Where the value of a target column comes from.
pub(super) struct Step {
    pub(super) from: Option<usize>,
    pub(super) identity: bool,
}

impl Recipe {
    /// Says how rows of the page's encoding and columns are made.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the page lacks a column that was asked for.
    pub(super) fn new(entity: &EntityPlan, page: &Page) -> Result<Self> {
        let transform = entity.transform.as_deref();
        let find = |name: &str| {
            let place = match transform {
                Some(transform) => transform.table().columns.iter().position(|c| c.name == name),
                None => page.column_index(name),
            };
            place.ok_or_else(|| {
                Error::new(ErrorKind::Internal, format!("a page lacks the column {name}")).with("entity", &entity.name)
            })
        };
        let mut steps = Vec::with_capacity(entity.columns.len());
        for column in &entity.columns {
            let from = column.source.as_deref().map(find).transpose()?;
            let identity =
                transform.is_none() && from.is_some_and(|i| is_identity(&page.columns()[i].data_type, &column.target_type));
            steps.push(Step { from, identity });
        }
        let key = entity.key.iter().map(|name| find(name)).collect::<Result<Vec<_>>>()?;
        let orphans = Rules::new(entity, page.columns());
        let replaced = entity.generated.is_some() || !entity.translations.is_empty();
        let in_place =
            !replaced && orphans.is_none() && steps.iter().enumerate().all(|(i, step)| step.identity && step.from == Some(i));
        let whole = (in_place && steps.len() == page.columns().len()).then(|| {
            let named = page.columns().iter().zip(&entity.columns);
            named.map(|(from, to)| PageColumn { name: to.target.clone(), data_type: from.data_type.clone() }).collect()
        });
        Ok(Recipe { encoding: page.encoding(), sources: page.columns().clone(), whole, steps, key, orphans })
    }

    /// Whether the recipe is for pages like this one.
    pub(super) fn fits(&self, page: &Page) -> bool {
        self.encoding == page.encoding() && &self.sources == page.columns()
    }

    /// Decodes a cell of a column of the page.
    #[inline]
    pub(super) fn decode<'p>(&self, column: usize, cell: Option<&'p [u8]>) -> Result<Value<'p>> {
        self.encoding.decode(&self.sources[column].data_type, cell)
    }

    /// Key values were collected in the page's order; the key may name them in another.
    pub(super) fn put_in_key_order(&self, keys: &mut Vec<Value<'_>>) {
        if self.key.is_sorted() {
            return;
        }
        let mut sorted = self.key.clone();
        sorted.sort_unstable();
        let by_place: Vec<Value<'_>> =
            self.key.iter().filter_map(|p| sorted.binary_search(p).ok()).map(|i| keys[i].clone()).collect();
        *keys = by_place;
    }
}
