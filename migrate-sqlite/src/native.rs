//! The few calls into SQLite that rusqlite does not offer.
#![allow(unsafe_code)]

use rusqlite::{Connection, ffi};
use std::ffi::c_void;

/// Returns whether some connection, of this process or another, is about to write (holds RESERVED or more on) the main database.
///
/// `false` where SQLite cannot tell. Never blocks and takes no lock.
pub(crate) fn writer_waits(connection: &Connection) -> bool {
    with_file(connection, |file, methods| {
        let check = methods.xCheckReservedLock?;
        let mut reserved = 0;
        // SAFETY: `file` is the open main database file of a live connection and `check` is its own method.
        let code = unsafe { check(file, &mut reserved) };
        (code == ffi::SQLITE_OK).then_some(reserved != 0)
    })
    .unwrap_or(false)
}

/// Reads the first 100 bytes of the main database file, through SQLite's own descriptor: opening and closing another one
/// would drop this process's locks on the file.
pub(crate) fn header(connection: &Connection) -> Option<[u8; 100]> {
    with_file(connection, |file, methods| {
        let read = methods.xRead?;
        let mut bytes = [0u8; 100];
        // SAFETY: as above; `bytes` is as long as the length given.
        let code = unsafe { read(file, bytes.as_mut_ptr().cast::<c_void>(), 100, 0) };
        // A short read fills the rest with zeros: an empty file is an empty database.
        (code == ffi::SQLITE_OK || code == ffi::SQLITE_IOERR_SHORT_READ).then_some(bytes)
    })
}

/// Has SQLite count no memory in this process: every allocation otherwise takes a lock for it, a twentieth of a bulk load.
///
/// A program may call this before it opens its first connection; later it changes nothing. Afterwards `sqlite3_memory_used` says 0 in the
/// whole process, which is why no adapter does it by itself. Returns whether it took effect.
pub fn without_memory_statistics() -> bool {
    // SAFETY: `sqlite3_config` refuses (SQLITE_MISUSE) once the library is initialised, and this option takes one integer. It must not run
    // at the same time as other calls into SQLite, which do not exist before the first connection.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0) == ffi::SQLITE_OK }
}

/// Returns the operating system's error number behind the connection's last failure.
pub(crate) fn system_errno(connection: &Connection) -> i32 {
    // SAFETY: the handle belongs to a live connection that this thread owns.
    unsafe { ffi::sqlite3_system_errno(connection.handle()) }
}

fn with_file<T>(
    connection: &Connection,
    use_file: impl FnOnce(*mut ffi::sqlite3_file, &ffi::sqlite3_io_methods) -> Option<T>,
) -> Option<T> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    // SAFETY: the handle belongs to a live connection that this thread owns; FILE_POINTER stores a `sqlite3_file*` where the last
    // argument points, which lives as long as the connection, and its methods table is never changed while it is open.
    unsafe {
        let out = (&raw mut file).cast::<c_void>();
        let code = ffi::sqlite3_file_control(connection.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, out);
        if code != ffi::SQLITE_OK || file.is_null() {
            return None;
        }
        let methods = (*file).pMethods.as_ref()?;
        use_file(file, methods)
    }
}
