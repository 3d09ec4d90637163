//! Random histories of inserts, updates, deletes, key changes and schema changes at the source and of edits in the target, between all
//! pairs of engines, with runs that end anywhere (P1, P2, P3, P4).
//!
//! After each sync the target holds what a model in plain Rust says, read by plain SQL: the ledger is never asked. `MIGRATE_HISTORIES`
//! says how many histories are played in all, `MIGRATE_PROPERTY_SEED` which ones; a failing one is shrunk and printed.

mod case;
mod faults;
mod found;
mod graphs;
mod history;
mod keys;
mod model;
mod run;
mod side;

use case::Case;
use migrate_tests::{Engine, PAIRS, Postgres};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use side::{Side, engine_name};
use std::cell::RefCell;
use tokio::runtime::Runtime;

/// Histories of all pairs together, in the ordinary run.
const HISTORIES: u32 = 256;
/// Which histories the ordinary run plays: always the same ones, as a push must not fail for what it did not touch. `tests/histories.sh`
/// plays others each time.
const SEED: u64 = 7;
/// Which share of them each of the [`PAIRS`] plays, of sixteen: servers take their time, and most of what can go wrong is common to all.
const SHARES: [u32; 4] = [1, 1, 1, 13];

/// Both sides of a pair; a server's database serves all its histories.
struct Pair {
    engines: (Engine, Engine),
    servers: (Option<Side>, Option<Side>),
    folder: tempfile::TempDir,
    played: u64,
}

impl Pair {
    fn new(engines: (Engine, Engine), runtime: &Runtime) -> Self {
        let server = |engine| match engine {
            Engine::Postgres(server) => {
                let database = Postgres::new(server);
                Some(runtime.block_on(Side::postgres(database)))
            }
            Engine::Sqlite => None,
        };
        // Thousands of small commits are not to wait for a disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        Pair { engines, servers: (server(engines.0), server(engines.1)), folder, played: 0 }
    }

    /// Returns a name for the next tables.
    fn next(&mut self) -> String {
        self.played += 1;
        format!("t{}", self.played)
    }

    /// Names the file of the tables at hand.
    fn file(&self, role: &str) -> Side {
        Side::sqlite(self.folder.path(), &format!("t{}-{role}.sqlite", self.played))
    }

    async fn play(&mut self, case: &Case) -> Result<(), String> {
        let table = self.next();
        let (shape, keys) = case.shape.settled(self.engines.0, self.engines.1);
        let (mut from, mut to) = (self.file("source"), self.file("target"));
        let source = self.servers.0.as_mut().unwrap_or(&mut from);
        let target = self.servers.1.as_mut().unwrap_or(&mut to);
        let result = history::play(case, keys, shape, source, target, &table).await;
        for side in [source, target] {
            Self::clear(side, &format!("DROP TABLE IF EXISTS {table}")).await?;
        }
        result
    }

    /// Takes away what was played on.
    async fn clear(side: &mut Side, drop: &str) -> Result<(), String> {
        match side {
            Side::Postgres { .. } => side.run(&[drop.to_owned()]).await,
            Side::Sqlite(file) => {
                let _ = std::fs::remove_file(file.path());
                Ok(())
            }
        }
    }
}

/// Plays one history in every direction.
fn play_on_all_pairs(case: &Case) {
    let runtime = runtime();
    for engines in PAIRS {
        let mut played = Pair::new(engines, &runtime);
        if let Err(reason) = runtime.block_on(played.play(case)) {
            panic!("{} → {}: {reason}\n{case:?}", engine_name(engines.0), engine_name(engines.1));
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Plays, on one of the [`PAIRS`], its share of as many cases as are asked for.
fn agree<C: std::fmt::Debug>(
    pair: usize,
    (what, variable, ordinary): (&str, &str, u32),
    cases: impl Strategy<Value = C>,
    play: impl AsyncFn(&mut Pair, &C) -> Result<(), String>,
) {
    let engines = PAIRS[pair];
    let seed = number("MIGRATE_PROPERTY_SEED").unwrap_or(SEED);
    let all = number(variable).and_then(|n| u32::try_from(n).ok()).unwrap_or(ordinary);
    let share = (all * SHARES[pair]).div_ceil(16);
    let name = format!("{} → {}", engine_name(engines.0), engine_name(engines.1));
    println!("{name}: {share} {what}, MIGRATE_PROPERTY_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8] = pair as u8;
    let config = Config { cases: share, failure_persistence: None, max_shrink_iters: 120, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = runtime();
    let played = RefCell::new(Pair::new(engines, &runtime));
    let result = runner.run(&cases, |case| runtime.block_on(play(&mut played.borrow_mut(), &case)).map_err(TestCaseError::fail));
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, case)) => panic!("{name}: {reason}\n{case:?}\nMIGRATE_PROPERTY_SEED={seed}"),
        Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
    }
}

fn histories_agree(pair: usize) {
    agree(pair, ("histories", "MIGRATE_HISTORIES", HISTORIES), case::case(), async |pair, case| pair.play(case).await);
}

#[test]
fn any_history_from_postgresql_to_postgresql_ends_as_the_model_says() {
    histories_agree(0);
}

#[test]
fn any_history_from_postgresql_to_sqlite_ends_as_the_model_says() {
    histories_agree(1);
}

#[test]
fn any_history_from_sqlite_to_postgresql_ends_as_the_model_says() {
    histories_agree(2);
}

#[test]
fn any_history_from_sqlite_to_sqlite_ends_as_the_model_says() {
    histories_agree(3);
}
