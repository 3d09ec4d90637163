//! The sources of all cases, made once.

use crate::database::{Folder, Server, copy_in, copy_out, ended, psql, run};
use crate::keyed::KEYED;
use crate::migrate::build;
use crate::remap::{self, FAMILY};
use crate::settings::Settings;
use crate::tree::{FLAT, Node, TREE, TREE_KEYS, nodes};
use crate::workload::{
    EVENTS_KEYS, EVENTS_POSTGRES, EVENTS_SQLITE, Event, Events, READINGS_KEYS, READINGS_POSTGRES, decimal, readings,
};
use crate::{Result, timestamp};
use rusqlite::{Connection, Statement, params};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the cases copy from and to.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) source: Server,
    pub(crate) target: Server,
    /// The wide table in SQLite.
    pub(crate) sqlite: PathBuf,
    /// The wide table as a binary COPY leaves it.
    pub(crate) copy_file: PathBuf,
    /// The released program.
    pub(crate) program: PathBuf,
    folder: Folder,
}

impl Sources {
    pub(crate) fn prepare(settings: &Settings) -> Result<Self> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => build()?,
        };
        let folder = Folder::new()?;
        eprintln!("starting two servers in {}", folder.path().display());
        let source = Server::start(&folder, "source")?;
        let target = Server::start(&folder, "target")?;
        let sqlite = folder.path().join("events.sqlite");
        let copy_file = folder.path().join("events.copy");
        let sources = Sources { source, target, sqlite, copy_file, program, folder };

        let needs = |table: &str| settings.cases().any(|c| c.table == table);
        if needs("events") {
            eprintln!("making {} events", settings.events);
            sources.source.fresh("events", EVENTS_POSTGRES)?;
            fill(&sources.source.url("events"), "events", Events::new(settings.events), Event::copy_line)?;
            run(&sources.source.url("events"), &[EVENTS_KEYS, "VACUUM (ANALYZE) events", "CHECKPOINT"])?;
            let mut copy = crate::database::psql(&sources.source.url("events"), &["COPY events TO STDOUT (FORMAT binary)"]);
            ended(copy.stdout(File::create(&sources.copy_file)?).spawn()?)?;
            fill_sqlite(&sources.sqlite, settings.events)?;
        }
        if needs("readings") {
            eprintln!("making {} readings", settings.readings);
            sources.source.fresh("readings", READINGS_POSTGRES)?;
            fill(&sources.source.url("readings"), "readings", readings(settings.readings), |row, line| row.copy_line(line))?;
            run(&sources.source.url("readings"), &[READINGS_KEYS, "VACUUM (ANALYZE) readings", "CHECKPOINT"])?;
        }
        for keyed in KEYED.iter().filter(|keyed| needs(keyed.name)) {
            eprintln!("making {} {}", settings.events, keyed.name);
            sources.source.fresh(keyed.name, keyed.table)?;
            let vacuum = format!("VACUUM (ANALYZE) {}", keyed.name);
            run(&sources.source.url(keyed.name), &[&keyed.fill(settings.events), keyed.key, &vacuum, "CHECKPOINT"])?;
        }
        if needs("tree") {
            eprintln!("making {} nodes", settings.tree);
            // As a table grows by its ids, and as somebody would copy it by hand: parents first.
            let parents_first = || nodes(settings.tree);
            let mut by_id: Vec<Node> = parents_first().collect();
            by_id.sort_by_key(|node| node.id);
            sources.source.fresh("tree", TREE)?;
            fill(&sources.source.url("tree"), "tree", by_id.into_iter(), |row, line| row.copy_line(line))?;
            sources.source.fresh("tree_parents_first", TREE)?;
            fill(&sources.source.url("tree_parents_first"), "tree", parents_first(), |row, line| row.copy_line(line))?;
            sources.source.fresh("flat", FLAT)?;
            let (reader, rows) = copy_out(&sources.source.url("tree"), "COPY (SELECT id, title FROM tree) TO STDOUT")?;
            ended(psql(&sources.source.url("flat"), &["COPY flat FROM STDIN"]).stdin(rows).spawn()?)?;
            ended(reader)?;
            run(&sources.source.url("tree"), &[TREE_KEYS, "VACUUM (ANALYZE) tree"])?;
            run(&sources.source.url("flat"), &["VACUUM (ANALYZE) flat", "CHECKPOINT"])?;
        }
        if needs("children") {
            eprintln!("making {} parents and their children", settings.parents);
            sources.source.fresh("children", FAMILY)?;
            let [parents, children] = remap::fill(settings.parents);
            run(&sources.source.url("children"), &[&parents, &children, "VACUUM (ANALYZE) parents, children", "CHECKPOINT"])?;
        }
        Ok(sources)
    }

    /// A folder for one copy's files, empty.
    pub(crate) fn work_folder(&self) -> Result<PathBuf> {
        let folder = self.folder.path().join("work");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir(&folder)?;
        Ok(folder)
    }
}

fn fill<R>(url: &str, table: &str, rows: impl Iterator<Item = R>, line: impl Fn(&R, &mut String)) -> Result<()> {
    let (child, pipe) = copy_in(url, &format!("COPY {table} FROM STDIN"))?;
    let mut pipe = BufWriter::with_capacity(1 << 20, pipe);
    let mut text = String::new();
    for row in rows {
        text.clear();
        line(&row, &mut text);
        pipe.write_all(text.as_bytes())?;
    }
    drop(pipe.into_inner().map_err(|e| e.into_error())?);
    ended(child)
}

fn fill_sqlite(path: &Path, count: u64) -> Result<()> {
    let mut connection = Connection::open(path)?;
    // Not timed: only the file counts.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144")?;
    connection.execute_batch(EVENTS_SQLITE)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare(INSERT)?;
        for event in Events::new(count) {
            insert_event(&mut insert, &event)?;
        }
    }
    transaction.commit()?;
    connection.execute_batch("PRAGMA journal_mode = DELETE; ANALYZE")?;
    Ok(())
}

/// Inserts a row into the wide table in SQLite.
pub(crate) const INSERT: &str = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Inserts one row with [`INSERT`], the moments as text.
pub(crate) fn insert_event(insert: &mut Statement<'_>, event: &Event) -> Result<()> {
    let (created, updated) = (timestamp::iso(event.created_at), timestamp::iso(event.updated_at));
    insert.execute(params![
        event.id,
        event.xmlid,
        event.user_id,
        event.project_id,
        event.kind,
        event.title,
        event.body,
        // Exact: the column's affinity makes the number that a user's program would have stored.
        decimal(event.cents),
        event.score,
        event.is_active,
        event.tags,
        event.meta,
        created,
        updated
    ])?;
    Ok(())
}
