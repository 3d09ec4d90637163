//! The physical limits: the same rows moved by the engines' own means, with nothing in between.

use crate::Result;
use crate::database::{copy_out, ended, psql};
use crate::sample::{INSERT, Sources};
use crate::workload::Event;
use rusqlite::{Connection, params};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Binary `COPY | COPY` through two `psql`, into a table that has its keys.
pub(crate) fn copy_pipe(sources: &Sources, table: &str) -> Result<Duration> {
    copy_pipe_from(sources, table, table)
}

/// The same from another database of the source, which holds the table in the order in which it is to be copied.
pub(crate) fn copy_pipe_from(sources: &Sources, database: &str, table: &str) -> Result<Duration> {
    let began = Instant::now();
    let (reader, rows) = copy_out(&sources.source.url(database), &format!("COPY {table} TO STDOUT (FORMAT binary)"))?;
    let write = format!("COPY {table} FROM STDIN (FORMAT binary)");
    let writer = psql(&sources.target.url(table), &[&write]).stdin(Stdio::from(rows)).spawn()?;
    ended(reader)?;
    ended(writer)?;
    Ok(began.elapsed())
}

/// Binary `COPY FROM` of a ready file, into a table that has its keys.
pub(crate) fn copy_file(sources: &Sources) -> Result<Duration> {
    let began = Instant::now();
    let file = File::open(&sources.copy_file)?;
    let write = "COPY events FROM STDIN (FORMAT binary)";
    ended(psql(&sources.target.url("events"), &[write]).stdin(Stdio::from(file)).spawn()?)?;
    Ok(began.elapsed())
}

/// Rows as they lie in memory before the loop: nothing is left to be made while it runs.
#[derive(Debug)]
pub(crate) struct Ready(Vec<(Event, String, String, String)>);

impl Ready {
    pub(crate) fn new(events: impl Iterator<Item = Event>) -> Self {
        let ready = events.map(|e| {
            let (amount, created, updated) =
                (crate::workload::decimal(e.cents), crate::timestamp::iso(e.created_at), crate::timestamp::iso(e.updated_at));
            (e, amount, created, updated)
        });
        Ready(ready.collect())
    }
}

/// A prepared `INSERT` in a loop, in one transaction with the file's default settings, into a table that has its indexes.
pub(crate) fn insert_loop(path: &Path, ready: &Ready) -> Result<Duration> {
    let began = Instant::now();
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare(INSERT)?;
        for (e, amount, created, updated) in &ready.0 {
            insert.execute(params![
                e.id,
                e.xmlid,
                e.user_id,
                e.project_id,
                e.kind,
                e.title,
                e.body,
                amount,
                e.score,
                e.is_active,
                e.tags,
                e.meta,
                created,
                updated
            ])?;
        }
    }
    transaction.commit()?;
    connection.close().map_err(|(_, e)| e)?;
    Ok(began.elapsed())
}

/// `ATTACH` and `INSERT … SELECT`, into a table that has its indexes.
pub(crate) fn attach(source: &Path, path: &Path) -> Result<Duration> {
    let began = Instant::now();
    let connection = Connection::open(path)?;
    connection.execute("ATTACH ? AS source", [source.to_str().ok_or("a path is not UTF-8")?])?;
    connection.execute("INSERT INTO main.events SELECT * FROM source.events", [])?;
    connection.close().map_err(|(_, e)| e)?;
    Ok(began.elapsed())
}
