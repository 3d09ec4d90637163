//! The rows of a table that refers to itself: a random tree, whose parents come before their children as often as after them.

use crate::random::Random;
use std::fmt::Write;

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    title: String,
}

/// The table, without its keys.
pub(crate) const TREE: &str = "CREATE TABLE tree (id bigint NOT NULL, parent bigint, title text NOT NULL)";
/// Its keys, the reference to itself among them.
pub(crate) const TREE_KEYS: &str =
    "ALTER TABLE tree ADD PRIMARY KEY (id); ALTER TABLE tree ADD FOREIGN KEY (parent) REFERENCES tree (id)";
/// The same table without the reference.
pub(crate) const FLAT: &str = "CREATE TABLE flat (id bigint PRIMARY KEY, title text NOT NULL)";

/// Makes the nodes, each after its parent: the ids are in no order.
pub(crate) fn nodes(count: u64) -> impl Iterator<Item = Node> {
    let mut random = Random::new(3);
    let mut ids: Vec<u64> = (1..=count).collect();
    for place in (1..ids.len()).rev() {
        ids.swap(place, random.below(place as u64 + 1) as usize);
    }
    (0..ids.len()).map(move |place| {
        // Every thousandth is a root, and so is the first.
        let root = place == 0 || random.below(1_000) == 0;
        let parent = if root { None } else { Some(ids[random.below(place as u64) as usize]) };
        Node { id: ids[place], parent, title: format!("node {} of the tree, {:016x}", ids[place], random.bits(60)) }
    })
}

impl Node {
    /// Appends the row as a line of text COPY.
    pub(crate) fn copy_line(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self.parent {
            Some(parent) => writeln!(out, "{}\t{parent}\t{}", self.id, self.title),
            None => writeln!(out, "{}\t\\N\t{}", self.id, self.title),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn parents_come_first_and_have_larger_ids_as_often_as_smaller_ones() {
        let all: Vec<Node> = nodes(5_000).collect();
        assert_eq!(all, nodes(5_000).collect::<Vec<_>>());
        let (mut seen, mut larger) = (HashSet::new(), 0);
        for node in &all {
            assert!(node.parent.is_none_or(|parent| seen.contains(&parent)));
            larger += usize::from(node.parent.is_some_and(|parent| parent > node.id));
            seen.insert(node.id);
        }
        assert_eq!(seen.len(), 5_000);
        assert!((2_200..2_800).contains(&larger), "{larger}");
    }
}
