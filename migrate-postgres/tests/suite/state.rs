//! The state in the target: who may write, what survives a lost connection, and what a plain role needs.

use crate::sink_support::{Database, fence, owner, page, read, sink, text, write, write_all};
use migrate_core::ErrorKind;
use migrate_core::sink::{Sink, WriteMode};
use migrate_core::state::{Checkpoint, Scope, StateChanges, StoredBlock};
use migrate_core::value::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn rows(numbers: std::ops::Range<i64>) -> Vec<Vec<Value<'static>>> {
    numbers.map(|n| vec![Value::Int(n), text("x")]).collect()
}

fn checkpoint(sequence: u64) -> StateChanges {
    let mut changes = StateChanges::default();
    changes.scope = Some(Scope { job: "job".to_owned(), entity: "t".to_owned(), partition: 0 });
    changes.checkpoint = Some(Checkpoint { sequence, ..Checkpoint::default() });
    changes
}

async fn sequence(sink: &Arc<dyn Sink>) -> Option<u64> {
    sink.state().checkpoints("job", "t").await.unwrap().first().map(|(_, c)| c.sequence)
}

#[tokio::test]
async fn p2_a_takeover_ends_the_sessions_of_the_holder_and_nothing_of_theirs_is_written() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let table = database.table("t").await;
    let (old, new) = (database.sink(), database.sink());
    let held = fence(&old).await;
    // GIVEN one transaction that is in the middle of a COPY and one that has written
    let mut copying = old.begin(&held).await.unwrap();
    write(&mut *copying, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
    let mut written = old.begin(&held).await.unwrap();
    write(&mut *written, &table, &["id"], &page(&table, &rows(10..13)), WriteMode::Upsert).await.unwrap();
    // WHEN another process takes over
    let taken = new.state().acquire("job", &owner("second")).await.unwrap();
    assert_eq!(taken.epoch, held.epoch + 1);
    // THEN neither commits, a new transaction is fenced, and the sessions are gone
    for transaction in [copying, written] {
        let error = transaction.commit(&checkpoint(1)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Fenced), "{error:?}");
    }
    let error = old.begin(&held).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert_eq!(old.state().settle(&held).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["0"]);
    assert_eq!(sequence(&new).await, None);
    assert_eq!(database.query("SELECT count(*) FROM migrate.fence_session").await, ["0"]);
    write_all(&new, &taken, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
    old.state().release(&held).await.unwrap();
    assert_eq!(new.state().holder("job").await.unwrap(), Some(owner("second")), "a release by the one before changes nothing");
    new.state().release(&taken).await.unwrap();
    assert_eq!(new.state().holder("job").await.unwrap(), None);
}

#[tokio::test]
async fn p2_an_older_sink_whose_sessions_cannot_be_ended_is_fenced_at_its_last_statement() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let table = database.table("t").await;
    let (old, new) = (database.sink(), database.sink());
    let held = fence(&old).await;
    let mut transaction = old.begin(&held).await.unwrap();
    write(&mut *transaction, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
    // The fence has lost sight of the session, as it would of one whose process id a pooler made up.
    database.run("DELETE FROM migrate.fence_session").await;
    new.state().acquire("job", &owner("second")).await.unwrap();
    let error = transaction.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["0"]);
    assert_eq!(sequence(&new).await, None);
}

#[tokio::test]
async fn a_session_that_took_over_a_process_id_is_left_alone() {
    let database = Database::new().await;
    let old = database.sink();
    let held = fence(&old).await;
    let transaction = old.begin(&held).await.unwrap();
    database.run("UPDATE migrate.fence_session SET started = '2000-01-01 00:00:00+00'").await;
    database.sink().state().acquire("job", &owner("second")).await.unwrap();
    let error = transaction.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "the session was alive: {error:?}");
}

#[tokio::test]
async fn a_session_that_the_server_ends_before_the_commit_is_a_lost_connection() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let mut transaction = sink.begin(&fence).await.unwrap();
    write(&mut *transaction, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
    database.run("SELECT pg_terminate_backend(pid) FROM migrate.fence_session").await;
    let error = transaction.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error:?}");
    // The next transaction has a new session, though dead ones may lie in the pool.
    write_all(&sink, &fence, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
    database
        .run("SELECT pg_terminate_backend(pid) FROM migrate.fence_session WHERE pid IN (SELECT pid FROM pg_stat_activity)")
        .await;
    write_all(&sink, &fence, &table, &["id"], &page(&table, &rows(3..6)), WriteMode::Load).await.unwrap();
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["6"]);
}

/// What the proxy does when a client says COMMIT.
const PASS: u8 = 0;
const SWALLOW_ANSWER: u8 = 1;
const SWALLOW_COMMIT: u8 = 2;

/// Stands between the sink and its server, and cuts the connection around a COMMIT.
async fn proxy(url: &str, mode: Arc<AtomicU8>) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (role, rest) = rest.split_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(relay(client, upstream, Arc::clone(&mode)));
        }
    });
    format!("{scheme}://{role}@127.0.0.1:{port}/{database}?sslmode=disable")
}

async fn relay(client: TcpStream, upstream: TcpStream, mode: Arc<AtomicU8>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = from_client.read(&mut buffer).await {
        if length == 0 {
            break;
        }
        let commits = buffer[..length].windows(7).any(|w| w == b"COMMIT\0");
        match (commits, mode.load(Ordering::SeqCst)) {
            (true, SWALLOW_COMMIT) => break,
            (true, SWALLOW_ANSWER) => {
                back.abort();
                let _ = back.await;
                let _ = to_server.write_all(&buffer[..length]).await;
                // The server acts upon what it was sent before it notices that nobody is there any more.
                let _ = to_server.shutdown().await;
                return;
            }
            _ => {
                if to_server.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        }
    }
    back.abort();
}

#[tokio::test]
async fn p2_a_commit_whose_answer_is_lost_is_settled_by_asking_the_target() {
    for (swallowed, committed) in [(SWALLOW_ANSWER, true), (SWALLOW_COMMIT, false)] {
        let database = Database::new().await;
        database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
        let table = database.table("t").await;
        let mode = Arc::new(AtomicU8::new(PASS));
        let sink = sink(&proxy(&database.url, Arc::clone(&mode)).await);
        let fence = fence(&sink).await;
        let mut transaction = sink.begin(&fence).await.unwrap();
        write(&mut *transaction, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
        mode.store(swallowed, Ordering::SeqCst);
        let error = transaction.commit(&checkpoint(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error:?}");
        mode.store(PASS, Ordering::SeqCst);
        sink.state().settle(&fence).await.unwrap();
        let expected = committed.then_some(1);
        assert_eq!(sequence(&sink).await, expected);
        assert_eq!(database.query("SELECT count(*) FROM t").await, [if committed { "3" } else { "0" }]);
        // Settled means settled: what is read stays, and the holder goes on.
        write_all(&sink, &fence, &table, &["id"], &page(&table, &rows(7..8)), WriteMode::Load).await.unwrap();
        assert_eq!(sequence(&sink).await, expected);
    }
}

#[tokio::test]
async fn p8_a_plain_role_that_owns_nothing_of_the_state_can_do_all_that_a_run_does() {
    let database = Database::bare().await;
    let role = format!("plain_{}", database.name());
    database.run(&format!("CREATE ROLE {role} LOGIN NOSUPERUSER; CREATE TABLE t (id int PRIMARY KEY, name text); GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}")).await;
    let plain = sink(&database.url_as(&role));
    let table = database.table("t").await;
    // GIVEN no state: the role may not create it, and is told who may
    assert!(!plain.state().exists().await.unwrap());
    let error = plain.state().initialize().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    assert!(error.to_string().contains("migrate target init"), "{error}");
    assert_eq!(plain.check_creatable().await.unwrap_err().kind(), ErrorKind::Permission);
    // WHEN the owner runs the printed SQL, twice
    let sql = plain.state().initialize_sql(Some(&role));
    database.run(&sql).await;
    database.run(&sql).await;
    // THEN the role passes through a whole run, and takes over from itself
    assert!(plain.state().exists().await.unwrap());
    plain.state().initialize().await.unwrap();
    plain.check_writable(&table).await.unwrap();
    let held = fence(&plain).await;
    write_all(&plain, &held, &table, &["id"], &page(&table, &rows(0..3)), WriteMode::Load).await.unwrap();
    let open = plain.begin(&held).await.unwrap();
    let other = sink(&database.url_as(&role));
    let taken = other.state().acquire("job", &owner("second")).await.unwrap();
    assert!(open.commit(&checkpoint(1)).await.is_err());
    let mut changes = checkpoint(2);
    changes.blocks = vec![block(0)];
    let mut transaction = other.begin(&taken).await.unwrap();
    write(&mut *transaction, &table, &["id"], &page(&table, &rows(2..5)), WriteMode::Upsert).await.unwrap();
    transaction.commit(&changes).await.unwrap();
    other.state().settle(&taken).await.unwrap();
    assert_eq!(sequence(&other).await, Some(2));
    other.state().release(&taken).await.unwrap();
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["5"]);
    // A table that it was not granted is named with the right that is missing.
    database.run("CREATE TABLE secret (id int)").await;
    let error = plain.check_writable(&database.table("secret").await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    assert!(error.to_string().contains("SELECT") && error.to_string().contains("secret"), "{error}");
    database.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

fn block(ordinal: i64) -> StoredBlock {
    StoredBlock {
        ordinal,
        format: 1,
        row_count: u32::MAX,
        last_key: vec![0xff; 5_000],
        keys: (0..=255).cycle().take(10_000).collect(),
        checksums: vec![0; 16_000],
        keys_digest: vec![1; 16],
        rows_digest: vec![2; 16],
        position: "{\"lsn\": \"0/0\"}".to_owned(),
        execution: "é".to_owned(),
        outcomes: Vec::new(),
    }
}

#[tokio::test]
async fn ledger_blocks_of_any_number_and_size_come_back_to_the_byte() {
    let database = Database::new().await;
    let sink = database.sink();
    let fence = fence(&sink).await;
    let mut changes = checkpoint(1);
    changes.blocks = (-600..600).map(|i| block(i * 1_000_000_007)).collect();
    let scope = changes.scope.clone().unwrap();
    sink.begin(&fence).await.unwrap().commit(&changes).await.unwrap();
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|b: &StoredBlock| b.ordinal);
        let some = sink.state().ledger_blocks(&scope, after, 500).await.unwrap();
        if some.is_empty() {
            break;
        }
        found.extend(some);
    }
    assert!(found == changes.blocks);
}

#[tokio::test]
async fn two_processes_may_make_the_state_at_once_and_a_newer_one_is_refused() {
    let database = Database::bare().await;
    let made = futures::future::join_all((0..6).map(|_| async { database.sink().state().initialize().await })).await;
    made.into_iter().for_each(|done| done.unwrap());
    assert_eq!(database.query("SELECT version FROM migrate.state_version").await, ["5"]);
    database.run("UPDATE migrate.state_version SET version = 6").await;
    let error = database.sink().state().initialize().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(database.sink().state().exists().await.unwrap_err().kind(), ErrorKind::Corrupt);
    // A schema of this name that is somebody else's is not written into.
    let other = Database::bare().await;
    other.run("CREATE SCHEMA migrate; CREATE TABLE migrate.checkpoint (id int)").await;
    let error = other.sink().state().initialize().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(other.query("SELECT count(*) FROM pg_tables WHERE schemaname = 'migrate'").await, ["1"]);
}

#[tokio::test]
async fn a_key_map_of_version_4_keeps_its_entries_and_has_its_ids_first_from_then_on() {
    let database = Database::bare().await;
    let state = database.sink().state();
    state.initialize().await.unwrap();
    database
        .run(
            "ALTER TABLE migrate.key_map DROP CONSTRAINT key_map_pkey, ADD PRIMARY KEY (job, entity, source_key); \
             DROP INDEX migrate.key_map_target; CREATE INDEX key_map_target ON migrate.key_map (job, entity, target_key); \
             UPDATE migrate.state_version SET version = 4; INSERT INTO migrate.key_map VALUES ('j', 'e', '\\x01', '\\x02')",
        )
        .await;
    for _ in 0..2 {
        state.initialize().await.unwrap();
        assert_eq!(database.query("SELECT version FROM migrate.state_version").await, ["5"]);
        assert_eq!(database.query("SELECT count(*) FROM migrate.key_map WHERE source_key = '\\x01'").await, ["1"]);
        let indexes = "SELECT split_part(indexdef, ' (', 2) FROM pg_indexes WHERE tablename = 'key_map' ORDER BY 1";
        assert_eq!(database.query(indexes).await, ["source_key, job, entity)", "target_key, job, entity)"]);
    }
}

#[tokio::test]
async fn nothing_of_the_state_shows_among_the_targets_tables() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let sink = database.sink();
    let names: Vec<String> = sink.schema().await.unwrap().tables.iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["public.t"]);
    assert!(read(&sink, &database.table("t").await).await.is_empty());
}
