//! Reading rows as one binary COPY stream.
//!
//! A stream lives in a task that owns its session. The task packs tuples into pages and feeds a bounded channel; whoever drops
//! the receiving end ends the task, which closes the session. Only a stream that was read to its end gives its session back.

use crate::codec::ENCODING;
use crate::connection::no_zero_byte;
use crate::error::from_sqlx;
use crate::view::{Session, View};
use futures::StreamExt;
use migrate_core::value::{Key, Page, PageBuilder, PageColumn, Value};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Pages that may exist beside the one being packed: the reader's, and those read ahead.
const PAGES: u32 = 3;

/// What a stream packs.
#[derive(Debug, Clone)]
pub(crate) struct Packing {
    /// The columns of its rows.
    pub(crate) columns: Arc<[PageColumn]>,
    /// Which of them are the key, in the key's order; none for a table without one.
    pub(crate) key: Vec<usize>,
    /// Rows per page at most.
    pub(crate) max_rows: usize,
    /// Bytes per page at most, a single larger row aside.
    pub(crate) max_bytes: usize,
}

/// The receiving end of a stream of pages.
pub(crate) struct PageStream {
    receiver: mpsc::Receiver<Result<(Page, OwnedSemaphorePermit)>>,
    /// The room of the page that the reader was given last; free once he asks for the next.
    held: Option<OwnedSemaphorePermit>,
    task: JoinHandle<()>,
}

impl PageStream {
    /// Starts a stream.
    pub(crate) fn start(view: Arc<View>, session: Session, sql: String, packing: Packing) -> PageStream {
        let (sender, receiver) = mpsc::channel(PAGES as usize);
        let task = tokio::spawn(run(view, session, sql, packing, sender));
        PageStream { receiver, held: None, task }
    }

    /// Returns the next page. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Page> {
        self.held = None;
        match self.receiver.recv().await {
            Some(Ok((page, room))) => {
                self.held = Some(room);
                Ok(page)
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::new(ErrorKind::Internal, "a stream of rows ended without its last page")),
        }
    }
}

impl Drop for PageStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Sender = mpsc::Sender<Result<(Page, OwnedSemaphorePermit)>>;

async fn run(view: Arc<View>, mut session: Session, sql: String, packing: Packing, sender: Sender) {
    let last = match pump(&mut session.connection, &sql, packing, &sender).await {
        Ok(Some(page)) => {
            // Before the page is out, so that the reader's next stream finds the session free.
            view.give_back(session);
            Ok(page)
        }
        Ok(None) => return,
        Err(error) => Err(error),
    };
    let _ = sender.send(last).await;
}

/// Reads to the end and returns the last page, or `None` if nobody listens any more.
async fn pump(
    connection: &mut PgConnection,
    sql: &str,
    packing: Packing,
    sender: &Sender,
) -> Result<Option<(Page, OwnedSemaphorePermit)>> {
    let room = Arc::new(Semaphore::new(PAGES as usize));
    let mut held = take_room(&room, 1).await?;
    let mut packer = Packer::new(packing);
    let mut tuples = Tuples::new(packer.packing.columns.len());
    no_zero_byte(sql)?;
    let mut messages = connection.copy_out_raw(sql).await.map_err(of_reading)?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(of_reading)?;
        tuples.feed(&message)?;
        while let Some(tuple) = tuples.next(&message)? {
            if packer.is_full(tuple.len()) {
                let page = packer.cut()?;
                if sender.send(Ok((page, held))).await.is_err() {
                    return Ok(None);
                }
                held = take_room(&room, 1).await?;
            }
            if tuple.len() > packer.packing.max_bytes {
                // A row larger than a page takes all the room: it waits until no other page is alive.
                held.merge(take_room(&room, PAGES - 1).await?);
            }
            packer.push(tuple);
        }
        tuples.keep_rest(&message);
    }
    tuples.finish()?;
    Ok(Some((packer.builder.finish(None), held)))
}

async fn take_room(room: &Arc<Semaphore>, pages: u32) -> Result<OwnedSemaphorePermit> {
    // Never closed.
    room.clone().acquire_many_owned(pages).await.map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))
}

/// Reads a whole result into one page; for lists of keys and rows asked for by key.
pub(crate) async fn collect(connection: &mut PgConnection, sql: &str, builder: &mut PageBuilder, columns: usize) -> Result<()> {
    let mut tuples = Tuples::new(columns);
    no_zero_byte(sql)?;
    let mut messages = connection.copy_out_raw(sql).await.map_err(of_reading)?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(of_reading)?;
        tuples.feed(&message)?;
        while let Some(tuple) = tuples.next(&message)? {
            builder.push_row(tuple);
        }
        tuples.keep_rest(&message);
    }
    tuples.finish()
}

/// Reads a whole result and hands it over page by page.
///
/// An error leaves answers behind: the connection is then not to be used again.
pub(crate) async fn hand_over(
    connection: &mut PgConnection,
    sql: &str,
    packing: Packing,
    take: &mut (dyn FnMut(Page) -> Result<()> + Send),
) -> Result<u64> {
    let (mut tuples, mut packer, mut rows) = (Tuples::new(packing.columns.len()), Packer::new(packing), 0);
    no_zero_byte(sql)?;
    let mut messages = connection.copy_out_raw(sql).await.map_err(of_reading)?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(of_reading)?;
        tuples.feed(&message)?;
        while let Some(tuple) = tuples.next(&message)? {
            if packer.is_full(tuple.len()) {
                take(packer.cut()?)?;
            }
            packer.push(tuple);
            rows += 1;
        }
        tuples.keep_rest(&message);
    }
    tuples.finish()?;
    take(packer.builder.finish(None))?;
    Ok(rows)
}

/// Translates an error of a query that reads.
///
/// A value that is refused while reading is no row's fault: an expression of a view or filter failed on it. And a query that a
/// replica's recovery or an operator cancelled cannot be run again here: its transaction is over, and with it this session's view.
pub(crate) fn of_reading(error: sqlx::Error) -> Error {
    let error = from_sqlx(error);
    match error.kind() {
        ErrorKind::Constraint | ErrorKind::RowRejected => error.into_kind(ErrorKind::Schema),
        ErrorKind::Conflict => error.into_kind(ErrorKind::ConnectionLost),
        _ => error,
    }
}

/// Packs tuples into pages.
struct Packer {
    packing: Packing,
    builder: PageBuilder,
    rows_before: u64,
}

impl Packer {
    fn new(packing: Packing) -> Self {
        let builder = PageBuilder::new(packing.columns.clone(), ENCODING);
        Packer { packing, builder, rows_before: 0 }
    }

    #[inline]
    fn is_full(&self, next: usize) -> bool {
        let rows = self.builder.row_count();
        rows > 0 && (rows >= self.packing.max_rows || self.builder.bytes() + next > self.packing.max_bytes)
    }

    #[inline]
    fn push(&mut self, tuple: &[u8]) {
        self.builder.push_row(tuple);
    }

    /// Ends a page that rows follow, and begins the next.
    fn cut(&mut self) -> Result<Page> {
        let next = self.last_key()?;
        self.rows_before += self.builder.row_count() as u64;
        let capacity = self.builder.bytes().min(self.packing.max_bytes);
        let fresh = PageBuilder::new(self.packing.columns.clone(), ENCODING).with_capacity(capacity);
        Ok(std::mem::replace(&mut self.builder, fresh).finish(Some(next)))
    }

    fn last_key(&self) -> Result<Key> {
        let rows = self.builder.row_count();
        if self.packing.key.is_empty() {
            let place = self.rows_before + rows as u64;
            return Ok(Key::from_values(&[Value::Int(i64::try_from(place).unwrap_or(i64::MAX))]));
        }
        let row = self.builder.row(rows.saturating_sub(1));
        let values = self.packing.key.iter().map(|k| row.value(*k)).collect::<Result<Vec<_>>>()?;
        Ok(Key::from_values(&values))
    }
}

/// The 11 bytes that a binary COPY begins with; flags and the length of an extension follow, four bytes each.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Cuts messages into tuples.
///
/// The server sends one tuple a message, but nothing in the protocol says so: a tuple that goes on in the next message is put
/// together in `carry`.
struct Tuples {
    columns: usize,
    carry: Vec<u8>,
    at: usize,
    begun: bool,
    ended: bool,
}

impl Tuples {
    fn new(columns: usize) -> Self {
        Tuples { columns, carry: Vec::new(), at: 0, begun: false, ended: false }
    }

    /// Starts on a message, whose bytes are given to each following call as well.
    #[inline]
    fn feed(&mut self, message: &[u8]) -> Result<()> {
        self.at = 0;
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(message);
        }
        if !self.begun {
            self.header(message)?;
        }
        Ok(())
    }

    fn header(&mut self, message: &[u8]) -> Result<()> {
        let data = if self.carry.is_empty() { message } else { &self.carry };
        let common = data.len().min(SIGNATURE.len());
        if data[..common] != SIGNATURE[..common] {
            return Err(malformed("a binary COPY does not begin as it should"));
        }
        let Some(extension) = data.get(15..19).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes) else { return Ok(()) };
        let end = 19 + extension as usize;
        if data.len() >= end {
            self.at = end;
            self.begun = true;
        }
        Ok(())
    }

    /// Returns the next tuple that is complete.
    #[inline]
    fn next<'a>(&'a mut self, message: &'a [u8]) -> Result<Option<&'a [u8]>> {
        let data: &[u8] = if self.carry.is_empty() { message } else { &self.carry };
        let rest = &data[self.at..];
        if !self.begun || rest.is_empty() {
            return Ok(None);
        }
        if self.ended {
            return Err(malformed("a binary COPY goes on behind its end"));
        }
        let Some((count, cells)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            self.ended = true;
            self.at += 2;
            return if cells.is_empty() { Ok(None) } else { Err(malformed("a binary COPY goes on behind its end")) };
        }
        if usize::try_from(count) != Ok(self.columns) {
            return Err(malformed("a tuple of a binary COPY has another number of columns"));
        }
        let mut end = 2usize;
        for _ in 0..self.columns {
            let Some(length) = rest.get(end..end + 4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes) else {
                return Ok(None);
            };
            // -1 is NULL, which has no bytes.
            end += 4 + usize::try_from(length).unwrap_or(0);
        }
        if end > rest.len() {
            return Ok(None);
        }
        self.at += end;
        Ok(Some(&rest[..end]))
    }

    /// Keeps what is left of a message for the next.
    #[inline]
    fn keep_rest(&mut self, message: &[u8]) {
        if !self.carry.is_empty() {
            self.carry.drain(..self.at);
        } else if self.at < message.len() {
            self.carry.extend_from_slice(&message[self.at..]);
        }
        self.at = 0;
    }

    fn finish(&self) -> Result<()> {
        if self.ended && self.carry.is_empty() { Ok(()) } else { Err(malformed("a binary COPY ended before its end mark")) }
    }
}

fn malformed(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0; 8]);
        for row in rows {
            bytes.extend_from_slice(&tuple(row));
        }
        bytes.extend_from_slice(&[0xff, 0xff]);
        bytes
    }

    fn tuple(row: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut bytes = u16::try_from(row.len()).expect("few cells").to_be_bytes().to_vec();
        for cell in row {
            match cell {
                None => bytes.extend_from_slice(&(-1i32).to_be_bytes()),
                Some(cell) => {
                    bytes.extend_from_slice(&u32::try_from(cell.len()).expect("short").to_be_bytes());
                    bytes.extend_from_slice(cell);
                }
            }
        }
        bytes
    }

    fn parse(columns: usize, messages: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let (mut tuples, mut found) = (Tuples::new(columns), Vec::new());
        for message in messages {
            tuples.feed(message)?;
            while let Some(tuple) = tuples.next(message)? {
                found.push(tuple.to_vec());
            }
            tuples.keep_rest(message);
        }
        tuples.finish()?;
        Ok(found)
    }

    proptest! {
        #[test]
        fn tuples_are_found_wherever_messages_are_cut(
            rows in proptest::collection::vec(proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 3), 0..9),
            size in 1usize..40,
        ) {
            let bytes = stream(&rows);
            let messages: Vec<&[u8]> = bytes.chunks(size).collect();
            let expected: Vec<Vec<u8>> = rows.iter().map(|r| tuple(r)).collect();
            prop_assert_eq!(parse(3, &messages).expect("well formed"), expected);
        }
    }

    #[test]
    fn a_stream_that_is_cut_short_or_goes_on_is_an_error() {
        let bytes = stream(&[vec![Some(vec![1, 2])]]);
        assert!(parse(1, &[&bytes[..bytes.len() - 2]]).is_err(), "no end mark");
        assert!(parse(1, &[&bytes[..bytes.len() - 5]]).is_err(), "cut in a tuple");
        assert!(parse(2, &[&bytes]).is_err(), "another number of columns");
        assert!(parse(1, &[&bytes, b"x"]).is_err(), "bytes behind the end");
        assert!(parse(1, &[b"PGCOPX"]).is_err(), "another signature");
        assert_eq!(parse(0, &[&stream(&[vec![], vec![]])]).expect("rows without columns"), vec![vec![0, 0], vec![0, 0]]);
    }
}
