//! `init`: a file to start from.

use crate::args::Global;
use crate::failure::{DONE, Failure};
use crate::output;
use migrate_core::job::JobFile;
use migrate_core::{Error, ErrorKind};
use std::fs::OpenOptions;
use std::io::Write;

pub(super) fn init(global: &Global) -> Result<u8, Failure> {
    let path = &global.config;
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = created.map_err(|error| {
        let message = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "the file is there already and is left as it is",
            _ => "the file cannot be created",
        };
        Error::new(ErrorKind::Config, message).with("file", path.display()).caused_by(error)
    })?;
    file.write_all(JobFile::starter().as_bytes())
        .map_err(|error| Error::new(ErrorKind::Io, "the file cannot be written").with("file", path.display()).caused_by(error))?;
    if global.json {
        output::print_json(&serde_json::json!({ "file": path.display().to_string() }));
    } else {
        output::print_line(&format!("{} is written. Put your databases into it, then:", path.display()));
        output::print_line("  migrate check    reads both sides and says what would go wrong");
        output::print_line("  migrate plan     shows what a run would do");
        output::print_line("  migrate run      does it");
    }
    Ok(DONE)
}
