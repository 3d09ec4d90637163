//! Columns.

use super::relations::Relations;
use super::types::Types;
use super::{rows, user_relations};
use migrate_core::Result;
use migrate_core::schema::{ColumnSchema, Generated, Identity};
use serde::Deserialize;
use sqlx::postgres::PgConnection;

#[derive(Deserialize)]
struct Column {
    relation: i64,
    name: String,
    type_oid: i64,
    modifier: i32,
    native_type: String,
    not_null: bool,
    identity: String,
    generated: String,
    expression: Option<String>,
    sequence: Option<String>,
    collation: Option<String>,
    comment: Option<String>,
}

pub(super) async fn read(connection: &mut PgConnection, relations: &mut Relations, types: &Types) -> Result<()> {
    // A NOT NULL that was added NOT VALID (version 18) says nothing about the rows that are there.
    let sql = format!(
        "SELECT a.attrelid::pg_catalog.int8 AS relation, a.attname AS name, a.atttypid::pg_catalog.int8 AS type_oid, \
         a.atttypmod AS modifier, pg_catalog.format_type(a.atttypid, a.atttypmod) AS native_type, \
         a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint nn WHERE a.attnotnull AND nn.conrelid = a.attrelid \
          AND nn.contype = 'n' AND nn.conkey[1] = a.attnum AND NOT nn.convalidated) AS not_null, \
         a.attidentity AS identity, a.attgenerated AS generated, \
         pg_catalog.pg_get_expr(f.adbin, f.adrelid) AS expression, s.name AS sequence, \
         CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN \
          pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) END AS collation, \
         d.description AS comment \
         FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_attrdef f ON a.atthasdef AND f.adrelid = a.attrelid AND f.adnum = a.attnum \
         LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation \
         LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace \
         LEFT JOIN pg_catalog.pg_description d ON d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
          AND d.objoid = a.attrelid AND d.objsubid = a.attnum \
         LEFT JOIN (SELECT e.objid AS attrdef, pg_catalog.min(pg_catalog.quote_ident(sn.nspname) || '.' || \
          pg_catalog.quote_ident(sc.relname)) AS name FROM pg_catalog.pg_depend e \
          JOIN pg_catalog.pg_class sc ON sc.oid = e.refobjid AND sc.relkind = 'S' \
          JOIN pg_catalog.pg_namespace sn ON sn.oid = sc.relnamespace \
          WHERE e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
          AND e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass GROUP BY e.objid) s ON s.attrdef = f.oid \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND {} ORDER BY a.attrelid, a.attnum",
        user_relations()
    );
    for column in rows::<Column>(connection, &sql).await? {
        if let Some(table) = relations.get_mut(column.relation) {
            let schema = schema(column, types);
            table.columns.push(schema);
        }
    }
    Ok(())
}

fn schema(column: Column, types: &Types) -> ColumnSchema {
    let data_type = types.data_type(column.type_oid, column.modifier, &column.native_type);
    let (generated, default) = match column.generated.as_str() {
        "" => (None, column.expression),
        kind => (column.expression.map(|expression| Generated { expression, stored: kind == "s" }), None),
    };
    let identity = match (column.identity.as_str(), column.sequence, &default) {
        ("a", ..) => Some(Identity::Always),
        ("d", ..) => Some(Identity::ByDefault),
        (_, Some(name), Some(default)) if is_plain_nextval(default) => Some(Identity::Sequence { name }),
        _ => None,
    };
    ColumnSchema {
        name: column.name,
        portable_type: data_type.clone(),
        data_type,
        native_type: column.native_type,
        nullable: !column.not_null,
        default,
        generated,
        identity,
        // Sequences are read by themselves.
        numbering: None,
        collation: column.collation,
        comment: column.comment,
    }
}

/// Whether a default does nothing but draw from a sequence: `nextval('…'::regclass)`, perhaps cast to another integer.
fn is_plain_nextval(expression: &str) -> bool {
    let inner = expression.trim_start_matches('(');
    inner.starts_with("nextval('") && inner.matches("nextval(").count() == 1 && {
        let rest = inner.rsplit_once("::regclass)").map_or(inner, |(_, rest)| rest);
        matches!(rest, "" | ")::integer" | "::integer" | ")::smallint" | "::smallint" | ")::bigint" | "::bigint")
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain_nextval;

    #[test]
    fn only_a_default_that_is_a_sequence_and_nothing_else_numbers_rows() {
        assert!(is_plain_nextval("nextval('public.a_id_seq'::regclass)"));
        assert!(is_plain_nextval("(nextval('public.a_id_seq'::regclass))::integer"));
        assert!(!is_plain_nextval("('A'::text || nextval('public.a_id_seq'::regclass))"));
        assert!(!is_plain_nextval("(nextval('public.a_id_seq'::regclass) + 1)"));
        assert!(!is_plain_nextval("nextval('public.a'::regclass) * nextval('public.b'::regclass)"));
    }
}
