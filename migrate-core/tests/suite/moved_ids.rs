//! Ids of the source that are another row's than before, while rows are known by them: what is gone is deleted as what it was, and no row of
//! others in its place.

use migrate_core::ErrorKind;
use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, Job, MemoryRecorder, Mode, OrphanPolicy, Reference, RunOptions,
};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::Pipeline;
use migrate_core::schema::{Identity, UniqueKey};
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Pairs = BTreeSet<(i64, i64)>;

/// Labels from here on are those of rows of others.
const OTHERS: i64 = 1_000;

/// Teams are known by their code on both sides, colours by their team and label; nothing of the target checks that they refer to them.
struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
    rows: u64,
    /// What the source holds: by code, the team's id and the labels of its colours.
    teams: BTreeMap<i64, (i64, BTreeSet<i64>)>,
}

impl Bench {
    fn new(rows: u64) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        let int = DataType::Int64;
        for database in [&from, &to] {
            let mut team = table("team", &[("id", int.clone()), ("code", int.clone())], &["id"]);
            team.columns[0].identity = Some(Identity::ByDefault);
            team.columns[1].nullable = false;
            team.unique_keys.push(UniqueKey { name: Some("team_code".into()), ..UniqueKey::new(["code"]) });
            database.create_table(team).expect("a new table");
            let colour = table("colour", &[("team", int.clone()), ("label", int.clone())], &["team", "label"]);
            database.create_table(colour).expect("a new table");
        }
        to.insert("team", [10, OTHERS].map(Value::Int)).expect("the row fits");
        let colour = Entity::new("colour").with_reference(Reference::new(["team"], "team").with_key(["id"]));
        let job = Job::new("copy", "from", "to")
            .with_mode(Mode::Replace)
            .with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(u64::MAX)))
            .with_orphans(OrphanPolicy::Quarantine)
            .with_entity(colour)
            .with_entity(Entity::new("team").with_key(["code"]).with_generated("id"));
        Bench { from, to, recorder: Arc::default(), job, rows, teams: BTreeMap::new() }
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(RunOptions::new().with_batch_rows(self.rows))
            .build()
            .expect("the job is sound")
    }

    /// Puts what the source is to hold there.
    fn settle(&self) {
        for name in ["team", "colour"] {
            self.from.delete(name, |_| true).expect("the table is there");
        }
        for (code, (id, labels)) in &self.teams {
            self.from.insert("team", [*id, *code].map(Value::Int)).expect("the row fits");
            for label in labels {
                self.from.insert("colour", [*id, *label].map(Value::Int)).expect("the row fits");
            }
        }
    }

    /// Runs, as was planned, and returns how many rows were deleted; the target then says what the source does, and those of others stay.
    async fn copy(&self) -> u64 {
        self.settle();
        let others = self.colours().1;
        let preview = self.pipeline().preview(&CancelToken::new()).await.expect("both sides can be read");
        let planned: u64 = preview.changes.iter().map(|entity| entity.counters.deleted).sum();
        let done = self.run().await;
        assert_eq!((done.deleted, done.conflicts, done.quarantined), (planned, 0, 0), "{done:?}");
        let expected = self.teams.iter().flat_map(|(code, (_, labels))| labels.iter().map(|label| (*code, *label))).collect();
        assert_eq!(self.colours(), (expected, others), "{:?}", self.teams);
        let again = self.run().await;
        assert_eq!((again.inserted, again.updated, again.deleted, again.conflicts), (0, 0, 0, 0), "P4: {again:?}");
        done.deleted
    }

    async fn run(&self) -> Counters {
        let report = self.pipeline().run(&CancelToken::new()).await.expect("the run begins");
        assert_eq!(report.error, None);
        let mut sum = Counters::default();
        report.entities.iter().for_each(|entity| sum.add(&entity.counters));
        sum
    }

    /// The colours of the target: by their teams' codes and labels, and those of others as they are.
    fn colours(&self) -> (Pairs, Pairs) {
        let pairs = |name: &str| -> Vec<(i64, i64)> {
            let rows = self.to.rows(name).expect("the table is there");
            rows.iter().map(|row| if let [Value::Int(a), Value::Int(b)] = row[..] { (a, b) } else { panic!("{row:?}") }).collect()
        };
        let code_of: BTreeMap<i64, i64> = pairs("team").into_iter().collect();
        let (others, own): (Vec<_>, Vec<_>) = pairs("colour").into_iter().partition(|(_, label)| *label >= OTHERS);
        (
            own.into_iter().map(|(id, label)| (code_of.get(&id).copied().unwrap_or(-id), label)).collect(),
            others.into_iter().collect(),
        )
    }

    /// The id of a team in the target.
    fn id(&self, code: i64) -> Value<'static> {
        let rows = self.to.rows("team").expect("the table is there");
        rows.iter().find(|row| row[1] == Value::Int(code)).expect("the team is there")[0].clone()
    }
}

fn team(id: i64, labels: &[i64]) -> (i64, BTreeSet<i64>) {
    (id, labels.iter().copied().collect())
}

#[tokio::test]
async fn rows_that_are_gone_go_although_their_parents_id_is_a_new_one() {
    for rows in [1, 100] {
        let mut bench = Bench::new(rows);
        bench.teams = [(109, team(9, &[1, 2]))].into();
        bench.copy().await;
        bench.teams = [(109, team(77, &[1]))].into();
        assert_eq!(bench.copy().await, 1);
        // The id is another's, whose colours are not the first one's.
        bench.teams = [(109, team(78, &[1])), (110, team(77, &[2, 3]))].into();
        assert_eq!(bench.copy().await, 0);
        // The first one goes with its colour, and the other one has its id.
        bench.teams = [(110, team(78, &[2])), (111, team(77, &[1, 3]))].into();
        assert_eq!(bench.copy().await, 3);
    }
}

#[tokio::test]
async fn where_two_ids_are_exchanged_what_is_gone_goes_and_rows_of_others_stay() {
    for rows in [1, 100] {
        let mut bench = Bench::new(rows);
        bench.teams = [(107, team(7, &[1, OTHERS])), (108, team(8, &[1]))].into();
        bench.settle();
        bench.run().await;
        // One of others has the key that a gone row of the first team would have, were it the second's.
        bench.to.insert("colour", vec![bench.id(108), Value::Int(OTHERS)]).expect("the row fits");
        bench.teams = [(107, team(8, &[1])), (108, team(7, &[1]))].into();
        bench.settle();
        assert_eq!(bench.run().await.deleted, 1);
        assert_eq!(bench.colours().0, [(107, 1), (108, 1)].into());
        assert_eq!(bench.to.rows("colour").expect("the table is there").len(), 3);
        assert_eq!(bench.colours().1.len(), 1, "that of others");
        assert!(bench.colours().1.iter().all(|(id, _)| Value::Int(*id) == bench.id(108)));
    }
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).expect("31 bits") % most.max(1)
    }
}

#[tokio::test]
async fn however_ids_move_and_wherever_runs_are_cut_the_target_says_what_the_source_does() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut bench = Bench::new([1, 2, 100][usize::try_from(seed % 3).expect("a small number")]);
        for round in 0..8 {
            for _ in 0..1 + dice.below(3) {
                // Each team has an id that none other has, out of few.
                let code = 100 + dice.below(5);
                let free: Vec<i64> = (1..9).filter(|id| bench.teams.values().all(|(taken, _)| taken != id)).collect();
                let other = bench.teams.keys().nth(usize::try_from(dice.below(5)).expect("a small number")).copied();
                let id = free[usize::try_from(dice.below(free.len() as i64)).expect("a small number")];
                match (dice.below(5), bench.teams.get(&code).cloned(), other) {
                    (0, Some(_), _) => drop(bench.teams.remove(&code)),
                    (1, Some((_, labels)), _) => drop(bench.teams.insert(code, (id, labels))),
                    (2, Some((own, labels)), Some(other)) if other != code => {
                        let (its, theirs) = bench.teams[&other].clone();
                        bench.teams.extend([(code, (its, labels)), (other, (own, theirs))]);
                    }
                    (_, there, _) => {
                        let (id, mut labels) = there.unwrap_or((id, BTreeSet::new()));
                        labels = (1..5).filter(|label| labels.contains(label) != (dice.below(3) == 0)).collect();
                        bench.teams.insert(code, (id, labels));
                    }
                }
            }
            if dice.below(3) == 0 {
                let key = [10 + dice.below(8), OTHERS + round].map(Value::Int);
                bench.to.insert("colour", key).expect("the row fits");
            }
            if dice.below(2) == 0 {
                // A run ends anywhere, and the source goes on.
                bench.settle();
                bench.to.faults().fail(
                    Call::Commit,
                    1 + u64::try_from(dice.below(12)).expect("a small number"),
                    ErrorKind::Internal,
                );
                bench.pipeline().run(&CancelToken::new()).await.expect("the run begins");
                bench.to.faults().clear();
                let moved = bench.teams.keys().next().copied().filter(|_| dice.below(2) == 0);
                if let Some((code, (_, labels))) = moved.and_then(|code| bench.teams.remove_entry(&code)) {
                    bench.teams.insert(code, (20 + round, labels));
                }
            }
            bench.copy().await;
        }
    }
}
