//! One `COPY … FROM STDIN`, kept open over several pages.
//!
//! The connection lives in a task of its own while the COPY lasts, fed through a short channel: encoding the next rows and
//! sending the last ones overlap, and a caller that is cancelled anywhere leaves nothing half-said behind, because the
//! connection comes back only from a COPY that the server has answered.

use crate::connection::no_zero_byte;
use crate::encode::{BINARY_HEADER, BINARY_TRAILER, Layout};
use crate::error::{from_copy, from_sqlx};
use migrate_core::value::Page;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use std::mem;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes per message. Messages need not end with a row; larger ones gain nothing and cost memory.
const CHUNK: usize = 256 << 10;

/// Messages that wait to be sent.
const QUEUE: usize = 2;

enum Message {
    Bytes(Vec<u8>),
    /// All rows of a page, as they stand. Pages share their arena, so nothing is copied.
    Page(Page),
    Finish,
    /// Take back what was sent.
    Abandon,
}

/// What a COPY left behind: its connection, where it can be used on, and the server's number of rows.
type Ended = (Option<PgConnection>, Result<u64>);

/// A COPY under way. Dropping it closes its connection.
pub(crate) struct CopyIn {
    sender: mpsc::Sender<Message>,
    task: JoinHandle<Ended>,
    layout: Layout,
    buffer: Vec<u8>,
    rows: u64,
    /// The connection of a task that has ended before its time.
    left: Option<PgConnection>,
}

/// Where a COPY writes to.
pub(crate) struct Destination<'a> {
    /// The table, quoted.
    pub(crate) qualified: &'a str,
    /// The table's own name, by which the server's messages speak of it.
    pub(crate) name: &'a str,
    /// The columns, quoted and joined.
    pub(crate) columns: &'a str,
}

impl CopyIn {
    /// Starts a COPY. An error of the statement itself shows in [`CopyIn::finish`].
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if a name holds a zero byte.
    pub(crate) fn begin(connection: PgConnection, to: &Destination<'_>, layout: Layout) -> Result<CopyIn> {
        let format = if layout.is_binary() { "binary" } else { "text" };
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT {format})", to.qualified, to.columns);
        no_zero_byte(&sql)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(connection, sql, to.name.to_owned(), receiver));
        let mut buffer = Vec::new();
        if layout.is_binary() {
            buffer.extend_from_slice(BINARY_HEADER);
        }
        Ok(CopyIn { sender, task, layout, buffer, rows: 0, left: None })
    }

    /// Returns how many rows were given so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns how rows are written.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds rows of a page, in order. With `ordinals` each row is led by its place, from 0.
    ///
    /// # Errors
    /// As [`Layout::write_row`]; an error with a row counts from the first row of this COPY.
    pub(crate) async fn write(&mut self, page: &Page, rows: Option<&[u32]>, ordinals: bool) -> Result<()> {
        if rows.is_none() && !ordinals && self.layout == Layout::Raw {
            self.flush().await?;
            self.rows += page.row_count() as u64;
            return self.send(Message::Page(page.clone())).await;
        }
        let all = if rows.is_none() { page.row_count() } else { 0 };
        for row in (0..all).chain(rows.unwrap_or_default().iter().map(|r| *r as usize)) {
            let ordinal = if ordinals {
                let place =
                    i32::try_from(self.rows).map_err(|_| Error::new(ErrorKind::Internal, "too many rows in one request"))?;
                Some(place)
            } else {
                None
            };
            self.layout.write_row(page, page.row(row), ordinal, &mut self.buffer).map_err(|e| match e.kind() {
                ErrorKind::RowRejected => e.with_row(self.rows),
                _ => e,
            })?;
            self.rows += 1;
            if self.buffer.len() >= CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK + CHUNK / 8));
        self.send(Message::Bytes(full)).await
    }

    async fn send(&mut self, message: Message) -> Result<()> {
        if self.sender.send(message).await.is_ok() {
            return Ok(());
        }
        // The task has ended before its time, and knows why.
        match (&mut self.task).await {
            Ok((connection, Err(error))) => {
                self.left = connection;
                Err(error)
            }
            Ok((_, Ok(_))) | Err(_) => Err(Error::new(ErrorKind::Internal, "a COPY ended before its rows")),
        }
    }

    /// Ends the COPY and returns its connection, where it is fit for use, with the server's number of rows.
    pub(crate) async fn finish(mut self) -> Ended {
        if self.layout.is_binary() {
            self.buffer.extend_from_slice(BINARY_TRAILER);
        }
        if let Err(error) = self.flush().await {
            return (self.left.take(), Err(error));
        }
        if let Err(error) = self.send(Message::Finish).await {
            return (self.left.take(), Err(error));
        }
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(_) => (None, Err(Error::new(ErrorKind::ConnectionLost, "a COPY's task was ended"))),
        }
    }
}

impl CopyIn {
    /// Ends the COPY without its rows and returns its connection, where it is fit for use. The transaction has failed with it.
    pub(crate) async fn abandon(mut self) -> Option<PgConnection> {
        if self.left.is_some() || self.sender.send(Message::Abandon).await.is_err() {
            return self.left.take();
        }
        match (&mut self.task).await {
            Ok((connection, _)) => connection,
            Err(_) => None,
        }
    }
}

impl Drop for CopyIn {
    fn drop(&mut self) {
        // A task that waits for the server would not notice that nobody listens any more.
        self.task.abort();
    }
}

async fn run(mut connection: PgConnection, sql: String, table: String, mut messages: mpsc::Receiver<Message>) -> Ended {
    match copy(&mut connection, &sql, &mut messages).await {
        Ok(rows) => (Some(connection), Ok(rows)),
        // The server said no and stands ready: its error was read to the end.
        Err(Ending::Refused(error)) => (Some(connection), Err(from_copy(error, &table))),
        Err(Ending::Broken(error)) => (None, Err(from_sqlx(error))),
        Err(Ending::Abandoned) => (Some(connection), Err(Error::new(ErrorKind::Cancelled, "a COPY was taken back"))),
        Err(Ending::GivenUp) => (None, Err(Error::new(ErrorKind::Cancelled, "a COPY was given up"))),
    }
}

enum Ending {
    Refused(sqlx::Error),
    Broken(sqlx::Error),
    /// The server has taken note.
    Abandoned,
    GivenUp,
}

impl Ending {
    fn of(error: sqlx::Error) -> Self {
        match error {
            error @ sqlx::Error::Database(_) => Ending::Refused(error),
            error => Ending::Broken(error),
        }
    }
}

async fn copy(
    connection: &mut PgConnection,
    sql: &str,
    messages: &mut mpsc::Receiver<Message>,
) -> std::result::Result<u64, Ending> {
    let mut copy = connection.copy_in_raw(sql).await.map_err(Ending::of)?;
    loop {
        let sent = match messages.recv().await {
            Some(Message::Bytes(bytes)) => send_in_chunks(&mut copy, &bytes).await,
            Some(Message::Page(page)) => send_in_chunks(&mut copy, page.data()).await,
            Some(Message::Finish) => break,
            Some(Message::Abandon) => {
                // Without a trailer, and before all of it is undone. To fail it would leave an answer unread if the server has
                // refused a row meanwhile.
                return Err(copy.finish().await.map_or_else(Ending::of, |_| Ending::Abandoned));
            }
            None => return Err(Ending::GivenUp),
        };
        // Whatever went wrong here, the COPY was not brought to its end.
        sent.map_err(Ending::Broken)?;
    }
    copy.finish().await.map_err(Ending::of)
}

async fn send_in_chunks(
    copy: &mut sqlx::postgres::PgCopyIn<&mut PgConnection>,
    data: &[u8],
) -> std::result::Result<(), sqlx::Error> {
    for chunk in data.chunks(CHUNK) {
        copy.send(chunk).await?;
    }
    Ok(())
}
