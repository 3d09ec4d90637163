//! References that rows obey when they are written through a partitioned table.

use crate::schema::{DatabaseSchema, ForeignKey, TableKind, TableName, TableSchema};
use std::collections::HashMap;

/// Returns the tables with the references that their partitions have of their own, which rows that are written through the parent must
/// obey all the same. References to a partition become references to its parent.
pub fn with_partitions(tables: &[&TableSchema], database: &DatabaseSchema) -> Vec<TableSchema> {
    let known: HashMap<&TableName, &TableSchema> = database.tables.iter().map(|t| (&t.name, t)).collect();
    let root = |name: &TableName| {
        let mut root = name.clone();
        // As many steps as there are tables, should the parents run in a cycle.
        for _ in 0..known.len() {
            match known.get(&root) {
                Some(table) if table.kind == TableKind::Partition && !table.parents.is_empty() => root = table.parents[0].clone(),
                Some(_) | None => break,
            }
        }
        root
    };
    let mut own: HashMap<TableName, Vec<ForeignKey>> = HashMap::new();
    for partition in database.tables.iter().filter(|t| t.kind == TableKind::Partition) {
        own.entry(root(&partition.name)).or_default().extend(partition.foreign_keys.iter().cloned());
    }
    let with_own = |table: &&TableSchema| {
        let mut table = TableSchema::clone(table);
        table.foreign_keys.extend(own.get(&table.name).into_iter().flatten().cloned());
        for reference in &mut table.foreign_keys {
            reference.parent = root(&reference.parent);
        }
        table
    };
    tables.iter().map(with_own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, parents: &[&str]) -> TableSchema {
        let mut table = TableSchema::new(TableName::new(None, name));
        table.foreign_keys = parents.iter().map(|parent| ForeignKey::new(["p"], TableName::new(None, *parent), ["id"])).collect();
        table
    }

    #[test]
    fn what_a_partition_refers_to_its_parent_refers_to() {
        let part = |name: &str, parent: &str, parents: &[&str]| {
            let mut part = table(name, parents);
            (part.kind, part.parents) = (TableKind::Partition, vec![TableName::new(None, parent)]);
            part
        };
        let mut payment = table("payment", &[]);
        payment.kind = TableKind::Partitioned;
        let tables = vec![
            payment,
            part("payment_2024", "payment", &[]),
            part("payment_2024_01", "payment_2024", &["customer"]),
            table("customer", &[]),
            table("refund", &["payment_2024_01"]),
        ];
        let database = DatabaseSchema { tables, ..DatabaseSchema::default() };
        let moved: Vec<&TableSchema> = [4, 0, 3].iter().map(|i| &database.tables[*i]).collect();
        let tables = with_partitions(&moved, &database);
        let parents = |table: &TableSchema| table.foreign_keys.iter().map(|key| key.parent.name.clone()).collect::<Vec<_>>();
        assert_eq!(tables.iter().map(parents).collect::<Vec<_>>(), [vec!["payment"], vec!["customer"], vec![]]);
    }
}
