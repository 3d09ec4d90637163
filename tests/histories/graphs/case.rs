//! What tables there are, how they refer to one another, and how such a graph is drawn.

use crate::faults::Action;
use migrate_core::ErrorKind;
use migrate_core::job::{Bind, Mode, OrphanPolicy};
use proptest::prelude::*;

/// Tables that refer to one another, the job between both sides, and what happens to it.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) tables: Vec<Table>,
    pub(crate) references: Vec<Reference>,
    /// Whether the source has the constraints too: then every row has its parents.
    pub(crate) checked: bool,
    pub(crate) target: Target,
    pub(crate) mode: Mode,
    /// Whether what is gone from the source goes from the target.
    pub(crate) deletes: bool,
    /// Whether a run with orphans is refused, since the job says nothing of them; else it is for the target to say.
    pub(crate) fails: bool,
    pub(crate) batch_rows: u64,
    pub(crate) page_bytes: u64,
    pub(crate) first: Vec<Cut>,
    pub(crate) second: Vec<Cut>,
    /// Inserted, changed and deleted rows before the second sync.
    pub(crate) edits: [usize; 3],
    /// Where rows and edits are drawn from.
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Whether its key has two columns.
    pub(crate) composite: bool,
    pub(crate) ids: Ids,
    pub(crate) rows: i64,
}

/// Where the target's ids come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// The source.
    Kept,
    /// The target, and the key map alone knows which row is which.
    ByMap,
    /// The target, and rows are known by another key.
    ByCode,
}

/// A reference from one table to another, or to itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reference {
    pub(crate) child: usize,
    pub(crate) parent: usize,
    pub(crate) null: Null,
    pub(crate) deferred: bool,
    /// What becomes of orphans, where it is not what becomes of the job's others.
    pub(crate) policy: Option<OrphanPolicy>,
    /// What the job says of when it is bound: late, or at once with all that it forms a cycle with.
    pub(crate) bind: Option<Bind>,
}

/// Which of its columns may be NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Null {
    All,
    /// The second of two.
    Last,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The job creates the tables.
    Created,
    /// They are there and empty, and constraints are live.
    Empty,
    /// The same, with rows of others.
    Shared,
}

/// A run that does not reach its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) action: Action,
    pub(crate) nth: u64,
}

impl Case {
    /// The references of a table, with their numbers.
    pub(crate) fn of(&self, child: usize) -> impl Iterator<Item = (usize, Reference)> + '_ {
        self.references.iter().copied().enumerate().filter(move |(_, reference)| reference.child == child)
    }

    pub(crate) fn key(&self, table: usize) -> &'static [&'static str] {
        if self.tables[table].composite { &["id", "part"] } else { &["id"] }
    }

    /// The columns of a reference.
    pub(crate) fn columns(&self, number: usize) -> Vec<String> {
        self.key(self.references[number].parent).iter().map(|column| format!("r{number}_{column}")).collect()
    }
}

/// Tables that refer to themselves; cycles of two and three; a diamond; two cycles that share a table.
const SHAPES: [&[(usize, usize)]; 6] = [
    &[],
    &[(0, 0)],
    &[(0, 1), (1, 0)],
    &[(0, 1), (1, 2), (2, 0)],
    &[(1, 0), (2, 0), (3, 1), (3, 2)],
    &[(0, 1), (1, 0), (1, 2), (2, 1)],
];

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let action = prop_oneof![
        3 => Just(Action::Vanish),
        3 => Just(Action::VanishAfter),
        1 => Just(Action::Fail(ErrorKind::ConnectionLost)),
        1 => Just(Action::Fail(ErrorKind::Internal)),
        1 => Just(Action::LoseAnswer),
        1 => Just(Action::Stop),
    ];
    let cut = (action, 1u64..60).prop_map(|(action, nth)| Cut { action, nth });
    prop_oneof![1 => Just(Vec::new()), 1 => proptest::collection::vec(cut, 1..3)]
}

fn references() -> impl Strategy<Value = Vec<Reference>> {
    let null = prop_oneof![4 => Just(Null::All), 1 => Just(Null::Last), 4 => Just(Null::None)];
    let policy = prop_oneof![
        Just(None),
        Just(Some(OrphanPolicy::Null)),
        Just(Some(OrphanPolicy::Quarantine)),
        Just(Some(OrphanPolicy::Placeholder))
    ];
    let bind = prop_oneof![4 => Just(None), 1 => Just(Some(Bind::Late)), 1 => Just(Some(Bind::Together))];
    let how = proptest::collection::vec((null, proptest::bool::weighted(0.3), policy, bind), 10);
    let shape = (0..SHAPES.len()).prop_map(|place| SHAPES[place]);
    let others = proptest::collection::vec((0..6usize, 0..6usize), 0..5);
    (shape, others, how).prop_map(|(shape, others, how)| {
        let edges = shape.iter().copied().chain(others).zip(how);
        let reference =
            |((child, parent), (null, deferred, policy, bind))| Reference { child, parent, null, deferred, policy, bind };
        edges.map(reference).collect()
    })
}

fn table() -> impl Strategy<Value = Table> {
    let ids = prop_oneof![2 => Just(Ids::Kept), 1 => Just(Ids::ByMap), 1 => Just(Ids::ByCode)];
    (proptest::bool::weighted(0.3), ids, 1i64..30).prop_map(|(composite, ids, rows)| Table { composite, ids, rows })
}

/// Draws graphs.
pub(crate) fn case() -> impl Strategy<Value = Case> {
    let target = prop_oneof![1 => Just(Target::Created), 2 => Just(Target::Empty), 2 => Just(Target::Shared)];
    let job = (
        prop_oneof![2 => Just(Mode::Replace), 2 => Just(Mode::Update), 1 => Just(Mode::Init), 1 => Just(Mode::Append)],
        any::<bool>(),
        proptest::bool::weighted(0.1),
        1u64..25,
        prop_oneof![Just(200u64), Just(1 << 16)],
    );
    (
        (proptest::collection::vec(table(), 2..7), references()),
        (any::<bool>(), target, any::<bool>()),
        job,
        (cuts(), cuts()),
        ([0..4usize, 0..10, 0..4], any::<u64>()),
    )
        .prop_map(|((tables, references), (checked, target, new_ids), job, (first, second), (edits, seed))| {
            let (mode, deletes, fails, batch_rows, page_bytes) = job;
            let mut case = Case {
                tables,
                references,
                checked,
                target,
                mode,
                deletes,
                fails,
                batch_rows,
                page_bytes,
                first,
                second,
                edits,
                seed,
            };
            case.settle(new_ids);
            case
        })
}

impl Case {
    /// Takes out what does not go together.
    fn settle(&mut self, new_ids: bool) {
        for table in &mut self.tables {
            if table.composite || !new_ids || self.target == Target::Created {
                table.ids = Ids::Kept;
            }
        }
        if self.target == Target::Shared && self.mode == Mode::Init {
            self.mode = Mode::Replace;
        }
        if self.mode == Mode::Append {
            // It leaves what is there alone: rows change only as their parents come.
            (self.deletes, self.edits) = (false, [self.edits[0], 0, 0]);
        }
        let tables = self.tables.clone();
        for reference in &mut self.references {
            reference.child %= tables.len();
            reference.parent %= tables.len();
            if reference.null == Null::Last && !tables[reference.parent].composite {
                reference.null = Null::None;
            }
        }
        // A placeholder is known by its id, and refers to nothing.
        let stands_in = |table: usize| {
            tables[table].ids == Ids::Kept && self.references.iter().all(|r| r.child != table || r.null == Null::All)
        };
        let may_stand_in: Vec<bool> = (0..tables.len()).map(stands_in).collect();
        for reference in &mut self.references {
            reference.policy = match reference.policy {
                _ if self.checked || self.fails => None,
                Some(OrphanPolicy::Null) if reference.null == Null::None => Some(OrphanPolicy::Quarantine),
                Some(OrphanPolicy::Placeholder) if !may_stand_in[reference.parent] => Some(OrphanPolicy::Quarantine),
                other => other,
            };
        }
        self.bind();
    }

    /// Lets those references be bound as the job says that can be: late, where one may be NULL and is checked; and at once, where all that
    /// form a cycle with it are.
    fn bind(&mut self) {
        let live = self.target != Target::Created;
        let tied: Vec<bool> = self.references.iter().map(|r| self.reaches(r.parent, r.child)).collect();
        let together =
            self.references.iter().zip(&tied).find(|(_, tied)| **tied).is_some_and(|(r, _)| r.bind == Some(Bind::Together));
        for (reference, tied) in self.references.iter_mut().zip(tied) {
            reference.bind = match reference.bind {
                _ if !live => None,
                _ if together && tied => Some(Bind::Together),
                Some(Bind::Late) if reference.null != Null::None => Some(Bind::Late),
                _ => None,
            };
        }
    }

    /// Whether references lead from a table to another one, or to itself.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut found = vec![from];
        let mut next = 0;
        while let Some(table) = found.get(next).copied().filter(|table| *table != to) {
            let parents = self.references.iter().filter(|r| r.child == table).map(|r| r.parent);
            let new: Vec<usize> = parents.filter(|parent| !found.contains(parent)).collect();
            found.extend(new);
            next += 1;
        }
        next < found.len()
    }
}
