//! Random graphs of references between all pairs of engines: tables that refer to themselves, cycles of two and three, diamonds, cycles
//! that share a table, references that are never NULL, composite keys, rows whose parent is nowhere (they wait, are refused, or have NULL or a
//! placeholder in its stead); into tables that exist, with every constraint live, or that the job creates; with the source's ids or with
//! those that the target gives; and with runs that end anywhere.
//!
//! What the target holds is joined by plain SQL over what the rows say and compared with a model in plain Rust. `MIGRATE_GRAPHS` says how
//! many graphs are played in all, `MIGRATE_PROPERTY_SEED` which ones; a failing one is shrunk and printed.

mod case;
mod found;
mod model;
mod play;
mod sql;

use crate::side::engine_name;
use crate::{Pair, agree, runtime};
use case::Case;
use migrate_tests::PAIRS;
use sql::Sql;

/// Graphs of all pairs together, in the ordinary run.
const GRAPHS: u32 = 256;

impl Pair {
    async fn play_graph(&mut self, case: &Case) -> Result<(), String> {
        let prefix = self.next();
        let (mut from, mut to) = (self.file("source"), self.file("target"));
        let source = self.servers.0.as_mut().unwrap_or(&mut from);
        let target = self.servers.1.as_mut().unwrap_or(&mut to);
        let result = play::play(case, source, target, &prefix).await;
        let drop = Sql { case, prefix: &prefix }.drop();
        Self::clear(source, &drop).await?;
        Self::clear(target, &drop).await?;
        result
    }
}

/// Plays one graph in every direction.
fn play_on_all_pairs(case: &Case) {
    let runtime = runtime();
    for engines in PAIRS {
        let mut played = Pair::new(engines, &runtime);
        if let Err(reason) = runtime.block_on(played.play_graph(case)) {
            panic!("{} → {}: {reason}\n{case:?}", engine_name(engines.0), engine_name(engines.1));
        }
    }
}

fn graphs_agree(pair: usize) {
    agree(pair, ("graphs", "MIGRATE_GRAPHS", GRAPHS), case::case(), async |pair, case| pair.play_graph(case).await);
}

#[test]
fn any_graph_from_postgresql_to_postgresql_ends_as_the_model_says() {
    graphs_agree(0);
}

#[test]
fn any_graph_from_postgresql_to_sqlite_ends_as_the_model_says() {
    graphs_agree(1);
}

#[test]
fn any_graph_from_sqlite_to_postgresql_ends_as_the_model_says() {
    graphs_agree(2);
}

#[test]
fn any_graph_from_sqlite_to_sqlite_ends_as_the_model_says() {
    graphs_agree(3);
}
