//! COPY: which row was refused, what a write that is dropped leaves behind, and servers that talk meanwhile.

use crate::sink_support::{self, Database, fence, numbered, page, read, text, write, write_all};
use migrate_core::ErrorKind;
use migrate_core::sink::{Outcome, WriteMode};
use migrate_core::state::StateChanges;
use migrate_core::value::{Key, Value};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

#[tokio::test]
async fn one_copy_takes_many_pages_and_the_row_refused_is_counted_from_the_first_of_them() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text CHECK (name <> 'row 7'))").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    for raw in [false, true] {
        // GIVEN three pages of five rows, of which the eighth row breaks the check, in both ways to the wire
        let mut pages = vec![page(&table, &numbered(0..5)), page(&table, &numbered(5..10)), page(&table, &numbered(10..15))];
        if raw {
            let other = Database::new().await;
            other.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
            let (source, shape) = (other.sink(), other.table("t").await);
            let held = sink_support::fence(&source).await;
            for one in &mut pages {
                other.run("DELETE FROM t").await;
                write_all(&source, &held, &shape, &["id"], one, WriteMode::Load).await.unwrap();
                *one = read(&source, &shape).await.remove(0);
                assert_eq!(one.encoding().name(), "postgres-binary");
            }
        }
        // WHEN they are loaded in one transaction
        let mut transaction = sink.begin(&fence).await.unwrap();
        let mut refused = None;
        for one in &pages {
            if let Err(error) = write(&mut *transaction, &table, &["id"], one, WriteMode::Load).await {
                refused = Some(error);
            }
        }
        let error = match refused {
            Some(error) => error,
            None => transaction.commit(&StateChanges::default()).await.unwrap_err(),
        };
        // THEN the row is named, and no value is
        assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(7)), "{error:?}");
        assert!(!format!("{error:?}").contains("row 7"), "{error:?}");
        assert_eq!(database.query("SELECT count(*) FROM t").await, ["0"]);
    }
}

#[tokio::test]
async fn the_row_refused_by_a_second_copy_is_counted_from_the_first_ones_rows() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text NOT NULL); CREATE TABLE u (id int, name text)").await;
    let (sink, table, other) = (database.sink(), database.table("t").await, database.table("u").await);
    let fence = fence(&sink).await;
    let mut transaction = sink.begin(&fence).await.unwrap();
    write(&mut *transaction, &table, &["id"], &page(&table, &numbered(0..3)), WriteMode::Load).await.unwrap();
    // Another table's COPY ends the first.
    write(&mut *transaction, &other, &[], &page(&other, &numbered(0..9)), WriteMode::Load).await.unwrap();
    let bad = page(&table, &[vec![Value::Int(3), text("x")], vec![Value::Int(4), Value::Null]]);
    write(&mut *transaction, &table, &["id"], &bad, WriteMode::Load).await.unwrap();
    let error = transaction.commit(&StateChanges::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.row()), (ErrorKind::RowRejected, Some(4)), "{error:?}");
}

#[tokio::test]
async fn a_write_dropped_at_any_await_leaves_nothing_that_later_statements_read_as_theirs() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    let rows = page(&table, &numbered(0..50_000));
    let mut finished = 0;
    for polls in 0..60 {
        for mode in [WriteMode::Load, WriteMode::Upsert] {
            // GIVEN a transaction whose write is dropped after so many polls, and the transaction with it
            let mut transaction = sink.begin(&fence).await.unwrap();
            let mut left = polls;
            {
                let mut writing = pin!(write(&mut *transaction, &table, &["id"], &rows, mode));
                poll_fn(|context| {
                    if left == 0 {
                        return Poll::Ready(());
                    }
                    left -= 1;
                    match writing.as_mut().poll(context) {
                        Poll::Ready(done) => {
                            done.unwrap();
                            finished += 1;
                            Poll::Ready(())
                        }
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await;
            }
            match polls % 2 {
                0 => drop(transaction),
                _ => transaction.rollback().await.unwrap(),
            }
            // THEN the next transaction of the sink gets its own answers
            let one = page(&table, &numbered(0..1));
            let mut next = sink.begin(&fence).await.unwrap();
            let outcomes = write(&mut *next, &table, &["id"], &one, WriteMode::Upsert).await.unwrap();
            assert_eq!(outcomes, Some(vec![Outcome::Inserted]), "after {polls} polls");
            assert_eq!(next.delete(&table, &["id".to_owned()], &[Key::from_values(&[Value::Int(0)])]).await.unwrap(), 1);
            next.commit(&StateChanges::default()).await.unwrap();
        }
    }
    assert!(finished < 120, "every write was finished: nothing was dropped on the way");
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["0"]);
}

#[tokio::test]
async fn a_warning_for_every_row_does_not_block_a_copy() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, name text);
             CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE WARNING 'a warning of some length for row %: %', NEW.id, repeat('x', 500); RETURN NULL; END $$;
             CREATE TRIGGER shout AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION shout()",
        )
        .await;
    let (sink, table) = (database.sink(), database.table("t").await);
    let fence = fence(&sink).await;
    write_all(&sink, &fence, &table, &["id"], &page(&table, &numbered(0..30_000)), WriteMode::Load).await.unwrap();
    assert_eq!(database.query("SELECT count(*) FROM t").await, ["30000"]);
}
