//! The order of entities whose stages are given.
//!
//! Between two stages their order decides, and inside one the references do. A reference to an entity of a later stage is against the order:
//! its parents load later, whatever it allows.

use super::schedule::{Edge, Schedule, Timing, schedule};
use std::collections::BTreeSet;

/// In which order entities load, stage by stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Staged {
    /// Their order; levels of later stages are higher than all levels of earlier ones.
    pub schedule: Schedule,
    /// References to entities of later stages, by their places. They are late, also those that cannot be.
    pub against: BTreeSet<usize>,
}

/// Schedules entities, whose stages are given by their places, with their references.
pub fn schedule_stages(stages: &[usize], edges: &[Edge]) -> Staged {
    let inside: Vec<usize> = (0..edges.len()).filter(|at| stages[edges[*at].child] == stages[edges[*at].parent]).collect();
    let inner: Vec<Edge> = inside.iter().map(|at| edges[*at]).collect();
    let found = schedule(stages.len(), &inner);
    let mut timings = vec![Timing::WithRow; edges.len()];
    inside.iter().zip(&found.timings).for_each(|(at, timing)| timings[*at] = *timing);
    let mut against = BTreeSet::new();
    for (at, edge) in edges.iter().enumerate().filter(|(_, edge)| stages[edge.child] < stages[edge.parent]) {
        timings[at] = Timing::Late;
        debug_assert_ne!(edge.child, edge.parent, "an entity is in one stage");
        against.insert(at);
    }
    let mut levels = found.levels.clone();
    let (mut first, known) = (0, stages.iter().copied().collect::<BTreeSet<usize>>());
    for stage in known {
        let members = || (0..stages.len()).filter(|entity| stages[*entity] == stage);
        members().for_each(|entity| levels[entity] = first + found.levels[entity]);
        first = members().map(|entity| levels[entity] + 1).max().unwrap_or(first);
    }
    Staged { schedule: Schedule { levels, timings, ..found }, against }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Bond;
    use super::*;

    fn edge(child: usize, parent: usize, bond: Bond) -> Edge {
        Edge { child, parent, bond }
    }

    #[test]
    fn stages_come_one_after_the_other_and_references_decide_inside_them() {
        // 0 and 1 are in the second stage, 2 and 3 in the first.
        let edges = [edge(1, 0, Bond::Rigid), edge(0, 2, Bond::Rigid), edge(3, 0, Bond::Nullable), edge(2, 3, Bond::Rigid)];
        let staged = schedule_stages(&[1, 1, 0, 0], &edges);
        assert_eq!(staged.schedule.levels, [2, 3, 1, 0]);
        assert_eq!(staged.schedule.timings, [Timing::WithRow, Timing::WithRow, Timing::Late, Timing::WithRow]);
        assert_eq!(staged.against, BTreeSet::from([2]));
    }

    #[test]
    fn of_a_cycle_across_stages_nothing_is_left_to_break() {
        let edges = [edge(0, 1, Bond::Nullable), edge(1, 0, Bond::Rigid)];
        let staged = schedule_stages(&[0, 1], &edges);
        assert_eq!((staged.schedule.levels, staged.schedule.cycles), (vec![0, 1], Vec::<Vec<usize>>::new()));
        assert_eq!(staged.schedule.timings, [Timing::Late, Timing::WithRow]);
    }

    #[test]
    fn one_stage_is_the_order_of_the_references() {
        let edges = [edge(0, 1, Bond::Nullable), edge(1, 0, Bond::Rigid), edge(2, 1, Bond::Loose), edge(2, 2, Bond::Nullable)];
        let staged = schedule_stages(&[5, 5, 5], &edges);
        assert_eq!((staged.schedule, staged.against), (schedule(3, &edges), BTreeSet::new()));
    }
}
