//! The load order: parents before children.

use crate::schema::{DatabaseSchema, ForeignKey, TableKind, TableName, TableSchema};
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::HashMap;

/// In which order tables load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOrder {
    /// For each table, in the order given, how many levels of parents it has; tables of one level do not refer to one another,
    /// but for those of one cycle.
    pub levels: Vec<usize>,
    /// The tables that refer to one another in a cycle, or to themselves, by their place.
    pub cycles: Vec<Vec<usize>>,
}

impl LoadOrder {
    /// Returns the tables' places, parents first; stable for tables of one level.
    pub fn sequence(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.levels.len()).collect();
        places.sort_by_key(|place| self.levels[*place]);
        places
    }
}

/// Computes the load order of tables from their foreign keys. References to tables that are not given are passed over.
pub fn load_order(tables: &[&TableSchema]) -> LoadOrder {
    let places: HashMap<&TableName, usize> = tables.iter().enumerate().map(|(place, t)| (&t.name, place)).collect();
    let mut graph = DiGraph::<usize, ()>::new();
    let nodes: Vec<NodeIndex> = (0..tables.len()).map(|place| graph.add_node(place)).collect();
    for (child, table) in tables.iter().enumerate() {
        for reference in &table.foreign_keys {
            if let Some(parent) = places.get(&reference.parent) {
                graph.update_edge(nodes[child], nodes[*parent], ());
            }
        }
    }
    let mut order = LoadOrder { levels: vec![0; tables.len()], cycles: Vec::new() };
    // Components come out parents first, since edges point from child to parent.
    for component in tarjan_scc(&graph) {
        let inside = |node: &NodeIndex| component.contains(node);
        let parents = component.iter().flat_map(|node| graph.neighbors(*node));
        let level = parents.filter(|p| !inside(p)).map(|p| order.levels[graph[p]] + 1).max().unwrap_or(0);
        for node in &component {
            order.levels[graph[*node]] = level;
        }
        if component.len() > 1 || graph.contains_edge(component[0], component[0]) {
            let mut cycle: Vec<usize> = component.iter().map(|node| graph[*node]).collect();
            cycle.sort_unstable();
            order.cycles.push(cycle);
        }
    }
    order
}

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
    use crate::schema::ForeignKeyAction;

    fn table(name: &str, parents: &[&str]) -> TableSchema {
        let mut table = TableSchema::new(TableName::new(None, name));
        table.foreign_keys = parents
            .iter()
            .map(|parent| ForeignKey {
                name: None,
                columns: vec!["p".into()],
                parent: TableName::new(None, *parent),
                parent_columns: vec!["id".into()],
                on_delete: ForeignKeyAction::NoAction,
                on_update: ForeignKeyAction::NoAction,
                match_full: false,
                deferrable: false,
                initially_deferred: false,
                validated: true,
            })
            .collect();
        table
    }

    #[test]
    fn parents_come_before_children_and_cycles_are_named() {
        let tables = [
            table("line", &["invoice", "track"]),
            table("invoice", &["staff"]),
            table("track", &[]),
            table("staff", &["store", "staff"]),
            table("store", &["staff"]),
        ];
        let order = load_order(&tables.iter().collect::<Vec<_>>());
        assert_eq!(order.levels, [2, 1, 0, 0, 0]);
        assert_eq!(order.cycles, [[3, 4]]);
        assert_eq!(order.sequence(), [2, 3, 4, 1, 0]);
    }

    #[test]
    fn a_table_that_refers_to_itself_is_a_cycle() {
        assert_eq!(load_order(&[&table("employee", &["employee"])]).cycles, [[0]]);
        assert_eq!(load_order(&[&table("employee", &["elsewhere"])]).cycles, Vec::<Vec<usize>>::new());
    }

    #[test]
    fn what_a_partition_refers_to_comes_before_its_parent() {
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
        assert_eq!(load_order(&tables.iter().collect::<Vec<_>>()).levels, [2, 1, 0]);
    }
}
