//! How a view of a file is held, while others read and write it (P3, P7).

use crate::source::{NUMBERS, both_errors, open};
use crate::support::{Database, ints, key, names, read, rows, table};
use migrate_core::ErrorKind;
use migrate_core::source::{PageRequest, SnapshotExt, Source};
use migrate_core::value::{KeyRange, Value};
use migrate_sqlite::{Access, SnapshotPolicy, SqliteConfig, SqliteSource};
use std::time::{Duration, Instant};

/// Opens a view, lets a writer change everything, and compares.
async fn view_stays_as_it_was(database: &Database, source: &SqliteSource, write: impl FnOnce()) {
    let (table, id) = (table(source, "t").await, key(&["id"]));
    let columns = names(&table);
    let mut snapshot = open(source).await;
    let request = PageRequest::new(&table, &columns, &id).with_limits(1 << 20, 10);
    let first = snapshot.read_page(&request).await.expect("a page");
    let position = snapshot.position().clone();
    write();
    let range = KeyRange { after: first.next.clone(), up_to: None };
    let rest = snapshot.read_all(&request.clone().with_range(range)).await.expect("the rest");
    let all: Vec<_> = rows(&first).into_iter().chain(rest.iter().flat_map(rows)).collect();
    assert_eq!(ints(&all, 0), (-50..950).collect::<Vec<_>>());
    assert_eq!(snapshot.count_rows(&table, None).await.expect("a count"), 1000);
    drop(snapshot);
    let mut fresh = open(source).await;
    assert_eq!(fresh.count_rows(&table, None).await.expect("a count"), 1);
    assert_ne!(*fresh.position(), position);
    drop(fresh);
    database.connect().execute_batch("DELETE FROM t").expect("a dropped view frees its lock at once");
}

const REWRITE: &str = "BEGIN IMMEDIATE; DELETE FROM t; INSERT INTO t VALUES (1, 'new'); COMMIT";

#[tokio::test]
async fn p3_in_wal_mode_writers_go_on_and_the_view_stays() {
    let database = Database::new(NUMBERS);
    database.connect().query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).expect("WAL");
    let source = database.source();
    view_stays_as_it_was(&database, &source, || database.connect().execute_batch(REWRITE).expect("writers go on")).await;
}

#[tokio::test]
async fn p3_a_waiting_writer_gets_its_turn_and_the_view_stays() {
    let database = Database::new(NUMBERS);
    let source = SqliteSource::new(database.config().with_hold_limit(Duration::from_secs(3600)));
    view_stays_as_it_was(&database, &source, || {
        let writer = database.connect();
        writer.busy_timeout(Duration::from_secs(60)).expect("a patient writer");
        let start = Instant::now();
        writer.execute_batch(REWRITE).expect("the view moves to a copy");
        assert!(start.elapsed() < Duration::from_secs(30), "long before the hold limit");
    })
    .await;
}

#[tokio::test]
async fn p3_after_the_hold_limit_even_an_impatient_writer_gets_its_turn() {
    let database = Database::new(NUMBERS);
    let source = SqliteSource::new(database.config().with_hold_limit(Duration::ZERO));
    view_stays_as_it_was(&database, &source, || {
        let start = Instant::now();
        while database.connect().execute_batch(REWRITE).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "the lock is let go");
        }
    })
    .await;
}

#[tokio::test]
async fn p3_a_copy_locks_nobody_out() {
    let database = Database::new(NUMBERS);
    let source = SqliteSource::new(database.config().with_snapshot(SnapshotPolicy::Copy));
    view_stays_as_it_was(&database, &source, || database.connect().execute_batch(REWRITE).expect("no lock is held")).await;
}

#[tokio::test]
async fn p3_a_held_view_locks_writers_out_to_the_end() {
    let database = Database::new(NUMBERS);
    let source = SqliteSource::new(database.config().with_snapshot(SnapshotPolicy::Hold).with_hold_limit(Duration::ZERO));
    let mut snapshot = open(&source).await;
    let table = table(&source, "t").await;
    assert_eq!(snapshot.count_rows(&table, None).await.expect("a count"), 1000);
    assert!(database.connect().execute_batch(REWRITE).is_err(), "the lock is held");
    drop(snapshot);
    database.connect().execute_batch(REWRITE).expect("the lock is gone");
}

#[tokio::test]
async fn a_locked_file_is_busy() {
    let database = Database::new(NUMBERS);
    let writer = database.connect();
    writer.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let source = SqliteSource::new(database.config().with_busy_timeout(Duration::from_millis(1)));
    assert_eq!(source.open_snapshot().await.err().expect("locked").kind(), ErrorKind::Busy);
    assert_eq!(source.schema().await.expect_err("locked").kind(), ErrorKind::Busy);
    writer.execute_batch("COMMIT").expect("the lock is gone");
    source.open_snapshot().await.expect("a view");
}

#[tokio::test]
async fn p7_a_source_refuses_to_write() {
    let database = Database::new(NUMBERS);
    let before = std::fs::read(&database.path).expect("the file");
    let source = database.source();
    let table = table(&source, "t").await;
    let mut tables = [table.clone()];
    source.refine(&mut tables).await.expect("refined");
    read(open(&source).await.as_mut(), &table, &key(&["id"])).await;
    assert_eq!(std::fs::read(&database.path).expect("the file"), before);
    let beside: Vec<_> = std::fs::read_dir(database.folder.path()).expect("the folder").collect();
    assert_eq!(beside.len(), 1, "nothing is left beside the file");
}

#[tokio::test]
async fn a_transaction_that_was_cut_off_is_rolled_back_unless_that_is_forbidden() {
    let database = Database::new(NUMBERS);
    // A copy of the file and its journal in the midst of a transaction is what a killed process leaves behind.
    let copy = database.folder.path().join("killed.sqlite");
    let writer = database.connect();
    let script = "PRAGMA cache_size = 2; PRAGMA cache_spill = 1; BEGIN IMMEDIATE; UPDATE t SET v = hex(randomblob(500));";
    writer.execute_batch(script).expect("a transaction that spills");
    std::fs::copy(&database.path, &copy).expect("the file");
    let journal = |path: &std::path::Path| std::path::PathBuf::from(format!("{}-journal", path.display()));
    std::fs::copy(journal(&database.path), journal(&copy)).expect("its journal");
    drop(writer);

    let config = SqliteConfig::new(&copy);
    for error in both_errors(config.clone().with_access(Access::Read)).await {
        assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
        assert!(error.to_string().contains("cut off"), "{error}");
    }
    let source = SqliteSource::new(config);
    let table = table(&source, "t").await;
    let all = read(open(&source).await.as_mut(), &table, &key(&["id"])).await;
    assert_eq!(all[0][1], Value::Text("row -50".into()));
}

#[tokio::test]
async fn an_immutable_file_that_changes_all_the_same_ends_the_view() {
    let database = Database::new(NUMBERS);
    let source = SqliteSource::new(database.config().with_immutable(true));
    let table = table(&source, "t").await;
    let mut snapshot = open(&source).await;
    assert_eq!(snapshot.count_rows(&table, None).await.expect("a count"), 1000);
    database.connect().execute_batch("INSERT INTO t SELECT id + 10000, hex(zeroblob(5000)) FROM t").expect("no lock is held");
    let error = snapshot.count_rows(&table, None).await.expect_err("changed");
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error:?}");
}

#[tokio::test]
async fn there_is_one_reader_of_a_view() {
    let database = Database::new(NUMBERS);
    let source = database.source();
    assert_eq!(source.capabilities().readers, 1);
    assert_eq!(open(&source).await.fork().await.err().expect("one reader").kind(), ErrorKind::Unsupported);
    let identity = source.identity().await.expect("an identity");
    assert_eq!(identity, format!("sqlite:{}", database.path.canonicalize().expect("a path").display()));
}

#[tokio::test]
async fn the_temporary_copy_is_gone_with_its_view() {
    let database = Database::new(NUMBERS);
    let source = SqliteSource::new(database.config().with_snapshot(SnapshotPolicy::Copy));
    let snapshot = open(&source).await;
    let mine = format!("migrate-snapshot-{}-", std::process::id());
    let left = || {
        let listed = std::fs::read_dir(std::env::temp_dir()).expect("the folder for temporary files");
        listed.filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with(&mine))).count()
    };
    drop(snapshot);
    // Other tests of this process may be copying at this moment, each for a moment only.
    let start = Instant::now();
    while left() > 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "a copy was left behind");
        tokio::task::yield_now().await;
    }
}
