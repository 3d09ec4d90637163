use super::*;
use migrate_core::job::{Job, suite};
use std::path::Path;
use std::sync::Arc;

async fn open(path: &Path) -> Result<SqliteStore> {
    SqliteStore::open(SqliteConfig::new(path)).await
}

#[tokio::test]
async fn the_sqlite_store_keeps_the_contract() {
    for (name, case) in suite::CASES {
        println!("{name}");
        let folder = tempfile::tempdir().expect("a folder");
        case(Arc::new(open(&folder.path().join("store.db")).await.expect("the store opens"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_create_and_use_one_new_store_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let use_it = |n: i64| {
        let path = path.clone();
        tokio::spawn(async move {
            let store = open(&path).await?;
            let execution = Execution::new(&Job::new(format!("job {n}"), "a", "b"), Timestamp::from_millis(n))?;
            store.create_execution(&execution).await?;
            store.start_attempt(&execution.id, &Owner::this_process(), Timestamp::from_millis(n)).await
        })
    };
    let handles: Vec<_> = (0..8).map(use_it).collect();
    for handle in handles {
        assert_eq!(handle.await.expect("no task panics").expect("each has its turn"), 1);
    }
    let store = open(&path).await.expect("the store opens");
    assert_eq!(store.executions(&ExecutionQuery::default()).await.expect("it answers").executions.len(), 8);
}

#[tokio::test]
async fn a_store_of_the_first_version_gains_what_it_lacks() {
    for (name, case) in suite::CASES.iter().filter(|(name, _)| name.starts_with("entities_")) {
        println!("{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        let first = Connection::open(&path).expect("the file opens");
        let version = "CREATE TABLE migration_schema (version INTEGER PRIMARY KEY); INSERT INTO migration_schema VALUES (1)";
        first.execute_batch(&format!("{}; {version}", include_str!("schema-1.sql"))).expect("it is writable");
        case(Arc::new(open(&path).await.expect("the store opens"))).await;
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    drop(open(&path).await.expect("the store opens"));
    let connection = Connection::open(&path).expect("the file opens");
    connection.execute("INSERT INTO migration_schema VALUES (99)", []).expect("it is writable");
    let before = std::fs::read(&path).expect("the file is there");
    let error = open(&path).await.expect_err("it is newer");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("version 99") && error.to_string().contains("store.db"), "{error}");
    assert!(before == std::fs::read(&path).expect("the file is there"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    std::fs::write(&path, "not a database, but long enough to be looked at as one ".repeat(40)).expect("it is writable");
    let error = open(&path).await.expect_err("it is no database");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error:?}");
    assert!(error.to_string().contains("store.db"), "{error}");
}
