//! Indexes that are not a constraint's own.

use super::relations::Relations;
use super::{rows, user_relations};
use migrate_core::Result;
use migrate_core::schema::{Index, IndexPart};
use serde::Deserialize;
use sqlx::postgres::PgConnection;

#[derive(Deserialize)]
struct Found {
    relation: i64,
    name: String,
    printed_name: String,
    unique: bool,
    method: String,
    predicate: Option<String>,
    definition: String,
    columns: Vec<Option<String>>,
    expressions: Vec<String>,
    options: Vec<i16>,
    collations: Vec<Option<String>>,
    extensions: Vec<String>,
}

/// The extensions that an index `i` of the relation `ic` needs: a default operator class is not printed with it.
pub(super) const EXTENSIONS: &str = "ARRAY(SELECT DISTINCT x.extname::pg_catalog.text FROM pg_catalog.pg_depend d \
     JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid \
     WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' \
     AND ((d.classid = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND d.objid = ANY (i.indclass::pg_catalog.oid[])) \
      OR (d.classid = 'pg_catalog.pg_am'::pg_catalog.regclass AND d.objid = ic.relam)) ORDER BY 1)";

pub(super) async fn read(connection: &mut PgConnection, relations: &mut Relations) -> Result<()> {
    // Left out: indexes that came to a partition with its parent's, and those whose building failed.
    let sql = format!(
        "SELECT i.indrelid::pg_catalog.int8 AS relation, ic.relname AS name, pg_catalog.quote_ident(ic.relname) AS printed_name, \
         i.indisunique AS unique, am.amname AS method, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS predicate, \
         pg_catalog.pg_get_indexdef(i.indexrelid) AS definition, \
         ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) p (place) \
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p.place] AND a.attnum <> 0 \
          ORDER BY p.place) AS columns, \
         ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, p.place, false) \
          FROM pg_catalog.generate_series(1, i.indnkeyatts) p (place) ORDER BY p.place) AS expressions, \
         ARRAY(SELECT i.indoption[p.place] FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) p (place) ORDER BY p.place) AS options, \
         ARRAY(SELECT CASE WHEN co.oid IS DISTINCT FROM a.attcollation THEN \
          pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) END \
          FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) p (place) \
          LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p.place] AND a.attnum <> 0 \
          LEFT JOIN pg_catalog.pg_collation co ON co.oid = i.indcollation[p.place] \
          LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace ORDER BY p.place) AS collations, {EXTENSIONS} AS extensions \
         FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
         JOIN pg_catalog.pg_am am ON am.oid = ic.relam \
         JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE i.indisvalid AND i.indislive AND NOT ic.relispartition AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k \
          WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AND {} ORDER BY i.indrelid, ic.relname",
        user_relations()
    );
    for found in rows::<Found>(connection, &sql).await? {
        if let Some(table) = relations.get_mut(found.relation) {
            table.indexes.push(index(found));
        }
    }
    Ok(())
}

fn index(found: Found) -> Index {
    // An index of a partitioned table is printed with ONLY, which would leave its partitions without.
    let unique = if found.unique { "UNIQUE " } else { "" };
    let head = format!("CREATE {unique}INDEX {} ON ", found.printed_name);
    let definition = match found.definition.strip_prefix(&head).and_then(|rest| rest.strip_prefix("ONLY ")) {
        Some(rest) => format!("{head}{rest}"),
        None => found.definition,
    };
    let details = found.expressions.into_iter().zip(found.options).zip(found.collations);
    let parts = found.columns.into_iter().zip(details).map(|(column, ((expression, option), collation))| IndexPart {
        expression: column.is_none().then_some(expression),
        column,
        descending: option & 1 != 0,
        collation,
    });
    Index {
        name: found.name,
        unique: found.unique,
        method: found.method,
        parts: parts.collect(),
        predicate: found.predicate,
        definition,
        extensions: found.extensions,
    }
}
