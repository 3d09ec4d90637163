//! References of which the job says when they are bound.

use migrate_core::job::{Bind, CancelToken, Entity, ExecutionState, Job, MemoryRecorder, Reference, RunOptions};
use migrate_core::memory::{Call, MemoryDatabase, table};
use migrate_core::pipeline::Pipeline;
use migrate_core::plan::Binding;
use migrate_core::schema::{ForeignKey, TableName};
use migrate_core::value::{DataType, Value};
use migrate_core::{ErrorKind, Result};
use std::sync::Arc;

/// Teams have a captain, who is a player, who is in a team; and a town, which has nothing to do with either. Towns come last.
fn databases() -> (MemoryDatabase, MemoryDatabase) {
    let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
    for database in [&from, &to] {
        let named = |name: &str, columns: &[&str]| {
            let columns: Vec<_> = columns.iter().map(|name| (*name, DataType::Int64)).collect();
            table(name, &columns, &["id"])
        };
        let refer = |column: &str, parent: &str| ForeignKey::new([column], TableName::new(None, parent), ["id"]);
        let (mut teams, mut players) = (named("teams", &["id", "captain", "town"]), named("players", &["id", "team"]));
        teams.foreign_keys = vec![refer("captain", "players"), refer("town", "towns")];
        players.foreign_keys = vec![refer("team", "teams")];
        for schema in [named("towns", &["id"]), teams, players] {
            database.create_table(schema).expect("a new table");
        }
    }
    for id in 0..40 {
        from.insert("towns", [Value::Int(id)]).expect("the row fits");
        from.insert("teams", [Value::Int(id), Value::Int(40 - id), Value::Int(id)]).expect("the row fits");
        from.insert("players", [Value::Int(id + 1), Value::Int(id)]).expect("the row fits");
    }
    (from, to)
}

fn pipeline(from: &MemoryDatabase, to: &MemoryDatabase, binds: &[(&str, &str, &str, Bind)]) -> Result<Pipeline> {
    let mut job = Job::new("copy", "from", "to");
    for name in ["players", "teams", "towns"] {
        let mut entity = Entity::new(name);
        for (_, column, parent, bind) in binds.iter().filter(|(child, ..)| *child == name) {
            entity = entity.with_reference(Reference::new([*column], *parent).with_bind(*bind));
        }
        job = job.with_entity(entity);
    }
    Pipeline::builder(job)
        .source(Arc::new(from.source()))
        .target(Arc::new(to.sink()))
        .recorder(Arc::new(MemoryRecorder::default()))
        .options(RunOptions::new().with_batch_rows(7))
        .build()
}

#[tokio::test]
async fn the_job_says_which_reference_of_a_cycle_waits_and_may_let_one_wait_that_need_not() {
    use Binding::{Late, WithRow};
    let cases: [(&[_], [Binding; 3]); 3] = [
        (&[("teams", "captain", "players", Bind::Order)], [WithRow, Late, WithRow]),
        (&[("players", "team", "teams", Bind::Order)], [Late, WithRow, WithRow]),
        (&[("teams", "town", "towns", Bind::Late), ("teams", "captain", "players", Bind::Late)], [Late, WithRow, Late]),
    ];
    for (binds, expected) in cases {
        for nth in 0..12 {
            let (from, to) = databases();
            if nth > 0 {
                to.faults().lose_commit_answer(nth);
            }
            let pipeline = pipeline(&from, &to, binds).expect("the job is sound");
            let plan = pipeline.plan().await.expect("it can be planned");
            let binding = |child: &str, column: &str| {
                let entity = plan.entity(child).expect("an entity");
                entity.references.iter().find(|r| r.columns == [column]).expect("a reference").binding
            };
            assert_eq!(
                [binding("teams", "captain"), binding("players", "team"), binding("teams", "town")],
                expected,
                "{binds:?}"
            );
            let report = pipeline.run(&CancelToken::new()).await.expect("the run begins");
            assert_eq!((report.status, report.error), (ExecutionState::Succeeded, None), "{binds:?}");
            for name in ["teams", "players", "towns"] {
                assert_eq!(to.rows(name).expect("rows"), from.rows(name).expect("rows"), "{binds:?} {name}");
            }
            let writes = to.faults().calls(Call::Write);
            pipeline.run(&CancelToken::new()).await.expect("the run begins");
            assert_eq!(to.faults().calls(Call::Write), writes, "P4 {binds:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_bound_so_is_refused_with_the_reason() {
    let both = [("teams", "captain", "players", Bind::Order), ("players", "team", "teams", Bind::Order)];
    let together = [("teams", "town", "towns", Bind::Together)];
    for (binds, says) in [(&both[..], "cannot all come first"), (&together[..], "closes no cycle")] {
        let (from, to) = databases();
        let error = pipeline(&from, &to, binds).expect("the job is sound").plan().await.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(says), "{error}");
    }
}
