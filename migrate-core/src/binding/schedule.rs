//! In which order entities load, and which references cannot be bound as they load.
//!
//! ```text
//! all references ──▶ strongly connected components = cycles
//! inside a cycle, one after the other:
//!   rigid    (checked at once, and never NULL)      kept; what they tie together loads together
//!   nullable (checked at once, NULL for a while)    kept unless they close a cycle: then late
//!   loose    (not checked before the end, or never) kept unless they close a cycle: then of no account
//! what is kept ──▶ condensation ──▶ levels, parents first
//! ```

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

/// A reference between two entities, by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// The entity that refers.
    pub child: usize,
    /// The entity that is referred to; the same one for a self-reference.
    pub parent: usize,
    /// How firmly the target holds the reference while rows are written.
    pub bond: Bond,
}

/// How firmly the target holds a reference while rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bond {
    /// Checked at once, and its columns refuse NULL or belong to the key.
    Rigid,
    /// Checked at once, but it may be NULL for a while.
    Nullable,
    /// Not checked before the end, or never.
    Loose,
}

/// When a reference can be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    /// With the row: parents load first.
    WithRow,
    /// After the row: its parents may load later.
    Late,
    /// With the rows that it ties together, all at once.
    Together,
}

/// In which order entities load, and when their references are bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// For each entity how many levels of parents it has. Entities of one level do not wait for one another.
    pub levels: Vec<usize>,
    /// The entities that refer to one another in a cycle, or to themselves.
    pub cycles: Vec<Vec<usize>>,
    /// For each reference when it is bound.
    pub timings: Vec<Timing>,
    /// Entities tied together by references that must hold at once and never be NULL.
    pub knots: Vec<Vec<usize>>,
}

/// Schedules so many entities with their references.
pub fn schedule(entities: usize, edges: &[Edge]) -> Schedule {
    let mut schedule = Schedule { levels: vec![0; entities], timings: vec![Timing::WithRow; edges.len()], ..Schedule::default() };
    let (cycle_of, cycles) = components(entities, edges.iter());
    schedule.cycles = cycles;
    let in_cycle = |edge: &Edge| cycle_of[edge.child] == cycle_of[edge.parent];
    let rigid = edges.iter().filter(|edge| edge.bond == Bond::Rigid);
    let (knot_of, knots) = components(entities, rigid);
    schedule.knots = knots;

    // From here on whatever is tied together counts as one. Edges between cycles can close none.
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); entities];
    let mut keep = |edge: &Edge| parents[knot_of[edge.child]].push(knot_of[edge.parent]);
    edges.iter().filter(|edge| !in_cycle(edge)).for_each(&mut keep);
    let mut inner: Vec<usize> = (0..edges.len()).filter(|at| in_cycle(&edges[*at])).collect();
    inner.sort_by_key(|at| edges[*at].bond);
    for at in inner {
        let Edge { child, parent, bond } = edges[at];
        let (from, to) = (knot_of[child], knot_of[parent]);
        schedule.timings[at] = match bond {
            Bond::Rigid if from == to => Timing::Together,
            Bond::Nullable | Bond::Loose if from == to || leads(&parents, to, from) => Timing::Late,
            Bond::Rigid | Bond::Nullable | Bond::Loose => {
                parents[from].push(to);
                Timing::WithRow
            }
        };
    }
    let mut levels: HashMap<usize, usize> = HashMap::new();
    for (entity, knot) in knot_of.iter().enumerate() {
        schedule.levels[entity] = level(*knot, &parents, &mut levels);
    }
    schedule
}

/// Spells a cycle through an entity: each refers to the next, and the last to the first. Empty if it is in none. Its reference to itself
/// is one only where there is no other.
pub fn spell_cycle(start: usize, edges: &[Edge]) -> Vec<usize> {
    let others: Vec<Edge> = edges.iter().filter(|edge| edge.child != edge.parent).copied().collect();
    let cycle = spell_path(start, start, &others);
    if cycle.is_empty() && edges.iter().any(|edge| (edge.child, edge.parent) == (start, start)) { vec![start] } else { cycle }
}

/// Spells a cycle that a reference closes with others: its child, its parent, and so on back to the child. Empty if it closes none.
pub fn spell_cycle_over(edge: Edge, edges: &[Edge]) -> Vec<usize> {
    if edge.child == edge.parent {
        return vec![edge.child];
    }
    let back = spell_path(edge.parent, edge.child, edges);
    if back.is_empty() { back } else { [vec![edge.child], back].concat() }
}

/// Spells the shortest way along references from one entity to another, which is left out. Empty if there is none.
fn spell_path(start: usize, end: usize, edges: &[Edge]) -> Vec<usize> {
    let mut before: HashMap<usize, usize> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(entity) = queue.pop_front() {
        for edge in edges.iter().filter(|edge| edge.child == entity) {
            if edge.parent == end {
                let mut path = vec![entity];
                while let Some(previous) = path.last().filter(|last| **last != start).and_then(|last| before.get(last)) {
                    path.push(*previous);
                }
                path.reverse();
                return path;
            }
            if let Entry::Vacant(unseen) = before.entry(edge.parent) {
                unseen.insert(entity);
                queue.push_back(edge.parent);
            }
        }
    }
    Vec::new()
}

/// Returns the component of each entity, named by its first member, and the components that hold a cycle.
fn components<'e>(entities: usize, edges: impl Iterator<Item = &'e Edge>) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut graph = DiGraph::<usize, ()>::new();
    let nodes: Vec<NodeIndex> = (0..entities).map(|place| graph.add_node(place)).collect();
    for edge in edges {
        graph.update_edge(nodes[edge.child], nodes[edge.parent], ());
    }
    let (mut of, mut cycles) = (vec![0; entities], Vec::new());
    for component in tarjan_scc(&graph) {
        let mut members: Vec<usize> = component.iter().map(|node| graph[*node]).collect();
        members.sort_unstable();
        members.iter().for_each(|member| of[*member] = members[0]);
        if members.len() > 1 || graph.contains_edge(component[0], component[0]) {
            cycles.push(members);
        }
    }
    cycles.sort_unstable();
    (of, cycles)
}

/// Returns whether following parents leads from one place to another.
fn leads(parents: &[Vec<usize>], from: usize, to: usize) -> bool {
    let (mut waiting, mut seen) = (vec![from], HashSet::from([from]));
    while let Some(place) = waiting.pop() {
        if place == to {
            return true;
        }
        waiting.extend(parents[place].iter().copied().filter(|parent| seen.insert(*parent)));
    }
    false
}

/// Returns one more than the highest level of all parents. What was kept is free of cycles.
fn level(place: usize, parents: &[Vec<usize>], known: &mut HashMap<usize, usize>) -> usize {
    if let Some(level) = known.get(&place) {
        return *level;
    }
    // Its own stack: a chain of references may be longer than the thread's.
    let mut stack = vec![(place, false)];
    while let Some((place, ready)) = stack.pop() {
        if known.contains_key(&place) {
            continue;
        }
        if ready {
            let above = parents[place].iter().map(|parent| known.get(parent).map_or(0, |level| level + 1)).max();
            known.insert(place, above.unwrap_or(0));
        } else {
            stack.push((place, true));
            stack.extend(parents[place].iter().map(|parent| (*parent, false)));
        }
    }
    known.get(&place).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edge(child: usize, parent: usize, bond: Bond) -> Edge {
        Edge { child, parent, bond }
    }

    #[test]
    fn the_nullable_reference_of_a_cycle_is_bound_late_and_the_other_orders_it() {
        // 0 staff → 1 store must be there; 1 store → 0 its manager may wait.
        let edges = [edge(0, 1, Bond::Rigid), edge(1, 0, Bond::Nullable)];
        let schedule = schedule(2, &edges);
        assert_eq!(schedule.levels, [1, 0]);
        assert_eq!(schedule.timings, [Timing::WithRow, Timing::Late]);
        assert_eq!(schedule.cycles, [[0, 1]]);
        assert!(schedule.knots.is_empty());
    }

    #[test]
    fn what_can_never_be_null_is_bound_together() {
        let edges = [edge(0, 1, Bond::Rigid), edge(1, 0, Bond::Rigid), edge(2, 0, Bond::Rigid), edge(0, 3, Bond::Rigid)];
        let schedule = schedule(4, &edges);
        assert_eq!(schedule.levels, [1, 1, 2, 0]);
        assert_eq!(schedule.timings, [Timing::Together, Timing::Together, Timing::WithRow, Timing::WithRow]);
        assert_eq!(schedule.knots, [[0, 1]]);
    }

    #[test]
    fn of_two_cycles_that_share_an_entity_each_is_broken_once() {
        let edges = [edge(0, 1, Bond::Nullable), edge(1, 0, Bond::Nullable), edge(1, 2, Bond::Rigid), edge(2, 1, Bond::Nullable)];
        let schedule = schedule(3, &edges);
        let late: Vec<usize> = (0..4).filter(|at| schedule.timings[*at] == Timing::Late).collect();
        assert_eq!(late, [1, 3]);
        assert_eq!(schedule.levels, [2, 1, 0]);
    }

    #[test]
    fn a_diamond_has_no_cycle_and_a_self_reference_is_one() {
        let diamond = [(1, 0), (2, 0), (3, 1), (3, 2)].map(|(child, parent)| edge(child, parent, Bond::Rigid));
        assert_eq!(schedule(4, &diamond).levels, [0, 1, 1, 2]);
        let own = schedule(1, &[edge(0, 0, Bond::Nullable)]);
        assert_eq!((own.cycles, own.timings), (vec![vec![0]], vec![Timing::Late]));
    }

    #[test]
    fn a_cycle_is_spelled_along_its_references() {
        let edges = [(0, 2), (2, 1), (1, 0), (0, 3)].map(|(child, parent)| edge(child, parent, Bond::Rigid));
        assert_eq!(spell_cycle(0, &edges), [0, 2, 1]);
        assert_eq!(spell_cycle(1, &edges), [1, 0, 2]);
        assert_eq!(spell_cycle(3, &edges), Vec::<usize>::new());
        assert_eq!(spell_cycle(0, &[edge(0, 0, Bond::Loose)]), [0]);
    }

    #[test]
    fn a_reference_to_itself_hides_no_other_cycle_of_an_entity() {
        let edges = [(0, 0), (0, 1), (1, 1), (1, 0)].map(|(child, parent)| edge(child, parent, Bond::Nullable));
        assert_eq!((spell_cycle(0, &edges), spell_cycle(1, &edges)), (vec![0, 1], vec![1, 0]));
        let over = |at: usize| spell_cycle_over(edges[at], &edges);
        assert_eq!((over(0), over(1), over(2), over(3)), (vec![0], vec![0, 1], vec![1], vec![1, 0]));
        assert_eq!(spell_cycle_over(edge(0, 2, Bond::Loose), &edges), Vec::<usize>::new());
    }

    fn graphs() -> impl Strategy<Value = (usize, Vec<Edge>)> {
        let bonds = prop_oneof![Just(Bond::Rigid), Just(Bond::Nullable), Just(Bond::Loose)];
        (1..9usize).prop_flat_map(move |entities| {
            let edges = (0..entities, 0..entities, bonds.clone()).prop_map(|(child, parent, bond)| Edge { child, parent, bond });
            (Just(entities), proptest::collection::vec(edges, 0..16))
        })
    }

    /// Whether following all edges but one leads from its parent to its child: then it lies in a cycle.
    fn closes(edges: &[Edge], at: usize, kept: impl Fn(usize) -> bool) -> bool {
        let (mut waiting, mut seen) = (vec![edges[at].parent], HashSet::new());
        while let Some(place) = waiting.pop() {
            if place == edges[at].child {
                return true;
            }
            let next = edges.iter().enumerate().filter(|(i, edge)| kept(*i) && edge.child == place);
            waiting.extend(next.map(|(_, edge)| edge.parent).filter(|parent| seen.insert(*parent)));
        }
        false
    }

    proptest! {
        #[test]
        fn every_reference_is_bound_as_soon_as_its_graph_allows((entities, edges) in graphs()) {
            let schedule = schedule(entities, &edges);
            let knot = |entity: usize| schedule.knots.iter().position(|knot| knot.contains(&entity));
            for (at, edge) in edges.iter().enumerate() {
                let (child, parent) = (schedule.levels[edge.child], schedule.levels[edge.parent]);
                match schedule.timings[at] {
                    Timing::WithRow => prop_assert!(parent < child, "{edge:?} is written before its parent"),
                    Timing::Together => {
                        prop_assert_eq!(edge.bond, Bond::Rigid);
                        prop_assert!(knot(edge.child).is_some() && knot(edge.child) == knot(edge.parent));
                        prop_assert!(closes(&edges, at, |i| edges[i].bond == Bond::Rigid), "{edge:?} is tied for nothing");
                    }
                    Timing::Late => {
                        prop_assert!(edge.bond != Bond::Rigid, "{edge:?} cannot wait");
                        // What is bound together is one: its references lead both ways.
                        let kept = |i: usize| schedule.timings[i] != Timing::Late;
                        prop_assert!(closes(&edges, at, kept), "{edge:?} waits for nothing");
                    }
                }
                let cycle = schedule.cycles.iter().find(|cycle| cycle.contains(&edge.child) && cycle.contains(&edge.parent));
                prop_assert_eq!(cycle.is_some(), closes(&edges, at, |_| true));
            }
            for cycle in &schedule.cycles {
                let path = spell_cycle(cycle[0], &edges);
                let follows = |(i, from): (usize, &usize)| {
                    let to = path[(i + 1) % path.len()];
                    edges.iter().any(|edge| edge.child == *from && edge.parent == to)
                };
                prop_assert!(!path.is_empty() && path.iter().enumerate().all(follows), "{path:?} is no cycle");
            }
        }
    }
}
