//! References by which rows of the target would go, or lose what they refer to, with rows that a run deletes.

use super::entity::EntityPlan;
use crate::binding::with_partitions;
use crate::job::{DeleteMode, Job, LeftFilter};
use crate::schema::{DatabaseSchema, ForeignKeyAction, TableKind, TableName, TableSchema};
use serde::Serialize;

/// A live reference to an entity's table that does not keep its rows from going, but goes with them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CascadePlan {
    /// The target's table that refers.
    pub table: TableName,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The columns of the entity's table that are referred to.
    pub parent_columns: Vec<String>,
    /// What the target would do to the referring rows.
    pub action: ForeignKeyAction,
    /// Whether an entity of this run feeds the referring table.
    pub moved: bool,
    /// The referring table.
    #[serde(skip)]
    pub child: TableSchema,
}

/// Finds what refers to each entity's table so that it would go, or be changed, with its rows. Only what the target has already counts:
/// references of tables that are created are made after the last row has gone.
pub(super) fn find(job: &Job, entities: &mut [EntityPlan], target: &DatabaseSchema) {
    let deletes = job.deletes.mode == DeleteMode::Hard || job.left_filter == LeftFilter::Delete;
    let tables: Vec<&TableSchema> = target.tables.iter().filter(|t| t.kind != TableKind::Partition).collect();
    let tables = with_partitions(&tables, target);
    let fed: Vec<TableName> = entities.iter().map(|e| e.target.name.clone()).collect();
    for entity in entities.iter_mut() {
        for child in &tables {
            for key in child.foreign_keys.iter().filter(|key| key.parent == entity.target.name) {
                match key.on_delete {
                    ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => continue,
                    ForeignKeyAction::Cascade | ForeignKeyAction::SetNull | ForeignKeyAction::SetDefault => {}
                }
                let found = CascadePlan {
                    table: child.name.clone(),
                    columns: key.columns.clone(),
                    parent_columns: key.parent_columns.clone(),
                    action: key.on_delete,
                    moved: fed.contains(&child.name),
                    child: child.clone(),
                };
                if entity.cascades.contains(&found) {
                    continue;
                }
                if deletes {
                    entity.notes.push(format!(
                        "{} refers to it by ({}) ON DELETE {}: a gone row stays for as long as rows there refer to it that do not go themselves",
                        found.table,
                        found.columns.join(", "),
                        found.action.as_sql(),
                    ));
                }
                entity.cascades.push(found);
            }
        }
    }
}
