//! Types: which logical type each has, and the statements that make the user's own.

use super::{USER_SCHEMAS, rows};
use crate::sql::{quote_ident, quote_literal, quote_table};
use migrate_core::Result;
use migrate_core::schema::{TableName, TypeKind, TypeSchema};
use migrate_core::value::DataType;
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use std::collections::HashMap;

/// Every enum, domain and type of the user's own.
#[derive(Debug, Default)]
pub(super) struct Types {
    by_oid: HashMap<i64, Type>,
    extensions: Vec<TypeSchema>,
}

#[derive(Debug, Deserialize)]
struct Type {
    oid: i64,
    schema: String,
    name: String,
    printed: String,
    /// `d`omain, `e`num, `c`omposite, `r`ange.
    kind: String,
    is_user: bool,
    base: i64,
    base_modifier: i32,
    base_printed: String,
    labels: Option<Vec<String>>,
    body: Option<String>,
    depends_on: Option<Vec<i64>>,
}

#[derive(Deserialize)]
struct ExtensionMember {
    extension: String,
    extension_schema: String,
    schema: Option<String>,
    name: Option<String>,
}

const DOMAIN_BODY: &str = "pg_catalog.concat_ws(' ', \
    CASE WHEN t.typcollation <> 0 AND t.typcollation <> b.typcollation THEN 'COLLATE ' || \
     (SELECT pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) FROM pg_catalog.pg_collation co \
      JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = t.typcollation) END, \
    'DEFAULT ' || pg_catalog.pg_get_expr(t.typdefaultbin, 0), \
    CASE WHEN t.typnotnull THEN 'NOT NULL' END, \
    (SELECT pg_catalog.string_agg('CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ' || \
     pg_catalog.pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname) FROM pg_catalog.pg_constraint k \
     WHERE k.contypid = t.oid AND k.contype = 'c'))";

const COMPOSITE_BODY: &str = "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', pg_catalog.quote_ident(a.attname), \
    pg_catalog.format_type(a.atttypid, a.atttypmod), \
    (SELECT 'COLLATE ' || pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) \
     FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace \
     JOIN pg_catalog.pg_type at ON at.oid = a.atttypid \
     WHERE co.oid = a.attcollation AND a.attcollation <> at.typcollation)), ', ' ORDER BY a.attnum) \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)";

const RANGE_BODY: &str = "(SELECT pg_catalog.concat_ws(', ', 'SUBTYPE = ' || pg_catalog.format_type(r.rngsubtype, NULL), \
    (SELECT 'SUBTYPE_OPCLASS = ' || pg_catalog.quote_ident(on_.nspname) || '.' || pg_catalog.quote_ident(o.opcname) \
     FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_namespace on_ ON on_.oid = o.opcnamespace \
     WHERE o.oid = r.rngsubopc AND NOT o.opcdefault), \
    (SELECT 'COLLATION = ' || pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) \
     FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace \
     JOIN pg_catalog.pg_type st ON st.oid = r.rngsubtype \
     WHERE co.oid = r.rngcollation AND r.rngcollation <> st.typcollation), \
    CASE WHEN r.rngcanonical <> 0 THEN 'CANONICAL = ' || r.rngcanonical::pg_catalog.regproc::pg_catalog.text END, \
    CASE WHEN r.rngsubdiff <> 0 THEN 'SUBTYPE_DIFF = ' || r.rngsubdiff::pg_catalog.regproc::pg_catalog.text END, \
    'MULTIRANGE_TYPE_NAME = ' || pg_catalog.format_type(r.rngmultitypid, NULL)) \
    FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)";

pub(super) async fn read(connection: &mut PgConnection) -> Result<Types> {
    // Tables have composite types too; only those without a table are types in their own right. Domains and enums of other
    // schemas (information_schema has some) are read for the columns that use them.
    let sql = format!(
        "SELECT t.oid::pg_catalog.int8 AS oid, n.nspname AS schema, t.typname AS name, \
         pg_catalog.format_type(t.oid, NULL) AS printed, t.typtype AS kind, \
         {USER_SCHEMAS} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e \
          WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid AND e.deptype = 'e') AS is_user, \
         t.typbasetype::pg_catalog.int8 AS base, t.typtypmod AS base_modifier, \
         CASE WHEN t.typtype = 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod) ELSE '' END AS base_printed, \
         (SELECT pg_catalog.array_agg(l.enumlabel::pg_catalog.text ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum l \
          WHERE l.enumtypid = t.oid) AS labels, \
         CASE t.typtype WHEN 'd' THEN {DOMAIN_BODY} WHEN 'c' THEN {COMPOSITE_BODY} WHEN 'r' THEN {RANGE_BODY} END AS body, \
         CASE t.typtype WHEN 'd' THEN ARRAY[t.typbasetype::pg_catalog.int8, b.typelem::pg_catalog.int8] \
          WHEN 'c' THEN (SELECT pg_catalog.array_agg(x.id) FROM pg_catalog.pg_attribute a \
           JOIN pg_catalog.pg_type at ON at.oid = a.atttypid, \
           LATERAL (VALUES (at.oid::pg_catalog.int8), (at.typelem::pg_catalog.int8)) x (id) \
           WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) \
          WHEN 'r' THEN (SELECT ARRAY[r.rngsubtype::pg_catalog.int8] FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid) \
          END AS depends_on \
         FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype \
         LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
         WHERE t.typtype IN ('d', 'e') OR (t.typtype = 'r' AND {USER_SCHEMAS}) \
          OR (t.typtype = 'c' AND c.relkind = 'c' AND {USER_SCHEMAS})"
    );
    let by_oid = rows::<Type>(connection, &sql).await?.into_iter().map(|t| (t.oid, t)).collect();
    Ok(Types { by_oid, extensions: extensions(connection).await? })
}

/// The types of every extension, and of its functions and operator classes those that defaults, conditions and indexes use: a name in
/// their definitions tells which extension has to come along.
async fn extensions(connection: &mut PgConnection) -> Result<Vec<TypeSchema>> {
    let used = |object: &str, class: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_depend u WHERE u.refclassid = 'pg_catalog.{class}'::pg_catalog.regclass \
             AND u.refobjid = {object}.oid AND u.classid IN ('pg_catalog.pg_attrdef'::pg_catalog.regclass, \
             'pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_class'::pg_catalog.regclass))"
        )
    };
    // plpgsql is there in every database.
    let members: Vec<ExtensionMember> = rows(
        connection,
        &format!(
            "SELECT x.extname AS extension, xn.nspname AS extension_schema, m.schema, m.name \
             FROM pg_catalog.pg_extension x JOIN pg_catalog.pg_namespace xn ON xn.oid = x.extnamespace \
             LEFT JOIN (SELECT d.refobjid AS extension, n.nspname AS schema, o.name FROM pg_catalog.pg_depend d \
              JOIN (SELECT 'pg_catalog.pg_type'::pg_catalog.regclass AS class, t.oid, t.typnamespace AS namespace, t.typname AS name \
                FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
                WHERE (t.typtype <> 'c' OR c.relkind = 'c') AND t.typtype NOT IN ('p', 'm') \
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_type el WHERE el.typarray = t.oid) \
               UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.pronamespace, p.proname \
                FROM pg_catalog.pg_proc p WHERE {} \
               UNION ALL SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, oc.oid, oc.opcnamespace, oc.opcname \
                FROM pg_catalog.pg_opclass oc WHERE {}) o ON o.class = d.classid AND o.oid = d.objid \
              JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace \
              WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e') m ON m.extension = x.oid \
             WHERE x.extname <> 'plpgsql' ORDER BY x.extname, m.schema, m.name",
            used("p", "pg_proc"),
            used("oc", "pg_opclass"),
        ),
    )
    .await?;
    let schema = |member: ExtensionMember| {
        let name = match (&member.schema, member.name) {
            (Some(schema), Some(name)) => TableName::new(Some(schema), name),
            // An extension of functions or operators alone still has to be there.
            _ => TableName::new(Some(&member.extension_schema), &member.extension),
        };
        TypeSchema {
            name,
            definition: format!(
                "CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {}",
                quote_ident(&member.extension),
                quote_ident(&member.extension_schema)
            ),
            kind: TypeKind::Extension { extension: member.extension },
        }
    };
    Ok(members.into_iter().map(schema).collect())
}

impl Types {
    /// Returns the logical type of a column; `printed` is the type as the server prints it.
    pub(super) fn data_type(&self, oid: i64, modifier: i32, printed: &str) -> DataType {
        let fraction = || u32::try_from(modifier).ok();
        // The modifiers of strings and numerics count their own four bytes.
        let length = || u32::try_from(modifier.checked_sub(4).unwrap_or(-1)).ok();
        match oid {
            16 => DataType::Bool,
            17 => DataType::Bytes,
            19 | 25 => DataType::TEXT,
            20 => DataType::Int64,
            21 => DataType::Int16,
            23 => DataType::Int32,
            114 => DataType::Json,
            700 => DataType::Float32,
            701 => DataType::Float64,
            1042 => match length() {
                Some(chars) => DataType::Char { chars },
                None => DataType::TEXT,
            },
            1043 => DataType::Text { max_chars: length() },
            1082 => DataType::Date,
            1083 => DataType::Time { precision: fraction() },
            1114 => DataType::Timestamp { precision: fraction() },
            1184 => DataType::TimestampTz { precision: fraction() },
            1186 => DataType::Interval,
            1266 => DataType::TimeTz { precision: fraction() },
            1700 => decimal(length()),
            2950 => DataType::Uuid,
            3802 => DataType::Jsonb,
            _ => match self.by_oid.get(&oid) {
                Some(t) if t.kind == "e" => {
                    DataType::Enum { name: t.printed.clone(), labels: t.labels.clone().unwrap_or_default() }
                }
                // A domain travels as what it is made of; its checks are the target's business.
                Some(t) if t.kind == "d" => self.data_type(t.base, t.base_modifier, &t.base_printed),
                _ => DataType::Other { name: printed.to_owned() },
            },
        }
    }

    /// Returns the user's own types, each behind those that it is made of.
    pub(super) fn into_user_types(self) -> Vec<TypeSchema> {
        let mut done: HashMap<i64, bool> = HashMap::new();
        let mut order = Vec::new();
        let mut oids: Vec<i64> = self.by_oid.keys().copied().collect();
        oids.sort_by_key(|oid| self.by_oid.get(oid).map(|t| (&t.schema, &t.name)));
        for oid in oids {
            self.visit(oid, &mut done, &mut order);
        }
        let own = order.into_iter().filter_map(|oid| self.by_oid.get(&oid)).filter(|t| t.is_user).map(type_schema);
        self.extensions.iter().cloned().chain(own).collect()
    }

    fn visit(&self, oid: i64, done: &mut HashMap<i64, bool>, order: &mut Vec<i64>) {
        let Some(found) = self.by_oid.get(&oid) else { return };
        // Types cannot contain themselves; should a fork allow it, each still comes once.
        if done.insert(oid, true).is_some() {
            return;
        }
        for parent in found.depends_on.iter().flatten() {
            self.visit(*parent, done, order);
        }
        order.push(oid);
    }
}

fn decimal(modifier: Option<u32>) -> DataType {
    let Some(modifier) = modifier else { return DataType::Decimal { precision: None, scale: None } };
    // Eleven bits, the highest of them the sign (version 15 allows negative scales).
    let scale = ((modifier & 0x7ff) as i32 ^ 1024) - 1024;
    DataType::Decimal { precision: Some((modifier >> 16) & 0xffff), scale: Some(scale) }
}

fn type_schema(found: &Type) -> TypeSchema {
    let name = TableName::new(Some(&found.schema), &found.name);
    let quoted = quote_table(&name);
    let body = found.body.as_deref().unwrap_or_default();
    let (kind, definition) = match found.kind.as_str() {
        "e" => {
            let labels = found.labels.clone().unwrap_or_default();
            let list = labels.iter().map(|l| quote_literal(l)).collect::<Vec<_>>().join(", ");
            (TypeKind::Enum { labels }, format!("CREATE TYPE {quoted} AS ENUM ({list})"))
        }
        "d" => {
            let definition = format!("CREATE DOMAIN {quoted} AS {} {body}", found.base_printed);
            (TypeKind::Domain { base: found.base_printed.clone() }, definition.trim_end().to_owned())
        }
        "r" => (TypeKind::Range, format!("CREATE TYPE {quoted} AS RANGE ({body})")),
        _ => (TypeKind::Composite, format!("CREATE TYPE {quoted} AS ({body})")),
    };
    TypeSchema { name, kind, definition }
}
