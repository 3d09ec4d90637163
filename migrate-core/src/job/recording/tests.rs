use super::super::event::PlannedEntity;
use super::super::execution::Execution;
use super::super::memory::MemoryRecorder;
use super::super::owner::Owner;
use super::super::recorder::{ExecutionPage, ExecutionQuery, LogPage, LogQuery};
use super::super::time::{ManualClock, Timestamp};
use super::super::{Job, definition::Mode};
use super::*;
use crate::error::{Error, ErrorKind};
use crate::state::Counters;
use async_trait::async_trait;

/// A store that cannot be reached while it is told so.
#[derive(Debug, Default)]
struct Shaky {
    inner: MemoryRecorder,
    away: AtomicBool,
}

#[async_trait]
impl Recorder for Shaky {
    async fn create_execution(&self, execution: &Execution) -> Result<()> {
        self.inner.create_execution(execution).await
    }

    async fn start_attempt(&self, id: &str, owner: &Owner, at: Timestamp) -> Result<u32> {
        self.inner.start_attempt(id, owner, at).await
    }

    async fn record(&self, id: &str, attempt: u32, update: &Update) -> Result<Standing> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Connection, "the store is away"));
        }
        self.inner.record(id, attempt, update).await
    }

    async fn finish_execution(&self, id: &str, attempt: u32, end: &Finish) -> Result<Standing> {
        self.inner.finish_execution(id, attempt, end).await
    }

    async fn unfinished(&self, job: &str, source: &str, target: &str) -> Result<Option<Execution>> {
        self.inner.unfinished(job, source, target).await
    }

    async fn execution(&self, id: &str) -> Result<Option<Execution>> {
        self.inner.execution(id).await
    }

    async fn executions(&self, query: &ExecutionQuery) -> Result<ExecutionPage> {
        self.inner.executions(query).await
    }

    async fn logs(&self, id: &str, query: &LogQuery) -> Result<LogPage> {
        self.inner.logs(id, query).await
    }
}

struct Bench {
    store: Arc<Shaky>,
    clock: Arc<ManualClock>,
    id: String,
    recording: Recording,
}

impl Bench {
    async fn new() -> Self {
        let (store, clock) = (Arc::new(Shaky::default()), Arc::new(ManualClock::default()));
        let job = Job::new("copy", "a", "b").with_mode(Mode::Append);
        let execution = Execution::new(&job, clock.now()).expect("a job serializes");
        store.create_execution(&execution).await.expect("the id is new");
        let attempt = store.start_attempt(&execution.id, &Owner::this_process(), clock.now()).await.expect("it is queued");
        let recording = Recording::start(store.clone(), clock.clone(), &execution.id, attempt);
        Bench { store, clock, id: execution.id, recording }
    }

    fn tell(&self, event: Event) {
        self.recording.observer().on_event(&event);
    }

    async fn recorded(&self) -> Execution {
        self.store.execution(&self.id).await.expect("memory answers").expect("it is recorded")
    }

    async fn messages(&self) -> Vec<String> {
        let page = self.store.logs(&self.id, &LogQuery::default()).await.expect("memory answers");
        page.lines.into_iter().map(|line| line.message).collect()
    }
}

fn plan() -> Event {
    let entity = PlannedEntity { name: "t".into(), source: "S".into(), target: "T".into(), stage: None, rows: Some(10) };
    Event::PlanReady { entities: vec![entity], notes: vec!["a note".into()] }
}

fn committed(inserted: u64) -> Event {
    Event::PageCommitted { entity: "t".into(), partition: 0, counters: Counters { inserted, ..Counters::default() } }
}

#[tokio::test]
async fn what_a_run_tells_is_in_the_record_after_a_flush() {
    let bench = Bench::new().await;
    bench.tell(plan());
    bench.tell(Event::EntityStarted { entity: "t".into(), rows: None, before: 0 });
    bench.clock.advance(Duration::from_secs(2));
    bench.tell(committed(5));
    bench.recording.flush().await.expect("the store is there");
    let recorded = bench.recorded().await;
    assert_eq!((recorded.progress_percent, recorded.total_rows, recorded.totals.inserted), (50, Some(10), 5));
    assert_eq!((recorded.notes.as_slice(), recorded.heartbeat_at), (&["a note".to_owned()][..], Some(bench.clock.now())));
    assert_eq!((recorded.entities[0].target.as_str(), recorded.entities[0].state), ("T", ExecutionState::Running));
    assert!((recorded.entities[0].seconds - 2.0).abs() < 0.001);
    assert_eq!(bench.messages().await, ["the plan is ready", "a note", "started"]);
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_misses_nothing() {
    let bench = Bench::new().await;
    bench.store.away.store(true, Ordering::SeqCst);
    bench.tell(plan());
    bench.recording.flush().await.expect_err("the store is away");
    bench.tell(Event::Log(LogLine::new(bench.clock.now(), Level::Warn, "meanwhile")));
    bench.tell(committed(5));
    bench.recording.flush().await.expect_err("the store is away");
    bench.store.away.store(false, Ordering::SeqCst);
    bench.recording.flush().await.expect("the store is back");
    assert_eq!(bench.messages().await, ["the plan is ready", "a note", "meanwhile"]);
    assert_eq!(bench.recorded().await.totals.inserted, 5);
}

#[tokio::test]
async fn finishing_writes_what_is_left_and_ends_the_attempt() {
    let bench = Bench::new().await;
    bench.tell(plan());
    bench.tell(committed(10));
    let (store, id) = (bench.store.clone(), bench.id.clone());
    let standing = bench.recording.finish(ExecutionState::Failed, Some("no room".into())).await;
    assert_eq!(standing.expect("the store is there"), Standing::Current);
    let recorded = store.execution(&id).await.expect("memory answers").expect("it is recorded");
    assert_eq!((recorded.state, recorded.error.as_deref()), (ExecutionState::Failed, Some("no room")));
    assert_eq!(recorded.totals.inserted, 10);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_store_misses_at_first_is_written_when_it_is_back() {
    let bench = Bench::new().await;
    bench.tell(committed(10));
    bench.store.away.store(true, Ordering::SeqCst);
    let (store, id) = (bench.store.clone(), bench.id.clone());
    let back = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.away.store(false, Ordering::SeqCst);
    };
    let (standing, ()) = tokio::join!(bench.recording.finish(ExecutionState::Succeeded, None), back);
    assert_eq!(standing.expect("the store is back"), Standing::Current);
    let recorded = store.execution(&id).await.expect("memory answers").expect("it is recorded");
    assert_eq!((recorded.state, recorded.totals.inserted), (ExecutionState::Succeeded, 10));
}

#[tokio::test]
async fn a_replaced_attempt_learns_so_and_changes_nothing() {
    let bench = Bench::new().await;
    let other = Owner { host: "elsewhere".into(), process: 1, started: String::new() };
    bench.store.start_attempt(&bench.id, &other, bench.clock.now()).await.expect("it is taken over");
    assert!(!bench.recording.is_replaced());
    bench.tell(plan());
    bench.tell(committed(5));
    bench.recording.flush().await.expect("the store is there");
    assert!(bench.recording.is_replaced());
    assert_eq!((bench.recorded().await.totals.inserted, bench.recorded().await.owner), (0, Some(other)));
}
