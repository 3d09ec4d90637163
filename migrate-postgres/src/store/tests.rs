use super::*;
use migrate_core::job::{Job, suite};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Makes a database of its own on the server that the tests are given.
async fn database() -> PostgresConfig {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("MIGRATE_TEST_POSTGRES").expect("MIGRATE_TEST_POSTGRES is the url of a PostgreSQL superuser");
    let name = format!("store_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::SeqCst));
    let config = PostgresConfig::from_url(&url).expect("the url is well formed");
    let mut admin = connect(&config, SessionRole::Writer).await.expect("the server answers");
    execute(&mut admin, format!("CREATE DATABASE {name}")).await.expect("the role is a superuser");
    let mut url = url::Url::parse(&url).expect("the url is well formed");
    url.set_path(&name);
    PostgresConfig::from_url(url.as_str()).expect("the url is well formed")
}

#[tokio::test]
async fn the_postgres_store_keeps_the_contract() {
    for (name, case) in suite::CASES {
        println!("{name}");
        case(Arc::new(PostgresStore::open(database().await).await.expect("the store opens"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_create_and_use_one_new_store_at_once() {
    let config = database().await;
    let use_it = |n: i64| {
        let config = config.clone();
        tokio::spawn(async move {
            let store = PostgresStore::open(config).await?;
            let execution = Execution::new(&Job::new("the same job", "a", "b"), Timestamp::from_millis(n))?;
            store.create_execution(&execution).await?;
            store.start_attempt(&execution.id, &Owner::this_process(), Timestamp::from_millis(n)).await
        })
    };
    let handles: Vec<_> = (0..8).map(use_it).collect();
    for handle in handles {
        assert_eq!(handle.await.expect("no task panics").expect("each has its turn"), 1);
    }
    let store = PostgresStore::open(config).await.expect("the store opens");
    assert_eq!(store.executions(&ExecutionQuery::default()).await.expect("it answers").executions.len(), 8);
}

#[tokio::test]
async fn a_store_of_the_first_version_gains_what_it_lacks() {
    for (name, case) in suite::CASES.iter().filter(|(name, _)| name.starts_with("entities_")) {
        println!("{name}");
        let config = database().await;
        let mut first = connect(&config, SessionRole::Writer).await.expect("the server answers");
        let version = "CREATE SCHEMA migrate_store; CREATE TABLE migrate_store.migration_schema (version bigint PRIMARY KEY); \
                       INSERT INTO migrate_store.migration_schema VALUES (1)";
        execute(&mut first, format!("{version}; {}", include_str!("schema-1.sql"))).await.expect("the role is a superuser");
        case(Arc::new(PostgresStore::open(config).await.expect("the store opens"))).await;
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let config = database().await;
    PostgresStore::open(config.clone()).await.expect("the store opens");
    let mut connection = connect(&config, SessionRole::Writer).await.expect("the server answers");
    execute(&mut connection, "INSERT INTO migrate_store.migration_schema VALUES (99)").await.expect("it is writable");
    let error = PostgresStore::open(config).await.expect_err("it is newer");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn a_lost_connection_is_opened_again() {
    let config = database().await;
    let store = PostgresStore::open(config.clone()).await.expect("the store opens");
    let mut admin = connect(&config, SessionRole::Writer).await.expect("the server answers");
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    execute(&mut admin, others).await.expect("the role is a superuser");
    assert_eq!(store.execution("nope").await.expect("a new connection is opened"), None);
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_is_missing() {
    let config = database().await;
    let mut admin = connect(&config, SessionRole::Writer).await.expect("the server answers");
    let role = format!("plain_{}", config.database());
    execute(&mut admin, format!("CREATE ROLE {role} LOGIN")).await.expect("the role is a superuser");
    let url = std::env::var("MIGRATE_TEST_POSTGRES").expect("it was there before");
    let mut url = url::Url::parse(&url).expect("the url is well formed");
    url.set_path(config.database());
    url.set_username(&role).expect("the url has a host");
    let error = PostgresStore::open(PostgresConfig::from_url(url.as_str()).expect("well formed")).await.expect_err("no rights");
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    assert!(error.to_string().contains("CREATE SCHEMA migrate_store"), "{error}");
}
