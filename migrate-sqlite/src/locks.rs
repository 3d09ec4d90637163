//! Who holds the locks of a database file, as far as the system tells.

use migrate_core::{Error, ErrorKind};
use std::path::Path;

/// Names the process that locks a database out of an error that says it is locked; other errors pass through.
pub(crate) fn name_holder(error: Error, path: &Path) -> Error {
    if error.kind() != ErrorKind::Busy {
        return error;
    }
    let holders = holders(path);
    let own = std::process::id();
    let others: Vec<u32> = holders.iter().copied().filter(|pid| *pid != own).collect();
    let error = error.with("file", path.display());
    match others.as_slice() {
        [] if holders.is_empty() => error,
        [] => error.with("held by", "another connection of this process"),
        others => error.with("held by", others.iter().map(|pid| describe(*pid)).collect::<Vec<_>>().join(" and ")),
    }
}

fn describe(pid: u32) -> String {
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(command) => format!("process {pid} ({})", command.trim()),
        Err(_) => format!("process {pid}"),
    }
}

/// The processes that hold a database's write lock, else those that hold any lock of it.
#[cfg(target_os = "linux")]
fn holders(path: &Path) -> Vec<u32> {
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else { return Vec::new() };
    let mut shared_memory = path.as_os_str().to_owned();
    shared_memory.push("-shm");
    // Bytes that SQLite locks: https://www.sqlite.org/fileformat2.html and the WAL index's lock bytes, of which 120 is the writer's.
    let file = locked_by(&locks, path, |first, last| first <= PENDING + 1 && last >= PENDING);
    let log = locked_by(&locks, Path::new(&shared_memory), |first, last| first <= WAL_WRITER && last >= WAL_WRITER);
    let writers: Vec<u32> = file.writers.into_iter().chain(log.writers).collect();
    if writers.is_empty() { file.all } else { writers }
}

#[cfg(not(target_os = "linux"))]
fn holders(_: &Path) -> Vec<u32> {
    Vec::new()
}

#[cfg(target_os = "linux")]
const PENDING: u64 = 0x4000_0000;
#[cfg(target_os = "linux")]
const WAL_WRITER: u64 = 120;

#[cfg(target_os = "linux")]
#[derive(Default)]
struct Holders {
    writers: Vec<u32>,
    all: Vec<u32>,
}

/// Reads lines like `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 1073741824 1073741825`.
#[cfg(target_os = "linux")]
fn locked_by(locks: &str, path: &Path, is_writer: impl Fn(u64, u64) -> bool) -> Holders {
    use std::os::unix::fs::MetadataExt;
    // The file is looked at, not opened: closing a descriptor would drop this process's own locks.
    let Ok(found) = std::fs::metadata(path) else { return Holders::default() };
    let (major, minor) = (found.dev() >> 8 & 0xfff | found.dev() >> 32 & !0xfff, found.dev() & 0xff | found.dev() >> 12 & !0xff);
    let identity = format!("{major:02x}:{minor:02x}:{}", found.ino());
    let mut holders = Holders::default();
    for line in locks.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, mode, pid, file, first, last] = fields.as_slice() else { continue };
        let (Ok(pid), Ok(first)) = (pid.parse::<u32>(), first.parse::<u64>()) else { continue };
        if *file != identity || pid == 0 || holders.all.contains(&pid) && *mode != "WRITE" {
            continue;
        }
        if *mode == "WRITE" && is_writer(first, last.parse().unwrap_or(u64::MAX)) && !holders.writers.contains(&pid) {
            holders.writers.push(pid);
        }
        if !holders.all.contains(&pid) {
            holders.all.push(pid);
        }
    }
    holders
}
