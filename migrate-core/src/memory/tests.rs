//! What the suite cannot ask of the reference adapter: its planned faults, and transactions that collide.

use super::{Call, MemoryDatabase, table};
use crate::sink::{Sink, SinkTransaction, WriteMode, WriteRequest};
use crate::source::{PageRequest, Source};
use crate::state::{Checkpoint, Fence, FenceOwner, Scope, StateChanges};
use crate::value::{DataType, Encoding, PageBuilder, PageColumn, Value};
use crate::{ErrorKind, Result};
use std::sync::Arc;

fn database() -> MemoryDatabase {
    let database = MemoryDatabase::new();
    database.create_table(table("t", &[("id", DataType::Int64), ("v", DataType::TEXT)], &["id"])).expect("the table is new");
    database
}

async fn fence(database: &MemoryDatabase) -> Fence {
    let state = database.sink().state();
    state.initialize().await.expect("the state is made");
    let owner = FenceOwner { execution: "e".to_owned(), host: "h".to_owned(), process: 1 };
    state.acquire("job", &owner).await.expect("the fence is taken")
}

fn checkpoint(sequence: u64) -> StateChanges {
    StateChanges {
        scope: Some(Scope { job: "job".to_owned(), entity: "t".to_owned(), partition: 0 }),
        checkpoint: Some(Checkpoint { sequence, ..Checkpoint::default() }),
        ..StateChanges::default()
    }
}

async fn begin_with(database: &MemoryDatabase, fence: &Fence, id: i64, value: &'static str) -> Result<Box<dyn SinkTransaction>> {
    let table = database.table("t")?;
    let columns: Arc<[PageColumn]> =
        table.columns.iter().map(|c| PageColumn { name: c.name.clone(), data_type: c.data_type.clone() }).collect();
    let mut page = PageBuilder::new(columns, Encoding::CANONICAL);
    page.begin_row();
    page.push_value(&Value::Int(id))?;
    page.push_value(&Value::Text(value.into()))?;
    page.end_row();
    let page = page.finish(None);
    let mut transaction = database.sink().begin(fence).await?;
    let request = WriteRequest { table: &table, key: &["id".to_owned()], page: &page, rows: None, mode: WriteMode::Upsert };
    transaction.write(request).await?;
    Ok(transaction)
}

async fn sequences(database: &MemoryDatabase) -> Vec<u64> {
    let checkpoints = database.sink().state().checkpoints("job", "t").await.expect("the checkpoints are read");
    checkpoints.iter().map(|(_, c)| c.sequence).collect()
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_has_happened_or_not_as_planned() {
    let database = database();
    let fence = fence(&database).await;
    database.faults().fail(Call::Commit, 1, ErrorKind::CommitUnknown);
    let transaction = begin_with(&database, &fence, 1, "a").await.expect("the row is written");
    assert_eq!(transaction.commit(&checkpoint(1)).await.expect_err("the answer is lost").kind(), ErrorKind::CommitUnknown);
    assert_eq!((database.rows("t").expect("it exists").len(), sequences(&database).await), (0, vec![]));

    database.faults().lose_commit_answer(1);
    let transaction = begin_with(&database, &fence, 1, "a").await.expect("the row is written");
    assert_eq!(transaction.commit(&checkpoint(1)).await.expect_err("the answer is lost").kind(), ErrorKind::CommitUnknown);
    assert_eq!((database.rows("t").expect("it exists").len(), sequences(&database).await), (1, vec![1]));
}

#[tokio::test]
async fn the_nth_call_fails_and_the_ones_around_it_do_not() {
    let database = database();
    database.insert("t", [Value::Int(1), Value::Null]).expect("the row fits");
    database.faults().fail(Call::ReadPage, 2, ErrorKind::ConnectionLost);
    let table = database.table("t").expect("it exists");
    let (columns, key) = (["id".to_owned()], ["id".to_owned()]);
    let request = PageRequest::new(&table, &columns, &key);
    let mut snapshot = database.source().open_snapshot().await.expect("a snapshot opens");
    assert!(snapshot.read_page(&request).await.is_ok());
    assert_eq!(snapshot.read_page(&request).await.expect_err("it was planned").kind(), ErrorKind::ConnectionLost);
    assert!(snapshot.read_page(&request).await.is_ok());
    assert_eq!(database.faults().calls(Call::ReadPage), 3);
}

#[tokio::test]
async fn an_action_runs_just_before_its_call() {
    let database = database();
    let fence = fence(&database).await;
    let other = database.clone();
    database.faults().run(Call::Commit, 1, move || {
        other.insert("t", [Value::Int(9), Value::Null]).expect("the row fits");
    });
    let transaction = begin_with(&database, &fence, 1, "a").await.expect("the row is written");
    transaction.commit(&checkpoint(1)).await.expect("the rows do not collide");
    assert_eq!(database.rows("t").expect("it exists").len(), 2);
}

#[tokio::test]
async fn of_two_transactions_that_write_one_key_the_later_commit_loses() {
    let database = database();
    let fence = fence(&database).await;
    let first = begin_with(&database, &fence, 1, "first").await.expect("the row is written");
    let second = begin_with(&database, &fence, 1, "second").await.expect("the row is written");
    second.commit(&checkpoint(1)).await.expect("nothing is in the way");
    assert_eq!(first.commit(&checkpoint(2)).await.expect_err("the key is there now").kind(), ErrorKind::Conflict);
    assert_eq!(database.rows("t").expect("it exists"), [[Value::Int(1), Value::Text("second".into())]]);
    assert_eq!(sequences(&database).await, [1]);
}

#[tokio::test]
async fn a_transaction_is_over_after_an_error() {
    let database = database();
    let fence = fence(&database).await;
    database.faults().fail(Call::Write, 2, ErrorKind::Conflict);
    let mut transaction = begin_with(&database, &fence, 1, "a").await.expect("the first write passes");
    let table = database.table("t").expect("it exists");
    let page = PageBuilder::new(Arc::from([]), Encoding::CANONICAL).finish(None);
    let request = WriteRequest { table: &table, key: &[], page: &page, rows: None, mode: WriteMode::Load };
    assert_eq!(transaction.write(request).await.expect_err("it was planned").kind(), ErrorKind::Conflict);
    assert_eq!(transaction.commit(&checkpoint(1)).await.expect_err("the transaction has failed").kind(), ErrorKind::Internal);
    assert!(database.rows("t").expect("it exists").is_empty());
}
