//! Columns that the target is to be given because the source has got them.

use super::drift::{Drift, DriftAction};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::Entity;
use crate::schema::{ColumnSchema, DatabaseSchema, TableSchema};
use crate::sink::{CreateRequest, Sink, TablePlan};
use crate::source::Source;

/// Where the columns come from that a target's table lacks.
pub(super) struct Missing<'a> {
    pub(super) entity: &'a Entity,
    /// The source's table, as a transformation leaves it where there is one.
    pub(super) from: &'a TableSchema,
    /// Whether the columns are the source's own, whose data can be looked at.
    pub(super) refines: bool,
    pub(super) database: &'a DatabaseSchema,
}

impl Missing<'_> {
    /// Plans the columns that a run adds to the target's table, and returns them as the source has them; `None` if there are none.
    ///
    /// They have the types that they would have in a table made for the entity, and allow NULL: the rows that are there have none yet.
    pub(super) async fn add(
        &self,
        plan: &mut TablePlan,
        drift: &mut [Drift],
        source: &dyn Source,
        sink: &dyn Sink,
    ) -> Result<Option<TableSchema>> {
        let is_added = |d: &&mut Drift| d.action == DriftAction::AddedToTarget;
        let names: Vec<String> = drift.iter_mut().filter(is_added).map(|d| d.column.clone()).collect();
        if names.is_empty() {
            return Ok(None);
        }
        let mut table = self.from.clone();
        table.columns.retain(|column| names.contains(&column.name));
        if self.refines {
            let mut refined = [table];
            source.refine(&mut refined).await.context("side", "source")?;
            [table] = refined;
        }
        let own = table.columns.clone();
        for column in &mut table.columns {
            if let Some(renamed) = self.entity.columns.rename.get(&column.name) {
                column.name.clone_from(renamed);
            }
            strip(column);
        }
        // Only the columns: what else the source has made with them is not carried over.
        let mut bare = TableSchema::new(table.name.clone());
        (bare.columns, bare.options) = (std::mem::take(&mut table.columns), table.options.clone());
        let request = CreateRequest { engine: source.name(), database: self.database, table: &bare, name: &plan.table.name };
        let planned = sink.plan_table(&request).context("entity", self.entity.name())?;
        for (mut column, own) in planned.table.columns.into_iter().zip(own) {
            strip(&mut column);
            if let Some(drift) = drift.iter_mut().filter(is_added).find(|d| d.column == own.name) {
                drift.detail = Some(column.native_type.clone());
            }
            plan.added.push(column.name.clone());
            plan.table.columns.push(column);
        }
        Ok(Some(bare))
    }
}

/// Refuses a column that several entities would add to one table, each as another type: the values of one would become the other's.
///
/// # Errors
/// [`ErrorKind::Config`] if there is one.
pub(super) fn refuse_unlike<'p>(plans: impl Iterator<Item = (&'p str, &'p TablePlan)> + Clone) -> Result<()> {
    for (place, (entity, plan)) in plans.clone().enumerate() {
        for (first, before) in plans.clone().take(place).filter(|(_, before)| before.table.name == plan.table.name) {
            for column in plan.added_columns() {
                let Some(other) = before.added_columns().find(|other| other.name == column.name) else { continue };
                if (&other.data_type, &other.native_type) == (&column.data_type, &column.native_type) {
                    continue;
                }
                let message = format!(
                    "entities \"{first}\" and \"{entity}\" both feed the table {}, which is to get a column {}, as {} for one and {} for \
                     the other: give one of them another name with columns.rename, or its values the other's type with a step of \
                     transform, or add the column",
                    plan.table.name, column.name, other.native_type, column.native_type
                );
                return Err(Error::new(ErrorKind::Config, message).with("column", &column.name));
            }
        }
    }
    Ok(())
}

/// Takes away what a column of a table that holds rows cannot have: the rows that are there have no value for it yet.
fn strip(column: &mut ColumnSchema) {
    column.nullable = true;
    (column.default, column.generated) = (None, None);
    (column.identity, column.numbering) = (None, None);
}
