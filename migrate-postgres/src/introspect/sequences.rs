//! How the numbers of columns run that draw from a sequence, their own or another.

use super::relations::Relations;
use super::{rows, user_relations};
use migrate_core::Result;
use migrate_core::schema::{Identity, Numbering};
use serde::Deserialize;
use sqlx::postgres::PgConnection;

#[derive(Deserialize)]
struct Sequence {
    relation: i64,
    column: String,
    start: i64,
    increment: i64,
    least: i64,
    most: i64,
    cycle: bool,
    reached: Option<i64>,
}

/// Fills in [`migrate_core::schema::ColumnSchema::numbering`].
pub(super) async fn read(connection: &mut PgConnection, relations: &mut Relations) -> Result<()> {
    // What was reached may be asked by those only who may read the sequence.
    let sql = format!(
        "SELECT a.attrelid::pg_catalog.int8 AS relation, a.attname AS column, q.seqstart AS start, q.seqincrement AS increment, \
         q.seqmin AS least, q.seqmax AS most, q.seqcycle AS cycle, \
         CASE WHEN pg_catalog.has_sequence_privilege(q.seqrelid, 'SELECT, USAGE') \
          THEN pg_catalog.pg_sequence_last_value(q.seqrelid) END AS reached \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum \
         JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND ( \
          (d.classid = d.refclassid AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i' AND a.attidentity <> '') \
          OR (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid AND a.attidentity = '')) \
         JOIN pg_catalog.pg_sequence q ON q.seqrelid = CASE WHEN d.classid = d.refclassid THEN d.objid ELSE d.refobjid END \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND {}",
        user_relations()
    );
    for found in rows::<Sequence>(connection, &sql).await? {
        let Some(table) = relations.get_mut(found.relation) else { continue };
        let column = table.columns.iter_mut().find(|c| c.name == found.column);
        let Some(column) = column.filter(|c| c.identity.is_some()) else { continue };
        debug_assert!(!matches!(column.identity, Some(Identity::RowId { .. })), "PostgreSQL has no rowid");
        let Sequence { start, increment, least, most, cycle, reached, .. } = found;
        column.numbering = Some(Numbering { start, increment, least, most, cycle, reached });
    }
    Ok(())
}
