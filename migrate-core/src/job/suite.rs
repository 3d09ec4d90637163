//! The contract of [`Recorder`], as cases that every store passes.

use super::{
    EntityResult, Execution, ExecutionQuery, ExecutionState, Finish, Job, Level, LogLine, LogQuery, Owner, Recorder, Standing,
    Timestamp, Update,
};
use crate::error::ErrorKind;
use crate::state::Counters;
use std::pin::Pin;
use std::sync::Arc;

/// A case: its name, and what it does to an empty store. It panics where the store breaks the contract.
pub type Case = (&'static str, fn(Arc<dyn Recorder>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// Every case; each wants an empty store of its own.
        pub const CASES: &[Case] = &[$((stringify!($name), |store| Box::pin($name(store)))),*];
    };
}

cases!(
    an_execution_reads_back_to_the_letter,
    an_id_is_taken_once,
    an_unknown_execution_is_not_found,
    attempts_follow_the_table_of_states,
    a_replaced_attempt_changes_nothing_but_its_own_end,
    entities_replace_each_other_by_name_and_totals_follow,
    counts_up_to_the_largest_integer_survive,
    logs_come_back_in_order_and_in_pages,
    lists_are_newest_first_filtered_and_paged,
    the_newest_unfinished_execution_is_found,
    attempts_begun_at_the_same_time_get_different_numbers,
);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

fn job(name: &str) -> Job {
    Job::new(name, "legacy", "warehouse")
}

fn execution(name: &str, seconds: i64) -> Execution {
    Execution::new(&job(name), at(seconds)).expect("a job serializes")
}

fn owner(process: u32) -> Owner {
    Owner { host: "host \"1\"".to_owned(), process, started: "boot+1".to_owned() }
}

fn end(state: ExecutionState, seconds: i64, error: Option<&str>) -> Finish {
    Finish { state, at: at(seconds), error: error.map(str::to_owned) }
}

async fn create(store: &Arc<dyn Recorder>, name: &str, seconds: i64) -> Execution {
    let execution = execution(name, seconds);
    store.create_execution(&execution).await.expect("the id is new");
    execution
}

async fn read(store: &Arc<dyn Recorder>, id: &str) -> Execution {
    store.execution(id).await.expect("the store answers").expect("it is recorded")
}

async fn an_execution_reads_back_to_the_letter(store: Arc<dyn Recorder>) {
    let mut written = execution("copy'; \"x\" ü 🦀", 0);
    written.source_url = Some("sqlite:a b.db".to_owned());
    written.target_url = Some("postgres://u:***@h/d".to_owned());
    written.executed_by = Some("o'brien".to_owned());
    written.command = Some("migrate run \"x\"".to_owned());
    written.notes = vec!["a note".to_owned(), String::new()];
    written.total_rows = Some(7);
    store.create_execution(&written).await.expect("the id is new");
    assert_eq!(read(&store, &written.id).await, written);
}

async fn an_id_is_taken_once(store: Arc<dyn Recorder>) {
    let first = create(&store, "copy", 0).await;
    let mut second = execution("other", 1);
    second.id.clone_from(&first.id);
    let error = store.create_execution(&second).await.expect_err("the id is taken");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert_eq!(read(&store, &first.id).await, first);
}

async fn an_unknown_execution_is_not_found(store: Arc<dyn Recorder>) {
    assert_eq!(store.execution("nope").await.expect("the store answers"), None);
    let kind = |error: crate::Error| error.kind();
    assert_eq!(store.start_attempt("nope", &owner(1), at(0)).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(store.record("nope", 1, &Update::default()).await.map_err(kind), Err(ErrorKind::NotFound));
    let finish = end(ExecutionState::Failed, 0, None);
    assert_eq!(store.finish_execution("nope", 1, &finish).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(store.logs("nope", &LogQuery::default()).await.map_err(kind), Err(ErrorKind::NotFound));
    let query = ExecutionQuery { after: Some("nope".to_owned()), ..ExecutionQuery::default() };
    assert_eq!(store.executions(&query).await.map_err(kind), Err(ErrorKind::NotFound));
}

async fn attempts_follow_the_table_of_states(store: Arc<dyn Recorder>) {
    let id = create(&store, "copy", 0).await.id;
    let early = store.finish_execution(&id, 0, &end(ExecutionState::Succeeded, 1, None)).await;
    assert_eq!(early.expect_err("it never ran").kind(), ErrorKind::Refused);
    assert_eq!(store.start_attempt(&id, &owner(1), at(1)).await.expect("it is queued"), 1);
    let running = read(&store, &id).await;
    assert_eq!((running.state, running.attempt, running.started_at), (ExecutionState::Running, 1, Some(at(1))));
    assert_eq!((running.heartbeat_at, running.owner.as_ref()), (Some(at(1)), Some(&owner(1))));
    let standing = store.finish_execution(&id, 1, &end(ExecutionState::Failed, 2, Some("no room"))).await;
    assert_eq!(standing.expect("it runs"), Standing::Current);
    let failed = read(&store, &id).await;
    assert_eq!(
        (failed.state, failed.finished_at, failed.error.as_deref()),
        (ExecutionState::Failed, Some(at(2)), Some("no room"))
    );
    assert_eq!(store.start_attempt(&id, &owner(2), at(3)).await.expect("a failed one runs again"), 2);
    let again = read(&store, &id).await;
    assert_eq!((again.started_at, again.finished_at, again.error), (Some(at(1)), None, None));
    store.finish_execution(&id, 2, &end(ExecutionState::Succeeded, 4, None)).await.expect("it runs");
    let done = read(&store, &id).await;
    assert_eq!((done.state, done.progress_percent), (ExecutionState::Succeeded, 100));
    let attempts: Vec<_> = done.attempts.iter().map(|a| (a.number, a.state, a.finished_at, a.error.as_deref())).collect();
    let first = (1, ExecutionState::Failed, Some(at(2)), Some("no room"));
    assert_eq!(attempts, [first, (2, ExecutionState::Succeeded, Some(at(4)), None)]);
    let error = store.start_attempt(&id, &owner(3), at(5)).await.expect_err("it is done");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert_eq!(read(&store, &id).await, done);
}

async fn a_replaced_attempt_changes_nothing_but_its_own_end(store: Arc<dyn Recorder>) {
    let id = create(&store, "copy", 0).await.id;
    store.start_attempt(&id, &owner(1), at(1)).await.expect("it is queued");
    store.start_attempt(&id, &owner(2), at(2)).await.expect("a running one is taken over");
    let between = read(&store, &id).await;
    assert!(between.attempts[0].error.as_deref().is_some_and(|e| e.contains("process 1")), "{between:?}");
    let entity = EntityResult { name: "t".to_owned(), ..EntityResult::default() };
    let update = Update { at: at(3), entities: vec![entity], progress_percent: Some(50), ..Update::default() };
    assert_eq!(store.record(&id, 1, &update).await.expect("it is heard"), Standing::Replaced);
    assert_eq!(read(&store, &id).await, between);
    let finish = end(ExecutionState::Failed, 4, Some("fenced out"));
    assert_eq!(store.finish_execution(&id, 1, &finish).await.expect("it is heard"), Standing::Replaced);
    let after = read(&store, &id).await;
    assert_eq!((after.state, after.finished_at), (ExecutionState::Running, None));
    assert_eq!(after.attempts[0].error.as_deref(), Some("fenced out"));
    store.finish_execution(&id, 2, &end(ExecutionState::Succeeded, 5, None)).await.expect("it runs");
    assert_eq!(store.record(&id, 2, &Update::default()).await.expect("it is heard"), Standing::Replaced);
    assert_eq!(read(&store, &id).await.heartbeat_at, Some(at(5)));
}

async fn entities_replace_each_other_by_name_and_totals_follow(store: Arc<dyn Recorder>) {
    let id = create(&store, "copy", 0).await.id;
    store.start_attempt(&id, &owner(1), at(1)).await.expect("it is queued");
    let entity = |name: &str, inserted, seconds| EntityResult {
        name: name.to_owned(),
        source: "S.\"t\"".to_owned(),
        target: "t".to_owned(),
        stage: (name == "a").then(|| "base".to_owned()),
        state: ExecutionState::Running,
        total_rows: Some(10),
        counters: Counters { read: 10, inserted, orphans: 1, bytes: 99, ..Counters::default() },
        seconds,
        error: None,
    };
    let update = |entities: Vec<EntityResult>| Update { at: at(2), entities, progress_percent: Some(42), ..Update::default() };
    let both = update(vec![entity("z", 1, 0.5), entity("a", 2, 0.25)]);
    store.record(&id, 1, &both).await.expect("it runs");
    let mut last = entity("z", 5, 1.125);
    last.error = Some("no room".to_owned());
    store.record(&id, 1, &update(vec![last.clone()])).await.expect("it runs");
    let recorded = read(&store, &id).await;
    assert_eq!(recorded.entities, [last, entity("a", 2, 0.25)]);
    assert_eq!((recorded.totals.inserted, recorded.totals.read, recorded.totals.orphans), (7, 20, 2));
    assert_eq!((recorded.progress_percent, recorded.heartbeat_at), (42, Some(at(2))));
    let listed = store.executions(&ExecutionQuery::default()).await.expect("the store answers");
    assert_eq!(listed.executions[0].totals, recorded.totals);
    assert!(listed.executions[0].entities.is_empty() && listed.executions[0].attempts.is_empty());
    let notes = Update { at: at(3), notes: Some(vec!["n".to_owned()]), total_rows: Some(20), ..Update::default() };
    store.record(&id, 1, &notes).await.expect("it runs");
    let recorded = read(&store, &id).await;
    assert_eq!((recorded.notes, recorded.total_rows, recorded.progress_percent), (vec!["n".to_owned()], Some(20), 42));
}

async fn counts_up_to_the_largest_integer_survive(store: Arc<dyn Recorder>) {
    let id = create(&store, "copy", 0).await.id;
    store.start_attempt(&id, &owner(1), at(1)).await.expect("it is queued");
    let most = i64::MAX as u64;
    let counters = Counters { read: most, bytes: most, ..Counters::default() };
    let entity = EntityResult { name: "t".to_owned(), counters, ..EntityResult::default() };
    store.record(&id, 1, &Update { entities: vec![entity.clone()], ..Update::default() }).await.expect("it runs");
    assert_eq!(read(&store, &id).await.entities, [entity]);
}

async fn logs_come_back_in_order_and_in_pages(store: Arc<dyn Recorder>) {
    let id = create(&store, "copy", 0).await.id;
    let other = create(&store, "copy", 1).await.id;
    store.start_attempt(&id, &owner(1), at(1)).await.expect("it is queued");
    store.start_attempt(&other, &owner(1), at(1)).await.expect("it is queued");
    let line = |n: i64| {
        let line = LogLine::new(at(n), Level::Warn, format!("line {n} 'ü'")).with_field("n", n).with_field("t", "x\"y");
        if n % 2 == 0 { line.with_entity("Order Details") } else { line }
    };
    for chunk in [0..3, 3..5] {
        let logs = chunk.map(line).collect();
        store.record(&id, 1, &Update { logs, ..Update::default() }).await.expect("it runs");
        let logs = vec![line(99)];
        store.record(&other, 1, &Update { logs, ..Update::default() }).await.expect("it runs");
    }
    // Whoever was replaced may still say what happened.
    store.start_attempt(&id, &owner(2), at(2)).await.expect("it is taken over");
    store.record(&id, 1, &Update { logs: vec![line(5)], ..Update::default() }).await.expect("it is heard");
    let (mut lines, mut after) = (Vec::new(), None);
    loop {
        let page = store.logs(&id, &LogQuery::following(after).with_limit(2)).await.expect("the store answers");
        assert!(page.lines.len() <= 2);
        lines.extend(page.lines);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(lines, (0..6).map(line).collect::<Vec<_>>());
}

async fn lists_are_newest_first_filtered_and_paged(store: Arc<dyn Recorder>) {
    let mut ids = Vec::new();
    for n in 0..7 {
        // Two and two share an instant: the cursor must not lose one of them.
        ids.push(create(&store, if n % 2 == 0 { "even" } else { "odd" }, n / 2).await);
    }
    ids.sort_by_key(|e| std::cmp::Reverse((e.created_at, e.id.clone())));
    let ids: Vec<String> = ids.into_iter().map(|e| e.id).collect();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let query = ExecutionQuery { after: after.take(), limit: 2, ..ExecutionQuery::default() };
        let page = store.executions(&query).await.expect("the store answers");
        assert!(page.executions.len() <= 2);
        found.extend(page.executions.into_iter().map(|e| e.id));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ids);
    store.start_attempt(&ids[0], &owner(1), at(10)).await.expect("it is queued");
    let count = |query: ExecutionQuery| {
        let store = store.clone();
        async move { store.executions(&query).await.expect("the store answers").executions.len() }
    };
    let all = ExecutionQuery::default;
    assert_eq!(count(ExecutionQuery { job: Some("odd".to_owned()), ..all() }).await, 3);
    assert_eq!(count(ExecutionQuery { job: Some("none".to_owned()), ..all() }).await, 0);
    assert_eq!(count(ExecutionQuery { states: vec![ExecutionState::Running], ..all() }).await, 1);
    assert_eq!(count(ExecutionQuery { states: vec![ExecutionState::Running, ExecutionState::Queued], ..all() }).await, 7);
    assert_eq!(count(ExecutionQuery { environment: Some("warehouse".to_owned()), ..all() }).await, 7);
    assert_eq!(count(ExecutionQuery { environment: Some("elsewhere".to_owned()), ..all() }).await, 0);
    assert_eq!(count(ExecutionQuery { since: Some(at(1)), until: Some(at(3)), ..all() }).await, 4);
}

async fn the_newest_unfinished_execution_is_found(store: Arc<dyn Recorder>) {
    let unfinished = |job: &'static str, source: &'static str| {
        let store = store.clone();
        async move { store.unfinished(job, source, "warehouse").await.expect("the store answers").map(|e| e.id) }
    };
    assert_eq!(unfinished("copy", "legacy").await, None);
    let first = create(&store, "copy", 0).await.id;
    assert_eq!(unfinished("copy", "legacy").await, Some(first.clone()));
    assert_eq!(unfinished("copy", "elsewhere").await, None);
    store.start_attempt(&first, &owner(1), at(1)).await.expect("it is queued");
    assert_eq!(unfinished("copy", "legacy").await, Some(first.clone()));
    store.finish_execution(&first, 1, &end(ExecutionState::Cancelled, 2, None)).await.expect("it runs");
    assert_eq!(unfinished("copy", "legacy").await, Some(first.clone()));
    let second = create(&store, "copy", 3).await.id;
    store.start_attempt(&second, &owner(1), at(3)).await.expect("it is queued");
    store.finish_execution(&second, 1, &end(ExecutionState::Succeeded, 4, None)).await.expect("it runs");
    // What came after has made the first one past.
    assert_eq!(unfinished("copy", "legacy").await, None);
    create(&store, "other", 5).await;
    assert_eq!(unfinished("copy", "legacy").await, None);
}

async fn attempts_begun_at_the_same_time_get_different_numbers(store: Arc<dyn Recorder>) {
    let id = create(&store, "copy", 0).await.id;
    let begin = |process| {
        let (store, id) = (store.clone(), id.clone());
        tokio::spawn(async move { store.start_attempt(&id, &owner(process), at(1)).await.expect("each takes over") })
    };
    let handles: Vec<_> = (1..=8).map(begin).collect();
    let mut numbers = Vec::new();
    for handle in handles {
        numbers.push(handle.await.expect("no task panics"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    let recorded = read(&store, &id).await;
    assert_eq!((recorded.attempt, recorded.attempts.len()), (8, 8));
    assert_eq!(recorded.attempts.iter().filter(|a| a.finished_at.is_none()).count(), 1);
}
