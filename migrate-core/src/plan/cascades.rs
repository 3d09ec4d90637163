//! References by which rows of the target would go, or lose what they refer to, with rows that a run deletes.

use super::entity::EntityPlan;
use crate::binding::with_partitions;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, Mode};
use crate::schema::{DatabaseSchema, ForeignKeyAction, TableKind, TableName, TableSchema};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

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

/// Refuses entities whose rows are replaced by others where something would go with them: sets, and rows without a key, of which a changed
/// one is one that is gone and one that is new. `append` takes none away.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if there are any.
pub(super) fn refuse(job: &Job, entities: &[EntityPlan]) -> Result<()> {
    let replaced = |entity: &&EntityPlan| entity.set.is_some() || entity.is_keyless() && job.mode != Mode::Append;
    for entity in entities.iter().filter(replaced) {
        let Some(CascadePlan { table, columns, action, .. }) = entity.cascades.first() else { continue };
        let message = format!(
            "{table} refers to the table {} by ({}) ON DELETE {}, so that its rows would go, or change, whenever these are replaced; \
             give a key",
            entity.target.name,
            columns.join(", "),
            action.as_sql()
        );
        let field = if entity.set.is_some() { "replace_per" } else { "key" };
        return Err(Error::new(ErrorKind::Unsupported, message).with("entity", &entity.name).with("field", field));
    }
    Ok(())
}

/// Finds what refers to each entity's table so that it would go, or be changed, with its rows. Only what the target has already counts:
/// references of tables that are created are made after the last row has gone.
pub(super) fn find(job: &Job, entities: &mut [EntityPlan], target: &DatabaseSchema) {
    let deletes = job.may_delete();
    let tables: Vec<&TableSchema> = target.tables.iter().filter(|t| t.kind != TableKind::Partition).collect();
    let tables = with_partitions(&tables, target);
    let fed: Vec<TableName> = entities.iter().map(|e| e.target.name.clone()).collect();
    // The tables that are fed, each with the lowest level of what feeds it, and whether single rows of it are told apart by a key.
    let mut levels: HashMap<TableName, (usize, bool)> = HashMap::new();
    for entity in entities.iter() {
        let keyed = !entity.is_keyless() && entity.set.is_none();
        let known = levels.entry(entity.target.name.clone()).or_insert((entity.level, keyed));
        *known = (known.0.min(entity.level), known.1 && keyed);
    }
    // The tables that the rows of a cycle are inserted into, and go from, at once.
    let cycles: HashSet<(usize, TableName)> =
        entities.iter().filter_map(|entity| Some((entity.together?, entity.target.name.clone()))).collect();
    for entity in entities.iter_mut() {
        for child in &tables {
            for key in child.foreign_keys.iter().filter(|key| key.parent == entity.target.name) {
                let found = CascadePlan {
                    table: child.name.clone(),
                    columns: key.columns.clone(),
                    parent_columns: key.parent_columns.clone(),
                    action: key.on_delete,
                    moved: fed.contains(&child.name),
                    child: child.clone(),
                };
                match key.on_delete {
                    ForeignKeyAction::NoAction | ForeignKeyAction::Restrict => {
                        // What is unbound before it goes, or goes as a whole, a plan does not follow row by row.
                        let tied = entity.together.is_some_and(|cycle| cycles.contains(&(cycle, child.name.clone())));
                        let follows =
                            levels.get(&child.name).is_none_or(|(level, keyed)| *keyed && (*level > entity.level || tied));
                        if follows && child.name != entity.target.name && !entity.holders.contains(&found) {
                            entity.holders.push(found);
                        }
                        continue;
                    }
                    ForeignKeyAction::Cascade | ForeignKeyAction::SetNull | ForeignKeyAction::SetDefault => {}
                }
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
