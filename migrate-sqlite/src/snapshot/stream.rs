//! One open statement that is stepped page by page, one page ahead of the reader.

use super::copy::TemporaryCopy;
use super::query::{Numbers, Plan, READING, Shape};
use super::view::{Cancelled, View};
use super::{Command, PageJob};
use crate::codec;
use crate::error::SqliteContext;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::value::{Key, KeyRange, Page, PageBuilder, Value};
use rusqlite::Rows;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;

/// Bytes that a page may exceed its limit by while no key can be made of its last rows.
const SLACK: usize = 16 << 20;

/// What comes after a stream.
pub(super) enum Next {
    /// This command is to be carried out.
    Command(Command),
    /// Wait for a command.
    Idle,
    /// Nobody will send one.
    Closed,
}

/// What ends one statement of a stream.
enum End {
    Next(Next),
    /// The view is to read on from a copy.
    Copied(TemporaryCopy),
}

struct Stream {
    shape: Shape,
    /// What is left to read.
    range: KeyRange,
    up_to: Option<Key>,
    max_rows: usize,
    max_bytes: usize,
    /// Who waits for the next page.
    waiting: Option<(u64, oneshot::Sender<Result<Page>>)>,
    /// Where the last delivered page ended: the request that continues starts there.
    delivered: Option<Key>,
    /// The page that was read ahead.
    ahead: Option<Result<Page>>,
    /// Whether the last page was built.
    done: bool,
    /// Whether nothing is read ahead: a huge row is not joined by another one before that is asked for.
    pause: bool,
    /// The size of the last page, to reserve as much for the next.
    size: usize,
}

/// Serves page requests from one stream until a request comes that does not continue it.
///
/// A request that was given up may have taken a page with it: the next one then starts before the stream's place, so it does not
/// continue it and a new stream starts there.
pub(super) fn serve(view: &mut View, job: PageJob, inbox: &Receiver<Command>) -> Next {
    let mut stream = Stream {
        shape: job.shape,
        up_to: job.range.up_to.clone(),
        range: job.range,
        max_rows: job.max_rows,
        max_bytes: job.max_bytes,
        waiting: Some((job.number, job.reply)),
        delivered: None,
        ahead: None,
        done: false,
        pause: false,
        size: 0,
    };
    loop {
        match stream.run(view, inbox) {
            Ok(End::Next(next)) => return next,
            Ok(End::Copied(copied)) => {
                if let Err(error) = view.replace(copied) {
                    stream.take(Err(error));
                }
            }
            // Told to whoever asks for the next page.
            Err(error) => stream.take(Err(error)),
        }
    }
}

impl Stream {
    /// Steps one statement until the stream ends or the view moves to a copy.
    fn run(&mut self, view: &View, inbox: &Receiver<Command>) -> Result<End> {
        if self.done {
            return Ok(self.serve_pages(view, inbox, None));
        }
        self.begin(view);
        let plan = Plan::new(view.connection(), &self.shape, &self.range)?;
        let mut statement = plan.prepare(view.connection(), &self.shape)?;
        let mut open = Open { rows: statement.raw_query(), numbers: plan.numbers, tells_beyond: plan.tells_beyond };
        Ok(self.serve_pages(view, inbox, Some(&mut open)))
    }

    fn serve_pages(&mut self, view: &View, inbox: &Receiver<Command>, mut open: Option<&mut Open<'_>>) -> End {
        loop {
            if self.ahead.is_none()
                && !self.done
                && !self.pause
                && let Some(open) = open.as_deref_mut()
            {
                if let Some(copied) = view.relief() {
                    return End::Copied(copied);
                }
                self.begin(view);
                let built = view.checked(self.build(open));
                self.take(built);
            }
            if let Some(page) = self.ahead.take_if(|_| self.waiting.is_some()) {
                let last = self.done;
                if let Ok(page) = &page {
                    self.delivered.clone_from(&page.next);
                    self.pause = page.data().len() > self.max_bytes.saturating_mul(2);
                }
                if let Some((_, reply)) = self.waiting.take() {
                    // Nobody to tell means that the caller has gone away.
                    let _ = reply.send(page);
                }
                if last {
                    return End::Next(Next::Idle);
                }
            }
            if self.ahead.is_none() && !self.pause {
                continue;
            }
            let received = match view.patience() {
                Some(patience) => inbox.recv_timeout(patience),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(Command::Page(job)) if self.continues(&job) => {
                    self.pause = false;
                    self.waiting = Some((job.number, job.reply));
                }
                Ok(other) => return End::Next(Next::Command(other)),
                Err(RecvTimeoutError::Disconnected) => return End::Next(Next::Closed),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(copied) = view.relief() {
                        return End::Copied(copied);
                    }
                }
            }
        }
    }

    /// Whether a request goes on where the last delivered page ended.
    fn continues(&self, job: &PageJob) -> bool {
        self.delivered.is_some()
            && job.range.after == self.delivered
            && job.range.up_to == self.up_to
            && (job.max_rows, job.max_bytes) == (self.max_rows, self.max_bytes)
            && job.shape == self.shape
    }

    /// Says for whom the next statements run, so that they stop when he goes.
    fn begin(&self, view: &View) {
        view.cancelled().begin(self.waiting.as_ref().map_or(Cancelled::AHEAD, |(number, _)| *number));
    }

    /// Keeps a page, or an error, for whoever asks next.
    fn take(&mut self, built: Result<Page>) {
        match &built {
            Ok(page) => {
                self.size = page.data().len();
                self.done = page.next.is_none();
                if page.next.is_some() {
                    self.range.after.clone_from(&page.next);
                }
            }
            Err(_) => self.done = true,
        }
        self.ahead = Some(built);
    }

    fn build(&self, open: &mut Open<'_>) -> Result<Page> {
        let capacity = (self.size + self.size / 8).min(self.max_bytes.saturating_mul(2));
        let mut page = PageBuilder::new(self.shape.columns.clone(), codec::ENCODING).with_capacity(capacity);
        let width = self.shape.columns.len();
        let mut rowid = 0;
        loop {
            if (page.bytes() >= self.max_bytes || page.row_count() >= self.max_rows) && page.row_count() > 0 {
                match self.last_key(&page, rowid, open) {
                    Some(key) => return Ok(page.finish(Some(key))),
                    None if page.bytes() > self.max_bytes.saturating_add(SLACK) => {
                        let message = "the keys of many rows in a row are text that is not valid UTF-8";
                        return Err(Error::new(ErrorKind::Schema, message).with("table", &self.shape.table));
                    }
                    None => {}
                }
            }
            let Some(row) = open.rows.next().during(READING)? else { return Ok(page.finish(None)) };
            if open.tells_beyond && row.get::<_, bool>(width).during(READING)? {
                return Ok(page.finish(None));
            }
            page.begin_row();
            for i in 0..width {
                codec::push(&mut page, row.get_ref(i).during(READING)?)?;
            }
            page.end_row();
            match &mut open.numbers {
                Numbers::Key => {}
                Numbers::RowId => rowid = row.get(width).during(READING)?,
                Numbers::Count(count) => *count += 1,
            }
        }
    }

    /// Makes the key of the last row; `None` if its text is no UTF-8, so that the page had better end elsewhere.
    fn last_key(&self, page: &PageBuilder, rowid: i64, open: &Open<'_>) -> Option<Key> {
        match open.numbers {
            Numbers::RowId => Some(Key::from_values([&Value::Int(rowid)])),
            Numbers::Count(count) => Some(Key::from_values([&Value::Int(count)])),
            Numbers::Key => {
                let row = page.row(page.row_count() - 1);
                let values = self.shape.key.iter().map(|k| row.value(k.place)).collect::<Result<Vec<_>>>().ok()?;
                Some(Key::from_values(&values))
            }
        }
    }
}

/// A statement being stepped.
struct Open<'s> {
    rows: Rows<'s>,
    numbers: Numbers,
    tells_beyond: bool,
}
