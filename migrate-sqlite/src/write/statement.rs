//! A prepared insert that binds borrowed bytes without copying them.
//!
//! rusqlite binds every text and blob as a copy that SQLite allocates and frees: for rows of ten texts that is a fifth of the
//! whole insert. Here bytes are bound as they lie in the page, and unbound before the borrow ends.
#![allow(unsafe_code)]

use super::cells::{Cell, Cells};
use crate::error::from_code;
use migrate_core::Result;
use rusqlite::{Connection, ffi};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;

/// A prepared statement that takes one row of cells a time and returns nothing.
#[derive(Debug)]
pub(super) struct Insert<'c> {
    handle: *mut ffi::sqlite3,
    statement: *mut ffi::sqlite3_stmt,
    connection: PhantomData<&'c Connection>,
}

impl<'c> Insert<'c> {
    pub(super) fn prepare(connection: &'c Connection, sql: &str) -> Result<Self> {
        let length = c_int::try_from(sql.len()).map_err(|_| from_code(ffi::SQLITE_TOOBIG, None, "preparing an insert"))?;
        let mut statement = std::ptr::null_mut();
        // SAFETY: the handle belongs to a live connection that this thread owns and outlives `'c`; the text is as long as said.
        let (handle, code) = unsafe {
            let handle = connection.handle();
            let flags = ffi::SQLITE_PREPARE_PERSISTENT;
            let code =
                ffi::sqlite3_prepare_v3(handle, sql.as_ptr().cast(), length, flags, &raw mut statement, std::ptr::null_mut());
            (handle, code)
        };
        let prepared = Insert { handle, statement, connection: PhantomData };
        if code == ffi::SQLITE_OK { Ok(prepared) } else { Err(prepared.error(code)) }
    }

    /// Inserts what the statement itself selects.
    pub(super) fn run(&mut self) -> Result<()> {
        // SAFETY: the statement is live.
        let result = match unsafe { ffi::sqlite3_step(self.statement) } {
            ffi::SQLITE_DONE => Ok(()),
            code => Err(self.error(code)),
        };
        // SAFETY: the statement is live.
        unsafe { ffi::sqlite3_reset(self.statement) };
        result
    }

    /// Inserts one row.
    #[inline]
    pub(super) fn execute(&mut self, cells: &Cells<'_>) -> Result<()> {
        let code = self.bind(cells).and_then(|()| {
            // SAFETY: the statement is live and its bytes are bound until the reset below.
            match unsafe { ffi::sqlite3_step(self.statement) } {
                ffi::SQLITE_DONE | ffi::SQLITE_ROW => Ok(()),
                code => Err(code),
            }
        });
        // The message is read before the reset, which may replace it.
        let result = code.map_err(|code| self.error(code));
        // SAFETY: the statement is live. Until here the cells were borrowed; from here on the statement may still hold their
        // addresses as parameters, but it reads them in a step only, and every step is preceded by binding all of them anew.
        unsafe { ffi::sqlite3_reset(self.statement) };
        result
    }

    #[inline]
    fn bind(&mut self, cells: &Cells<'_>) -> Result<(), c_int> {
        for (place, cell) in (1..).zip(cells.iter()) {
            // SAFETY: the statement is live and reset. SQLITE_STATIC promises that the bytes stay until they are bound anew or the
            // statement is reset: `cells` is borrowed for the whole of `execute`, which resets it. The start of an empty slice is
            // never null, which SQLite would take for NULL.
            let code = unsafe {
                match cell {
                    Cell::Null => ffi::sqlite3_bind_null(self.statement, place),
                    Cell::Integer(value) => ffi::sqlite3_bind_int64(self.statement, place, *value),
                    Cell::Real(value) => ffi::sqlite3_bind_double(self.statement, place, *value),
                    Cell::Text(_) | Cell::Scratch(_) => {
                        let bytes = cells.bytes(cell);
                        let (utf8, length) = (ffi::SQLITE_UTF8 as u8, bytes.len() as u64);
                        ffi::sqlite3_bind_text64(self.statement, place, bytes.as_ptr().cast(), length, ffi::SQLITE_STATIC(), utf8)
                    }
                    Cell::Blob(_) | Cell::Owned(_) => {
                        let bytes = cells.bytes(cell);
                        let length = bytes.len() as u64;
                        ffi::sqlite3_bind_blob64(self.statement, place, bytes.as_ptr().cast(), length, ffi::SQLITE_STATIC())
                    }
                }
            };
            if code != ffi::SQLITE_OK {
                return Err(code);
            }
        }
        Ok(())
    }

    fn error(&self, code: c_int) -> migrate_core::Error {
        // SAFETY: the handle is live; the message is copied before any other call on the connection.
        let (extended, message) = unsafe {
            let message = ffi::sqlite3_errmsg(self.handle);
            let message = if message.is_null() { None } else { CStr::from_ptr(message).to_str().ok().map(str::to_owned) };
            (ffi::sqlite3_extended_errcode(self.handle), message)
        };
        // A bind that fails for its size does not always set the connection's code.
        let extended = if extended & 0xff == code & 0xff { extended } else { code };
        from_code(extended, message.as_deref(), "inserting a row")
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: finalised once; a null statement is allowed.
        unsafe { ffi::sqlite3_finalize(self.statement) };
    }
}
