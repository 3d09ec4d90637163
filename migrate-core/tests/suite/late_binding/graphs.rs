//! Random graphs of references: whatever shape they have and wherever runs are cut off, the target holds what a model says.
//!
//! `MIGRATE_TEST_GRAPHS=10000 cargo test -p migrate-core --test late_binding graphs` for a soak.

use super::bench::{Bench, NONE, sum, value};
use migrate_core::ErrorKind;
use migrate_core::job::{Job, Mode, OrphanPolicy, QuarantineLimit, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::Pipeline;
use migrate_core::plan::Binding;
use migrate_core::schema::{ForeignKey, TableName, TableSchema};
use migrate_core::value::{DataType, Value};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Cycles of references that are never NULL: no order of rows can fill them one by one.
const RIGID_CYCLES: bool = false;

/// A reference from one table to another, or to itself.
#[derive(Debug, Clone, Copy)]
struct Reference {
    child: usize,
    parent: usize,
    /// Whether its columns refuse NULL.
    rigid: bool,
}

/// Tables, by their numbers, and what is in them.
#[derive(Debug, Clone)]
struct Graph {
    /// Whether a table's key has two columns.
    composite: Vec<bool>,
    references: Vec<Reference>,
    /// How many rows each table has; their keys are 1 and so on.
    rows: Vec<i64>,
    /// What each row's references point to, in turn, as a share.
    draws: Vec<u16>,
}

/// A row: for each of its table's references, in order, the key that it refers to.
type Parents = Vec<i64>;
/// Each table's rows by key.
type Content = Vec<BTreeMap<i64, Parents>>;

fn name(place: usize) -> String {
    format!("t{place}")
}

impl Graph {
    fn of(&self, child: usize) -> impl Iterator<Item = (usize, Reference)> + '_ {
        self.references.iter().copied().enumerate().filter(move |(_, reference)| reference.child == child)
    }

    fn key(&self, place: usize) -> Vec<&'static str> {
        if self.composite[place] { vec!["id", "part"] } else { vec!["id"] }
    }

    fn columns(&self, number: usize) -> Vec<String> {
        self.key(self.references[number].parent).iter().map(|column| format!("r{number}_{column}")).collect()
    }

    fn tables(&self, constraints: bool) -> Vec<TableSchema> {
        let all = 0..self.rows.len();
        let make = |place: usize| {
            let mut columns: Vec<String> = self.key(place).iter().map(|c| (*c).to_owned()).collect();
            self.of(place).for_each(|(number, _)| columns.extend(self.columns(number)));
            let typed: Vec<(&str, DataType)> = columns.iter().map(|c| (c.as_str(), DataType::Int64)).collect();
            let mut schema = table(&name(place), &typed, &self.key(place));
            for (number, reference) in self.of(place).filter(|_| constraints) {
                let names = self.columns(number);
                let parent = TableName::new(None, name(reference.parent));
                let key = ForeignKey::new(names.clone(), parent, self.key(reference.parent));
                schema.foreign_keys.push(ForeignKey { name: Some(format!("r{number}")), ..key });
                let refused = schema.columns.iter_mut().filter(|c| reference.rigid && names.contains(&c.name));
                refused.for_each(|column| column.nullable = false);
            }
            schema
        };
        all.map(make).collect()
    }

    /// Draws what each row refers to: of a hundred, one to what is not there, and some to nothing.
    fn content(&self) -> Content {
        let mut draws = self.draws.iter().copied().cycle();
        let mut content = Content::new();
        for (place, rows) in self.rows.iter().enumerate() {
            let mut table = BTreeMap::new();
            for id in 1..=*rows {
                let parents = self.of(place).map(|(_, reference)| {
                    let draw = i64::from(draws.next().unwrap_or(0));
                    match draw % 100 {
                        0 => self.rows[reference.parent] + 1 + draw / 100 % 2,
                        1..=15 if !reference.rigid => NONE,
                        _ => 1 + draw / 100 % self.rows[reference.parent],
                    }
                });
                table.insert(id, parents.collect());
            }
            content.push(table);
        }
        content
    }

    /// The cells of a row; the second part of a key is that of the first, tenfold.
    fn cells(&self, place: usize, id: i64, parents: &[i64]) -> Vec<Value<'static>> {
        let key = |table: usize, id: i64| {
            let second = if id == NONE { NONE } else { id * 10 };
            [id, second].into_iter().take(self.key(table).len()).map(value).collect::<Vec<_>>()
        };
        let mut cells = key(place, id);
        self.of(place).zip(parents).for_each(|((_, reference), parent)| cells.extend(key(reference.parent, *parent)));
        cells
    }

    fn fill(&self, database: &MemoryDatabase, content: &Content, known: &Content) {
        for (place, rows) in content.iter().enumerate() {
            for (id, parents) in rows.iter().filter(|(id, _)| known.get(place).is_none_or(|table| !table.contains_key(id))) {
                database.insert(&name(place), self.cells(place, *id, parents)).expect("the row fits");
            }
        }
    }

    /// What arrives: a row whose parent does not is refused, or does without it where its reference is late.
    fn model(&self, content: &Content, late: &BTreeSet<usize>) -> (Content, [u64; 2]) {
        let mut arrived = content.clone();
        loop {
            let before = arrived.clone();
            for (place, rows) in arrived.iter_mut().enumerate() {
                let there = |number: usize, parent: i64| {
                    late.contains(&number) || parent == NONE || before[self.references[number].parent].contains_key(&parent)
                };
                rows.retain(|_, parents| self.of(place).zip(parents.iter()).all(|((number, _), parent)| there(number, *parent)));
            }
            if arrived == before {
                break;
            }
        }
        let (there, mut waiting) = (arrived.clone(), 0);
        for (place, rows) in arrived.iter_mut().enumerate() {
            for parents in rows.values_mut() {
                let mut waits = false;
                for ((_, reference), parent) in self.of(place).zip(parents.iter_mut()) {
                    if *parent != NONE && !there[reference.parent].contains_key(parent) {
                        (*parent, waits) = (NONE, true);
                    }
                }
                waiting += u64::from(waits);
            }
        }
        let count = |content: &Content| content.iter().map(|rows| rows.len() as u64).sum::<u64>();
        let refused = count(content) - count(&arrived);
        (arrived, [refused, waiting])
    }

    fn assert_holds(&self, database: &MemoryDatabase, expected: &Content) {
        for (place, rows) in expected.iter().enumerate() {
            let mut found = database.rows(&name(place)).expect("the table is there");
            let mut wanted: Vec<Vec<Value<'static>>> = rows.iter().map(|(id, parents)| self.cells(place, *id, parents)).collect();
            for rows in [&mut found, &mut wanted] {
                rows.sort_by_key(|row| format!("{row:?}"));
            }
            assert_eq!(found, wanted, "{}", name(place));
        }
    }
}

/// Cycles that always occur, and diamonds.
const SHAPES: [&[(usize, usize)]; 6] = [
    &[],
    &[(0, 0)],
    &[(0, 1), (1, 0)],
    &[(0, 1), (1, 2), (2, 0)],
    &[(1, 0), (2, 0), (3, 1), (3, 2)],
    &[(0, 1), (1, 0), (1, 2), (2, 1)],
];

fn graphs() -> impl Strategy<Value = Graph> {
    let shape = (0..SHAPES.len()).prop_map(|place| SHAPES[place]);
    let edges = proptest::collection::vec((0..5usize, 0..5usize), 0..6);
    let rigid = proptest::collection::vec(any::<bool>(), 12);
    let tables = (proptest::collection::vec(any::<bool>(), 5), proptest::collection::vec(1..14i64, 5));
    let draws = proptest::collection::vec(any::<u16>(), 300);
    (shape, edges, rigid, tables, draws).prop_map(|(shape, edges, rigid, (composite, rows), draws)| {
        let edges = shape.iter().copied().chain(edges).zip(rigid);
        let references = edges.map(|((child, parent), rigid)| {
            // What is never NULL refers to tables of smaller numbers, and so forms no cycle.
            Reference { child, parent, rigid: rigid && (RIGID_CYCLES || parent < child) }
        });
        Graph { composite, references: references.collect(), rows, draws }
    })
}

fn cases() -> u32 {
    std::env::var("MIGRATE_TEST_GRAPHS").map_or(256, |cases| cases.parse().expect("MIGRATE_TEST_GRAPHS is a number"))
}

/// The references that the plan binds late.
async fn late(bench: &Bench, graph: &Graph) -> BTreeSet<usize> {
    let builder = Pipeline::builder(bench.job.clone()).source(Arc::new(bench.from.source())).target(Arc::new(bench.to.sink()));
    let plan = builder.build().expect("the job is sound").plan().await.expect("every such graph can be filled");
    let is_late = |number: &usize| {
        let entity = plan.entity(&name(graph.references[*number].child)).expect("every table is an entity");
        let columns = graph.columns(*number);
        let reference = entity.references.iter().find(|r| r.columns == columns).expect("every reference is planned");
        reference.binding == Binding::Late
    };
    (0..graph.references.len()).filter(is_late).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// P1, P2 and P4 over graphs of any shape.
    #[test]
    fn any_graph_arrives_as_the_model_says_wherever_runs_are_cut_off(
        graph in graphs(),
        cuts in proptest::collection::vec(1u64..9, 0..4),
        batch in 1u64..20,
        parts in 1usize..4,
        mode in prop_oneof![Just(Mode::Replace), Just(Mode::Update), Just(Mode::Append), Just(Mode::Init)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let mut bench = Bench::new(Vec::new(), Job::new("copy", "from", "to").with_mode(mode).with_orphans(OrphanPolicy::Allow));
            let options = RunOptions::new().with_batch_rows(batch).with_parallel(parts).with_part_bytes(1);
            bench.options = options.with_max_quarantined(QuarantineLimit::Rows(u64::MAX));
            graph.tables(false).into_iter().for_each(|schema| bench.from.create_table(schema).expect("a new table"));
            graph.tables(true).into_iter().for_each(|schema| bench.to.create_table(schema).expect("a new table"));
            let late = late(&bench, &graph).await;
            for number in (0..graph.references.len()).filter(|number| graph.references[*number].rigid) {
                assert!(!late.contains(&number), "what is never NULL cannot wait");
            }
            let mut content = graph.content();
            graph.fill(&bench.from, &content, &Content::new());
            for cut in cuts {
                bench.to.faults().fail(Call::Commit, cut, ErrorKind::Internal);
                let report = bench.run().await;
                if report.error.is_none() {
                    sum(&report);
                }
                bench.to.faults().clear();
            }
            let (expected, counts) = graph.model(&content, &late);
            let counters = bench.copy().await;
            assert_eq!([counters.quarantined, counters.pending], counts, "{mode} {counters:?}");
            graph.assert_holds(&bench.to, &expected);
            let again = bench.copy().await;
            assert_eq!(([again.quarantined, again.pending], again.inserted + again.updated), (counts, 0), "P4: {mode} {again:?}");

            // WHEN every parent comes THEN nothing waits and nothing is refused any more
            let before = content.clone();
            for (place, rows) in content.iter_mut().enumerate() {
                for id in graph.rows[place] + 1..=graph.rows[place] + 2 {
                    rows.insert(id, graph.of(place).map(|_| 1).collect());
                }
            }
            graph.fill(&bench.from, &content, &before);
            let counters = bench.copy().await;
            assert_eq!([counters.quarantined, counters.pending], [0, 0], "{mode} {counters:?}");
            graph.assert_holds(&bench.to, &content);
        });
    }
}
