//! A page as a virtual table, so that one statement inserts all of its rows.
//!
//! Of an insert row by row, binding, stepping and resetting the statement are a fifth. Here SQLite fetches the cells itself, one row
//! after the other, and takes texts and blobs as they lie in the page.
#![allow(unsafe_code)]

use super::WriteJob;
use super::cells::{Cell, Cells};
use super::statement::Insert;
use migrate_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, ffi};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The table's name, which no table of a user bears.
const NAME: &CStr = c"migrate: the rows of a page";
const SQL_NAME: &str = "\"migrate: the rows of a page\"";

/// Inserts all rows of a job; none of them may fire a trigger, nor be checked for a parent.
///
/// # Errors
/// Those of the insert, with the row's place.
pub(super) fn insert(connection: &Connection, job: &WriteJob) -> Result<()> {
    let mut feed = Feed { job, cells: Cells::of(connection)?, rows: job.row_indexes().collect(), place: 0, error: None };
    let inserted = {
        let _module = Module::register(connection, &mut feed)?;
        let names = (0..job.columns.len()).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
        Insert::prepare(connection, &job.insert_sql("FAIL", &format!("SELECT {names} FROM {SQL_NAME}")))
            .and_then(|mut statement| statement.run())
    };
    if let Some(error) = feed.error {
        let error = if error.kind() == ErrorKind::RowRejected { error.with_row(feed.place as u64) } else { error };
        return Err(error.with("table", &job.target.name));
    }
    inserted.map_err(|error| job.refuse(connection, &feed.cells, feed.place, error))?;
    if feed.place != feed.rows.len() || connection.changes() != feed.rows.len() as u64 {
        return Err(Error::new(ErrorKind::Internal, "not all rows of a page were inserted").with("table", &job.target.name));
    }
    Ok(())
}

/// Where the virtual table takes its rows from.
struct Feed<'p> {
    job: &'p WriteJob,
    /// The row at `place`.
    cells: Cells<'p>,
    rows: Vec<usize>,
    place: usize,
    /// Why a row could not be fetched.
    error: Option<Error>,
}

impl Feed<'_> {
    /// Makes the row at the current place ready, if there is one.
    fn fetch(&mut self) -> c_int {
        let Some(row) = self.rows.get(self.place) else { return ffi::SQLITE_OK };
        let job = self.job;
        let fetched = catch_unwind(AssertUnwindSafe(|| job.read(&mut self.cells, *row)))
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a row could not be decoded")));
        match fetched {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => {
                self.error = Some(error);
                ffi::SQLITE_ERROR
            }
        }
    }
}

/// The module while it is registered; dropping it disconnects the table from the feed.
struct Module<'c> {
    connection: &'c Connection,
}

impl<'c> Module<'c> {
    fn register(connection: &'c Connection, feed: &mut Feed<'_>) -> Result<Self> {
        let feed: *mut Feed<'_> = feed;
        // SAFETY: the handle is live and this thread's. The feed is only reached through the module, which is taken away again, with
        // the table that was connected to it, before the borrow ends: `insert` drops the statement first and then the module.
        let code = unsafe {
            ffi::sqlite3_create_module_v2(connection.handle(), NAME.as_ptr(), &raw const MODULE, feed.cast::<c_void>(), None)
        };
        match code {
            ffi::SQLITE_OK => Ok(Module { connection }),
            code => Err(crate::error::from_code(code, None, "preparing to insert a page")),
        }
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: as above; a null module takes the one of this name away.
        unsafe {
            let handle = self.connection.handle();
            ffi::sqlite3_create_module_v2(handle, NAME.as_ptr(), std::ptr::null(), std::ptr::null_mut(), None);
        }
    }
}

/// A virtual table that can only be scanned from its first row to its last.
static MODULE: ffi::sqlite3_module = ffi::sqlite3_module {
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    // SAFETY: every other member is a number or an optional function, for which zero says none.
    ..unsafe { std::mem::MaybeUninit::<ffi::sqlite3_module>::zeroed().assume_init() }
};

#[repr(C)]
struct Table {
    base: ffi::sqlite3_vtab,
    feed: *mut Feed<'static>,
}

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    feed: *mut Feed<'static>,
}

unsafe extern "C" fn connect(
    handle: *mut ffi::sqlite3,
    feed: *mut c_void,
    _: c_int,
    _: *const *const c_char,
    table: *mut *mut ffi::sqlite3_vtab,
    _: *mut *mut c_char,
) -> c_int {
    let feed = feed.cast::<Feed<'static>>();
    // SAFETY: SQLite hands back what was registered, and the place for the table.
    unsafe {
        let width = (*feed).job.columns.len();
        let names = (0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
        let sql = format!("CREATE TABLE t ({names})\0");
        let code = ffi::sqlite3_declare_vtab(handle, sql.as_ptr().cast());
        if code == ffi::SQLITE_OK {
            *table = Box::into_raw(Box::new(Table { base: ffi::sqlite3_vtab::default(), feed })).cast();
        }
        code
    }
}

unsafe extern "C" fn best_index(_: *mut ffi::sqlite3_vtab, info: *mut ffi::sqlite3_index_info) -> c_int {
    // SAFETY: SQLite's own structure, valid during the call.
    unsafe { (*info).estimatedCost = 1.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn disconnect(table: *mut ffi::sqlite3_vtab) -> c_int {
    // SAFETY: made in `connect`, given back once.
    drop(unsafe { Box::from_raw(table.cast::<Table>()) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn open(table: *mut ffi::sqlite3_vtab, cursor: *mut *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: the table was made in `connect`.
    unsafe {
        let feed = (*table.cast::<Table>()).feed;
        *cursor = Box::into_raw(Box::new(Cursor { base: ffi::sqlite3_vtab_cursor::default(), feed })).cast();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made in `open`, given back once.
    drop(unsafe { Box::from_raw(cursor.cast::<Cursor>()) });
    ffi::SQLITE_OK
}

/// Returns the feed of a cursor.
///
/// # Safety
/// The cursor was made in `open`, and its module is registered.
#[inline]
unsafe fn feed<'a>(cursor: *mut ffi::sqlite3_vtab_cursor) -> &'a mut Feed<'static> {
    // SAFETY: the caller's promise; SQLite runs one call at a time, so that nothing else refers to the feed meanwhile.
    unsafe { &mut *(*cursor.cast::<Cursor>()).feed }
}

unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _: c_int,
    _: *const c_char,
    _: c_int,
    _: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: a cursor of ours.
    let feed = unsafe { feed(cursor) };
    feed.place = 0;
    feed.fetch()
}

unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of ours.
    let feed = unsafe { feed(cursor) };
    feed.place += 1;
    feed.fetch()
}

unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of ours.
    let feed = unsafe { feed(cursor) };
    c_int::from(feed.place >= feed.rows.len())
}

unsafe extern "C" fn column(cursor: *mut ffi::sqlite3_vtab_cursor, context: *mut ffi::sqlite3_context, place: c_int) -> c_int {
    // SAFETY: a cursor of ours. SQLITE_STATIC promises that the bytes stay until the row is inserted: they lie in the page or in the
    // cells, which change with the next row only. The start of an empty slice is never null, which SQLite would take for NULL.
    unsafe {
        let cells = &feed(cursor).cells;
        let Some(cell) = usize::try_from(place).ok().and_then(|place| cells.iter().as_slice().get(place)) else {
            return ffi::SQLITE_RANGE;
        };
        match cell {
            Cell::Null => ffi::sqlite3_result_null(context),
            Cell::Integer(value) => ffi::sqlite3_result_int64(context, *value),
            Cell::Real(value) => ffi::sqlite3_result_double(context, *value),
            Cell::Text(_) | Cell::Scratch(_) => {
                let bytes = cells.bytes(cell);
                let (utf8, length) = (ffi::SQLITE_UTF8 as u8, bytes.len() as u64);
                ffi::sqlite3_result_text64(context, bytes.as_ptr().cast(), length, ffi::SQLITE_STATIC(), utf8);
            }
            Cell::Blob(_) | Cell::Owned(_) => {
                let bytes = cells.bytes(cell);
                ffi::sqlite3_result_blob64(context, bytes.as_ptr().cast(), bytes.len() as u64, ffi::SQLITE_STATIC());
            }
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, rowid: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: a cursor of ours and a place for the answer.
    unsafe { *rowid = feed(cursor).place as i64 };
    ffi::SQLITE_OK
}
