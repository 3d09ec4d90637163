//! The state tables: what they keep, and what a file without them or with newer ones gives.

use crate::support::target::{self, Target, owner};
use crate::support::{self, Database};
use migrate_core::ErrorKind;
use migrate_core::sink::{Sink, WriteMode};
use migrate_core::state::{Checkpoint, QuarantinedRow, Scope, StateChanges, StoredBlock};
use migrate_core::value::{Key, KeyRange, Value};
use migrate_sqlite::{SqliteConfig, SqliteSink};

fn scope(entity: &str, partition: u32) -> Scope {
    Scope { job: "it's a \"job\"".into(), entity: entity.into(), partition }
}

fn block(ordinal: i64) -> StoredBlock {
    StoredBlock {
        ordinal,
        format: 1,
        row_count: u32::MAX,
        last_key: vec![1, 0, 2],
        keys: vec![3; 2000],
        checksums: vec![4; 16_000],
        keys_digest: vec![5; 16],
        rows_digest: vec![6; 16],
        position: "p".into(),
        execution: "e".into(),
        outcomes: vec![],
    }
}

fn refused(entity: &str, key: &[u8], reason: &str) -> QuarantinedRow {
    QuarantinedRow {
        execution: "e".into(),
        scope: scope(entity, 0),
        key: key.to_vec(),
        column: Some("c".into()),
        reason: reason.into(),
        row: vec![0, 1, 2],
        columns: vec!["a".into(), "c".into()],
    }
}

async fn commit(target: &Target, state: &StateChanges) {
    target.begin().await.commit(state).await.expect("the commit passes");
}

fn changes(scope: Scope) -> StateChanges {
    let mut changes = StateChanges::default();
    changes.scope = Some(scope);
    changes
}

#[tokio::test]
async fn what_a_commit_carries_is_read_back_and_kept_apart_by_scope() {
    let database = Database::new("");
    let target = Target::open(&database.path).await;
    let state = target.sink.state();
    let range = KeyRange { after: Some(Key::from_values([&Value::Int(5)])), up_to: None };
    let checkpoint = Checkpoint { execution: "e".into(), sequence: u64::from(u32::MAX) + 1, range, ..Checkpoint::default() };
    for partition in [0, 1] {
        let mut first = changes(scope("t", partition));
        first.blocks = vec![block(i64::MIN), block(-1), block(3)];
        first.checkpoint = Some(checkpoint.clone());
        first.quarantine = vec![refused("t", b"k1", "first"), refused("t", b"", "keyless"), refused("t", b"", "keyless")];
        commit(&target, &first).await;
    }
    assert_eq!(state.checkpoints(&scope("t", 0).job, "t").await.expect("read"), [(0, checkpoint.clone()), (1, checkpoint)]);
    assert_eq!(state.ledger_blocks(&scope("t", 0), None, 2).await.expect("read"), [block(i64::MIN), block(-1)]);
    assert_eq!(state.ledger_blocks(&scope("t", 0), Some(-1), 9).await.expect("read"), [block(3)]);

    let mut second = changes(scope("t", 0));
    second.removed_blocks = vec![-1];
    second.blocks = vec![StoredBlock { row_count: 7, ..block(3) }];
    second.quarantine = vec![refused("t", b"k1", "second"), refused("t", b"k2", "other")];
    commit(&target, &second).await;
    let blocks = state.ledger_blocks(&scope("t", 0), None, 9).await.expect("read");
    assert_eq!(blocks.iter().map(|b| (b.ordinal, b.row_count)).collect::<Vec<_>>(), [(i64::MIN, u32::MAX), (3, 7)]);
    let reasons = |rows: Vec<QuarantinedRow>| rows.into_iter().map(|r| r.reason).collect::<Vec<_>>();
    let rows = state.quarantine(&scope("t", 0).job, Some("t"), 2).await.expect("read");
    assert_eq!(rows[1], refused("t", b"k1", "second"), "the newest come first and a later refusal replaces an earlier one");

    let mut third = changes(scope("t", 0));
    third.released = vec![b"k1".to_vec()];
    commit(&target, &third).await;
    let rows = reasons(state.quarantine(&scope("t", 0).job, None, 99).await.expect("read"));
    assert!(!rows.contains(&"second".to_owned()) && rows.contains(&"other".to_owned()), "{rows:?}");

    let mut reset = changes(scope("t", 0));
    reset.reset_ledger = true;
    commit(&target, &reset).await;
    assert!(state.ledger_blocks(&scope("t", 0), None, 9).await.expect("read").is_empty());
    assert_eq!(state.ledger_blocks(&scope("t", 1), None, 9).await.expect("read").len(), 3, "another part keeps its ledger");
}

#[tokio::test]
async fn looking_at_a_missing_file_does_not_make_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.db");
    let sink = SqliteSink::new(SqliteConfig::new(&path));
    assert!(sink.schema().await.expect("an empty schema").tables.is_empty());
    assert!(!sink.state().exists().await.expect("an answer"));
    assert!(sink.state().checkpoints("job", "t").await.expect("none").is_empty());
    assert!(sink.state().holder("job").await.expect("nobody").is_none());
    sink.check_creatable().await.expect("the folder can be written");
    drop(sink);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_made_or_written_is_said_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = SqliteSink::new(SqliteConfig::new(folder.path().join("missing/none.db")));
    assert_eq!(sink.check_creatable().await.expect_err("there is no folder").kind(), ErrorKind::Connection);
    let database = Database::new("CREATE TABLE t(a); CREATE VIEW v AS SELECT a FROM t");
    let config = SqliteConfig::from_url(&format!("sqlite:{}?mode=ro", database.path.display())).expect("a url");
    let sink = SqliteSink::new(config);
    let schema = sink.schema().await.expect("readable");
    let error = sink.check_writable(support::find(&schema, "t")).await.expect_err("it is read only");
    assert!(error.kind() == ErrorKind::Permission && error.to_string().contains("table t"), "{error}");
    let sink = SqliteSink::new(database.config());
    assert_eq!(sink.check_writable(support::find(&schema, "v")).await.expect_err("a view").kind(), ErrorKind::Schema);
    sink.check_writable(support::find(&schema, "t")).await.expect("it can be written");
}

#[tokio::test]
async fn state_of_a_newer_version_is_refused() {
    let database = Database::new("");
    let target = Target::open(&database.path).await;
    drop(target);
    database.connect().execute("UPDATE _migrate_version SET version = 99", []).expect("changed");
    let sink = SqliteSink::new(database.config());
    let error = sink.state().initialize().await.expect_err("it is newer");
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("99"), "{error}");
    assert_eq!(sink.state().checkpoints("job", "t").await.expect_err("it is newer").kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn the_printed_statements_make_what_initialize_makes() {
    let (by_hand, by_sink) = (Database::new(""), Database::new(""));
    let sink = SqliteSink::new(by_sink.config());
    by_hand.connect().execute_batch(&sink.state().initialize_sql(None)).expect("the statements run");
    sink.state().initialize().await.expect("made");
    sink.state().initialize().await.expect("twice changes nothing");
    let schema = |database: &Database| -> Vec<String> {
        let connection = database.connect();
        let mut statement =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").expect("a query");
        statement.query_map([], |r| r.get(0)).expect("rows").map(|r| r.expect("text")).collect()
    };
    assert_eq!(schema(&by_hand), schema(&by_sink));
    assert!(sink.schema().await.expect("schema").tables.is_empty(), "state tables are not listed");
}

#[tokio::test]
async fn the_holder_of_a_fence_is_known_until_it_is_given_back() {
    let database = Database::new("");
    let target = Target::open(&database.path).await;
    let state = target.sink.state();
    assert_eq!(state.holder("job").await.expect("readable"), Some(owner()));
    assert_eq!(state.holder("another").await.expect("readable"), None);
    state.settle(&target.fence).await.expect("nothing is in progress");
    state.release(&target.fence).await.expect("given back");
    assert_eq!(state.holder("job").await.expect("readable"), None);
    assert_eq!(state.acquire("job", &owner()).await.expect("free").epoch, target.fence.epoch + 1, "epochs only grow");
}

#[tokio::test]
async fn state_is_readable_while_a_large_transaction_is_open() {
    let database = Database::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    let target = Target::open(&database.path).await;
    let t = target.table("t").await;
    let mut transaction = target.begin().await;
    // More than the page cache: the file is locked for every other connection.
    let rows: Vec<_> = (0..20_000).map(|i| vec![Value::Int(i), target::text(&"x".repeat(2000))]).collect();
    target::write(&mut *transaction, &t, &target::page(&t, &rows), WriteMode::Load).await.expect("loaded");
    assert!(target.sink.state().checkpoints("job", "t").await.expect("readable").is_empty());
    transaction.rollback().await.expect("rolled back");
}
