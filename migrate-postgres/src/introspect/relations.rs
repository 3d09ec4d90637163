//! Tables and views.

use super::{rows, user_relations};
use crate::sql::quote_table;
use migrate_core::Result;
use migrate_core::schema::{TableKind, TableName, TableSchema};
use serde::Deserialize;
use sqlx::postgres::PgConnection;
use std::collections::HashMap;

/// The tables found, by oid.
#[derive(Debug, Default)]
pub(super) struct Relations {
    tables: Vec<TableSchema>,
    by_oid: HashMap<i64, usize>,
}

impl Relations {
    pub(super) fn get_mut(&mut self, oid: i64) -> Option<&mut TableSchema> {
        self.by_oid.get(&oid).map(|at| &mut self.tables[*at])
    }

    pub(super) fn into_tables(self) -> Vec<TableSchema> {
        self.tables
    }
}

#[derive(Deserialize)]
struct Relation {
    oid: i64,
    schema: String,
    name: String,
    kind: String,
    is_partition: bool,
    comment: Option<String>,
    rows: f64,
    size: Option<i64>,
    partition_key: Option<String>,
    partition_bound: Option<String>,
    storage: Option<String>,
    row_security: bool,
    rules: Option<Vec<String>>,
    not_described: Option<Vec<String>>,
}

/// What a table has that its schema does not say: how it is logged and replicated.
const NOT_DESCRIBED: &str = "\
    SELECT pg_catalog.array_agg(q.what) FROM ( \
      SELECT 'UNLOGGED' WHERE c.relkind = 'r' AND c.relpersistence = 'u' \
      UNION ALL SELECT 'REPLICA IDENTITY' WHERE c.relkind IN ('r', 'p') AND c.relreplident <> 'd' \
    ) q (what)";

#[derive(Deserialize)]
struct Parent {
    child: i64,
    parent: i64,
}

pub(super) async fn read(connection: &mut PgConnection) -> Result<Relations> {
    let sql = format!(
        "SELECT c.oid::pg_catalog.int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, \
         c.relispartition AS is_partition, d.description AS comment, c.reltuples::pg_catalog.float8 AS rows, \
         CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(c.oid) END AS size, \
         CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS partition_key, \
         pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_bound, \
         (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.option_name) || '=' || pg_catalog.quote_literal(o.option_value), ', ') \
          FROM pg_catalog.pg_options_to_table(c.reloptions) o WHERE c.relkind IN ('r', 'p')) AS storage, \
         c.relrowsecurity AS row_security, \
         (SELECT pg_catalog.array_agg(r.rulename::pg_catalog.text || CASE r.ev_type WHEN '2' THEN ' on update' \
          WHEN '3' THEN ' on insert' ELSE ' on delete' END ORDER BY r.rulename) FROM pg_catalog.pg_rewrite r \
          WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3', '4') AND r.ev_enabled IN ('O', 'A')) AS rules, \
         ({NOT_DESCRIBED}) AS not_described \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_description d ON d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND d.objoid = c.oid AND d.objsubid = 0 \
         WHERE {} ORDER BY n.nspname, c.relname",
        user_relations()
    );
    let found: Vec<Relation> = rows(connection, &sql).await?;
    let parents: Vec<Parent> = rows(
        connection,
        "SELECT i.inhrelid::pg_catalog.int8 AS child, i.inhparent::pg_catalog.int8 AS parent \
         FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind IN ('r', 'p', 'f') \
         ORDER BY i.inhrelid, i.inhseqno",
    )
    .await?;
    let mut relations = Relations::default();
    for relation in &found {
        relations.by_oid.insert(relation.oid, relations.tables.len());
        relations.tables.push(table(relation));
    }
    link(&mut relations, &found, &parents);
    Ok(relations)
}

fn table(relation: &Relation) -> TableSchema {
    let mut table = TableSchema::new(TableName::new(Some(&relation.schema), &relation.name));
    table.kind = match relation.kind.as_str() {
        "v" => TableKind::View,
        "m" => TableKind::MaterializedView,
        _ if relation.is_partition => TableKind::Partition,
        "p" => TableKind::Partitioned,
        "f" => TableKind::Foreign,
        _ => TableKind::Table,
    };
    table.comment.clone_from(&relation.comment);
    // -1 says that nobody has counted yet.
    table.row_estimate = (relation.rows >= 0.0 && relation.kind != "v").then_some(relation.rows as u64);
    table.size_bytes = relation.size.map(i64::unsigned_abs);
    if relation.row_security {
        table.write_obstacles.push("row-level security is enabled".to_owned());
    }
    table.not_described = relation.not_described.clone().unwrap_or_default();
    for rule in relation.rules.iter().flatten() {
        table.write_obstacles.push(format!("rule {rule}"));
    }
    table
}

/// Notes parents and adds the estimates and sizes of partitions up.
fn link(relations: &mut Relations, found: &[Relation], parents: &[Parent]) {
    let mut above: HashMap<i64, Vec<i64>> = HashMap::new();
    for Parent { child, parent } in parents {
        above.entry(*child).or_default().push(*parent);
    }
    let mut sums: HashMap<i64, (Option<u64>, Option<u64>)> = HashMap::new();
    for relation in found {
        let direct = above.get(&relation.oid).cloned().unwrap_or_default();
        let names: Vec<TableName> =
            direct.iter().filter_map(|p| relations.by_oid.get(p)).map(|at| relations.tables[*at].name.clone()).collect();
        let Some(table) = relations.get_mut(relation.oid) else { continue };
        options(table, relation, &names);
        table.parents = names;
        if relation.is_partition && relation.kind != "p" {
            let (rows, size) = (table.row_estimate, table.size_bytes);
            let mut next = direct.first().copied();
            while let Some(parent) = next {
                let sum = sums.entry(parent).or_insert((Some(0), Some(0)));
                // One partition that nobody has counted leaves the whole unknown.
                sum.0 = sum.0.zip(rows).map(|(a, b)| a + b);
                sum.1 = Some(sum.1.unwrap_or(0) + size.unwrap_or(0));
                next = above.get(&parent).and_then(|p| p.first().copied());
            }
        }
    }
    for relation in found.iter().filter(|r| r.kind == "p") {
        let (rows, size) = sums.remove(&relation.oid).unwrap_or((Some(0), Some(0)));
        if let Some(table) = relations.get_mut(relation.oid) {
            table.row_estimate = rows;
            table.size_bytes = size;
        }
    }
}

fn options(table: &mut TableSchema, relation: &Relation, parents: &[TableName]) {
    if let (true, Some(bound)) = (relation.is_partition, &relation.partition_bound) {
        let of = parents.first().map(quote_table).unwrap_or_default();
        table.options.push(format!("PARTITION OF {of} {bound}"));
    } else if !parents.is_empty() {
        let list = parents.iter().map(quote_table).collect::<Vec<_>>().join(", ");
        table.options.push(format!("INHERITS ({list})"));
    }
    if let Some(key) = &relation.partition_key {
        table.options.push(format!("PARTITION BY {key}"));
    }
    if let Some(storage) = &relation.storage {
        table.options.push(format!("WITH ({storage})"));
    }
}
