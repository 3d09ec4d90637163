//! Triggers that users made.

use super::relations::Relations;
use super::{rows, user_relations};
use migrate_core::Result;
use migrate_core::schema::Trigger;
use serde::Deserialize;
use sqlx::postgres::PgConnection;

/// The bits of `tgtype` that say INSERT and UPDATE.
const INSERT_OR_UPDATE: i16 = 4 | 16;

#[derive(Deserialize)]
struct Found {
    relation: i64,
    name: String,
    definition: String,
    enabled: String,
    events: i16,
}

pub(super) async fn read(connection: &mut PgConnection, relations: &mut Relations) -> Result<()> {
    let sql = format!(
        "SELECT t.tgrelid::pg_catalog.int8 AS relation, t.tgname AS name, pg_catalog.pg_get_triggerdef(t.oid) AS definition, \
         t.tgenabled AS enabled, t.tgtype AS events FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND {} ORDER BY t.tgrelid, t.tgname",
        user_relations()
    );
    for found in rows::<Found>(connection, &sql).await? {
        if let Some(table) = relations.get_mut(found.relation) {
            // Disabled ones, and those for replicas alone, do not fire in an ordinary session.
            let enabled = matches!(found.enabled.as_str(), "O" | "A");
            let fires_on_write = enabled && found.events & INSERT_OR_UPDATE != 0;
            table.triggers.push(Trigger { name: found.name, definition: found.definition, fires_on_write });
        }
    }
    Ok(())
}
