//! Keys, references and checks.

use super::indexes::EXTENSIONS;
use super::relations::Relations;
use super::{rows, user_relations};
use crate::sql::{quote_ident, quote_table};
use migrate_core::Result;
use migrate_core::schema::{Check, ForeignKey, ForeignKeyAction, Index, IndexPart, TableName, UniqueKey};
use serde::Deserialize;
use sqlx::postgres::PgConnection;

#[derive(Deserialize)]
struct Constraint {
    relation: i64,
    name: String,
    kind: String,
    columns: Option<Vec<String>>,
    deferrable: bool,
    deferred: bool,
    validated: bool,
    nulls_not_distinct: bool,
    without_overlaps: bool,
    expression: Option<String>,
    parent_schema: Option<String>,
    parent_name: Option<String>,
    parent_columns: Option<Vec<String>>,
    on_delete: String,
    on_update: String,
    match_kind: String,
    definition: String,
    method: Option<String>,
    unique: Option<bool>,
    extensions: Vec<String>,
}

pub(super) async fn read(connection: &mut PgConnection, relations: &mut Relations, version: u32) -> Result<()> {
    let nulls = if version >= 150_000 { "COALESCE(i.indnullsnotdistinct, false)" } else { "false" };
    let overlaps = if version >= 180_000 { "k.conperiod" } else { "false" };
    let enforced = if version >= 180_000 { "k.conenforced" } else { "true" };
    // Left out: what a partition or child has from its parent, the copies of a reference that stand for the partitions it refers
    // to, and checks that nobody enforces.
    let sql = format!(
        "SELECT k.conrelid::pg_catalog.int8 AS relation, k.conname AS name, k.contype AS kind, \
         (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY u.place) \
          FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY u (number, place) \
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number) AS columns, \
         k.condeferrable AS deferrable, k.condeferred AS deferred, k.convalidated AND {enforced} AS validated, \
         {nulls} AS nulls_not_distinct, {overlaps} AS without_overlaps, \
         CASE WHEN k.contype = 'c' THEN pg_catalog.pg_get_expr(k.conbin, k.conrelid) END AS expression, \
         pn.nspname AS parent_schema, p.relname AS parent_name, \
         (SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY u.place) \
          FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY u (number, place) \
          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number) AS parent_columns, \
         k.confdeltype AS on_delete, k.confupdtype AS on_update, k.confmatchtype AS match_kind, \
         pg_catalog.pg_get_constraintdef(k.oid) AS definition, am.amname AS method, i.indisunique AS unique, \
         {EXTENSIONS} AS extensions \
         FROM pg_catalog.pg_constraint k \
         JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x') \
         LEFT JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
         LEFT JOIN pg_catalog.pg_am am ON am.oid = ic.relam \
         LEFT JOIN pg_catalog.pg_class p ON p.oid = k.confrelid \
         LEFT JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
         WHERE k.contype IN ('p', 'u', 'f', 'c', 'x') AND (k.contype <> 'f' OR k.conparentid = 0) \
         AND (k.contype <> 'c' OR (k.conislocal AND {enforced})) AND {} ORDER BY k.conrelid, k.conname",
        user_relations()
    );
    for constraint in rows::<Constraint>(connection, &sql).await? {
        let Some(table) = relations.get_mut(constraint.relation) else { continue };
        match constraint.kind.as_str() {
            "p" | "u" | "x" if constraint.kind == "x" || constraint.without_overlaps => {
                let index = exclusion(&table.name, constraint);
                table.indexes.push(index);
            }
            "p" => table.primary_key = Some(unique_key(constraint)),
            "u" => table.unique_keys.push(unique_key(constraint)),
            "f" => table.foreign_keys.push(foreign_key(constraint)),
            _ => {
                if let Some(expression) = constraint.expression {
                    table.checks.push(Check { name: Some(constraint.name), expression, validated: constraint.validated });
                }
            }
        }
    }
    Ok(())
}

fn unique_key(constraint: Constraint) -> UniqueKey {
    UniqueKey {
        name: Some(constraint.name),
        columns: constraint.columns.unwrap_or_default(),
        deferrable: constraint.deferrable,
        initially_deferred: constraint.deferred,
        nulls_not_distinct: constraint.nulls_not_distinct,
    }
}

/// An exclusion constraint, or a key that forbids overlaps: an index to all but the one who makes it.
fn exclusion(table: &TableName, constraint: Constraint) -> Index {
    let part = |column| IndexPart { column: Some(column), expression: None, descending: false, collation: None };
    Index {
        definition: format!(
            "ALTER TABLE {} ADD CONSTRAINT {} {}",
            quote_table(table),
            quote_ident(&constraint.name),
            constraint.definition
        ),
        name: constraint.name,
        // Unique for equal values, yet of no use as a key: it forbids more than that.
        unique: constraint.unique.unwrap_or(false) && !constraint.without_overlaps,
        method: constraint.method.unwrap_or_default(),
        parts: constraint.columns.unwrap_or_default().into_iter().map(part).collect(),
        predicate: None,
        extensions: constraint.extensions,
    }
}

fn foreign_key(constraint: Constraint) -> ForeignKey {
    let action = |letter: &str| match letter {
        "r" => ForeignKeyAction::Restrict,
        "c" => ForeignKeyAction::Cascade,
        "n" => ForeignKeyAction::SetNull,
        "d" => ForeignKeyAction::SetDefault,
        _ => ForeignKeyAction::NoAction,
    };
    ForeignKey {
        name: Some(constraint.name),
        columns: constraint.columns.unwrap_or_default(),
        parent: TableName { schema: constraint.parent_schema, name: constraint.parent_name.unwrap_or_default() },
        parent_columns: constraint.parent_columns.unwrap_or_default(),
        on_delete: action(&constraint.on_delete),
        on_update: action(&constraint.on_update),
        match_full: constraint.match_kind == "f",
        deferrable: constraint.deferrable,
        initially_deferred: constraint.deferred,
        validated: constraint.validated,
    }
}
