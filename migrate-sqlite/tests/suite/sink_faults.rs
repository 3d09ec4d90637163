//! Faults with real processes: kills, locks, a full disk, two processes on one job.
//!
//! A test that needs another process starts this test binary again, for one of the functions named `child_…` alone; these do
//! nothing when the suite runs them itself.

use crate::support::Database;
use crate::support::target::{Target, owner, page, text, write};
use migrate_core::ErrorKind;
use migrate_core::sink::{Sink, WriteMode};
use migrate_core::state::{Checkpoint, Scope, StateChanges};
use migrate_core::value::{Row, Value};
use migrate_sqlite::{SqliteConfig, SqliteSink};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FILE: &str = "MIGRATE_TEST_SQLITE_FILE";

/// The file that a child is to work on; `None` when the suite runs the child's function itself.
fn given_file() -> Option<PathBuf> {
    std::env::var_os(FILE).map(PathBuf::from)
}

fn command(function: &str, file: &Path, shell: &str) -> Command {
    let binary = std::env::current_exe().expect("this binary");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell} exec \"$0\" \"$@\"")]).arg(binary).args([
        "--exact",
        &format!("sink_faults::{function}"),
        "--nocapture",
    ]);
    command.env(FILE, file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// Starts a child and waits until it says a word.
fn start(function: &str, file: &Path, word: &str) -> Child {
    let mut child = command(function, file, "").spawn().expect("the child starts");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let said = lines.map_while(Result::ok).any(|line| line.contains(word));
    assert!(said, "the child ended without saying {word}");
    child
}

fn say(word: &str) {
    // The test harness may have begun a line of its own.
    println!("\n{word}");
    std::io::stdout().flush().expect("the parent listens");
}

/// Waits until the parent goes away or kills this process.
fn wait_for_the_end() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn row(id: i64) -> Row {
    vec![Value::Int(id), text(&"x".repeat(2000))]
}

fn state(sequence: u64) -> StateChanges {
    let mut state = StateChanges::default();
    state.scope = Some(Scope { job: "job".into(), entity: "t".into(), partition: 0 });
    state.checkpoint = Some(Checkpoint { sequence, ..Checkpoint::default() });
    state
}

async fn commit_rows(target: &Target, ids: std::ops::Range<i64>, sequence: u64) -> migrate_core::Result<()> {
    let t = target.table("t").await;
    let mut transaction = target.sink.begin(&target.fence).await?;
    let rows: Vec<Row> = ids.map(row).collect();
    write(&mut *transaction, &t, &page(&t, &rows), WriteMode::Load).await?;
    transaction.commit(&state(sequence)).await
}

const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT UNIQUE ON CONFLICT ABORT, w AS (id) UNIQUE);";
const PLAIN: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);";

fn facts(database: &Database) -> (i64, String) {
    let connection = database.connect();
    let count = connection.query_row("SELECT count(*) FROM t", [], |r| r.get(0)).expect("a count");
    (count, connection.query_row("PRAGMA integrity_check", [], |r| r.get(0)).expect("a check"))
}

#[tokio::test]
async fn child_commits_twice_and_leaves_a_third_batch_open() {
    let Some(file) = given_file() else { return };
    let target = Target::open(&file).await;
    commit_rows(&target, 0..1000, 1).await.expect("the first batch");
    commit_rows(&target, 1000..2000, 2).await.expect("the second batch");
    let t = target.table("t").await;
    let mut transaction = target.begin().await;
    // More than the page cache holds, so that the file itself is already changed.
    let rows: Vec<Row> = (2000..20_000).map(row).collect();
    write(&mut *transaction, &t, &page(&t, &rows), WriteMode::Load).await.expect("the third batch");
    say("open");
    wait_for_the_end();
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_the_last_commit() {
    for journal in ["DELETE", "WAL"] {
        let database = Database::new(&format!("PRAGMA journal_mode = {journal}; {PLAIN}"));
        let mut child = start("child_commits_twice_and_leaves_a_third_batch_open", &database.path, "open");
        child.kill().expect("it lives");
        child.wait().expect("it ends");
        assert_eq!(facts(&database), (2000, "ok".to_owned()), "{journal}");
        let target = Target::open(&database.path).await;
        let checkpoints = target.sink.state().checkpoints("job", "t").await.expect("the checkpoint");
        assert_eq!(checkpoints[0].1.sequence, 2, "{journal}");
        assert_eq!(target.fence.epoch, 2, "the fence of the killed process was taken over");
        commit_rows(&target, 2000..2010, 3).await.expect("the next process goes on");
        assert_eq!(facts(&database), (2010, "ok".to_owned()), "{journal}");
    }
}

#[tokio::test]
async fn child_holds_the_write_lock() {
    let Some(file) = given_file() else { return };
    let target = Target::open(&file).await;
    let _transaction = target.begin().await;
    say("locked");
    wait_for_the_end();
}

#[tokio::test]
async fn a_lock_that_another_process_holds_is_named_with_its_pid() {
    for journal in ["DELETE", "WAL"] {
        let database = Database::new(&format!("PRAGMA journal_mode = {journal}; {PLAIN}"));
        let mut child = start("child_holds_the_write_lock", &database.path, "locked");
        let sink = SqliteSink::new(SqliteConfig::new(&database.path).with_busy_timeout(Duration::from_millis(50)));
        let error = sink.state().acquire("job", &owner()).await.expect_err("the child has the lock");
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains(&format!("process {}", child.id())), "{journal}: {error}");
        child.kill().expect("it lives");
        child.wait().expect("it ends");
        let fence = sink.state().acquire("job", &owner()).await.expect("the lock is free");
        assert_eq!(fence.epoch, 2);
    }
}

#[tokio::test]
async fn child_writes_until_the_disk_is_full() {
    let Some(file) = given_file() else { return };
    let target = Target::open(&file).await;
    commit_rows(&target, 0..100, 1).await.expect("the first batch has room");
    let error = commit_rows(&target, 100..20_000, 2).await.expect_err("there is no room");
    say(&format!("kind {:?}", error.kind()));
    commit_rows(&target, 100..110, 2).await.expect("a small batch still has room");
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_undoes_the_batch() {
    let database = Database::new(PLAIN);
    // A limit on the size of files, in blocks of 512 bytes, with its signal ignored: the write fails as on a full disk.
    let shell = "trap '' XFSZ; ulimit -f 8192;";
    let output =
        command("child_writes_until_the_disk_is_full", &database.path, shell).stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("kind NoSpace"), "{said}");
    assert_eq!(facts(&database), (110, "ok".to_owned()));
}

#[tokio::test]
async fn a_sink_that_was_taken_over_cannot_commit() {
    let database = Database::new(PLAIN);
    let old = Target::open(&database.path).await;
    commit_rows(&old, 0..10, 1).await.expect("it holds the fence");
    let new = Target::open(&database.path).await;
    let error = commit_rows(&old, 10..20, 2).await.expect_err("the fence is another's");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let error = old.sink.state().settle(&old.fence).await.expect_err("the fence is another's");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    old.sink.state().release(&old.fence).await.expect("giving back what one has not is nothing");
    assert!(new.sink.state().holder("job").await.expect("readable").is_some());
    commit_rows(&new, 10..15, 2).await.expect("the new holder writes");
    assert_eq!(facts(&database).0, 15);
}

#[tokio::test]
async fn a_takeover_within_a_transaction_is_impossible_and_a_lost_fence_is_seen_at_its_end() {
    let database = Database::new(TABLE);
    let target = Target::open(&database.path).await;
    let transaction = target.begin().await;
    let other = SqliteSink::new(SqliteConfig::new(&database.path).with_busy_timeout(Duration::from_millis(50)));
    let error = other.state().acquire("job", &owner()).await.expect_err("the transaction holds the lock");
    assert!(error.kind() == ErrorKind::Busy && error.to_string().contains("another connection of this process"), "{error}");
    transaction.commit(&StateChanges::default()).await.expect("nobody has taken over");
    other.state().acquire("job", &owner()).await.expect("the lock is free");
    let error = target.sink.begin(&target.fence).await.err().expect("the fence is another's");
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn a_reader_in_a_rollback_journal_delays_the_commit_and_does_not_undo_it() {
    let database = Database::new(&format!("{PLAIN} INSERT INTO t VALUES (1, 'a')"));
    let target = Target::open(&database.path).await;
    let reader = database.connect();
    reader.execute_batch("BEGIN; SELECT * FROM t").expect("a read transaction");
    let error = commit_rows(&target, 10..20, 1).await.expect_err("the reader never ends");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    reader.execute_batch("COMMIT").expect("the reader ends");
    commit_rows(&target, 10..20, 1).await.expect("the commit passes");
    assert_eq!(facts(&database).0, 11);
}
