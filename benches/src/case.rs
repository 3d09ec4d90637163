//! The cases: a limit and a copy each, timed in turn.

use crate::Result;
use crate::change;
use crate::compare;
use crate::database::query;
use crate::keyed::keyed;
use crate::limit::{self, Ready};
use crate::migrate::{self, Took};
use crate::report::Line;
use crate::sample::Sources;
use crate::settings::Settings;
use crate::tree::{TREE, TREE_KEYS};
use crate::workload::{EVENTS_KEYS, EVENTS_POSTGRES, EVENTS_SQLITE, Events, READINGS_KEYS, READINGS_POSTGRES};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is copied, in words.
    pub(crate) title: &'static str,
    /// The limit, in words.
    pub(crate) limit: &'static str,
    /// The most that the copy may take, in terms of the limit.
    pub(crate) bound: f64,
    pub(crate) table: &'static str,
    from: Engine,
    to: Engine,
    target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Postgres,
    Sqlite,
}

/// How the target is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Without the table.
    New,
    /// The same, and every row is read back before its commit.
    NewInline,
    /// With the table and its indexes, without rows.
    Existing,
    /// As a first run left it; what is timed comes after that.
    Copied(After),
}

/// What is timed after a first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct After {
    /// The command and what follows it.
    command: &'static [&'static str],
    /// That of the first run.
    first: &'static [&'static str],
    /// Whether 0.1 % of the source's rows are updated, 0.05 % inserted and 0.05 % deleted in between.
    changed: bool,
    /// What the source is given in between, and what takes that away again.
    given: Option<(&'static str, &'static str)>,
}

const fn after(command: &'static [&'static str], changed: bool) -> Target {
    Target::Copied(After { command, first: &["run"], changed, given: None })
}

const FULL: &[&str] = &["run", "--strategy", "full", "--max-deletes", "1%"];
const LEDGER: &[&str] = &["run", "--strategy", "ledger", "--max-deletes", "1%"];
const CURSOR: &[&str] = &["run", "--strategy", "cursor"];
const CURSOR_INDEX: (&str, &str) =
    ("CREATE INDEX events_updated_at ON events (updated_at); ANALYZE events", "DROP INDEX events_updated_at");
const AUTO: &[&str] = &["run", "--max-deletes", "1%"];

const PIPE: &str = "binary COPY pipe, keys in place";

/// All cases, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "postgres-postgres-new",
        title: "PostgreSQL → PostgreSQL, target created",
        limit: PIPE,
        bound: 0.85,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "postgres-postgres-inline",
        title: "PostgreSQL → PostgreSQL, target created, verify = \"inline\"",
        limit: PIPE,
        // 1.5 times the copy that is not read back.
        bound: 1.275,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::NewInline,
    },
    Case {
        name: "postgres-postgres-existing",
        title: "PostgreSQL → PostgreSQL, existing empty table with its indexes",
        limit: PIPE,
        bound: 1.10,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Existing,
    },
    Case {
        name: "sqlite-postgres-new",
        title: "SQLite → PostgreSQL, target created",
        limit: "binary COPY FROM a ready file, keys in place",
        bound: 0.95,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "sqlite-postgres-existing",
        title: "SQLite → PostgreSQL, existing empty table with its indexes",
        limit: "binary COPY FROM a ready file, keys in place",
        bound: 1.15,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Postgres,
        target: Target::Existing,
    },
    Case {
        name: "postgres-sqlite-new",
        title: "PostgreSQL → SQLite, target created",
        limit: "prepared INSERT loop from memory, one transaction",
        bound: 1.30,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Sqlite,
        target: Target::New,
    },
    Case {
        name: "postgres-sqlite-existing",
        title: "PostgreSQL → SQLite, existing empty table with its indexes",
        limit: "prepared INSERT loop from memory, one transaction",
        bound: 1.80,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Sqlite,
        target: Target::Existing,
    },
    Case {
        name: "sqlite-sqlite",
        title: "SQLite → SQLite, target created",
        limit: "ATTACH + INSERT … SELECT",
        bound: 2.0,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Sqlite,
        target: Target::New,
    },
    Case {
        name: "readings",
        title: "narrow readings, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "readings",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run",
        title: "second run of the first case, nothing changed, all rows compared",
        limit: PIPE,
        bound: 0.45,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "second-run-auto",
        title: "the same, by what PostgreSQL knows to have changed",
        limit: PIPE,
        bound: 0.15,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(AUTO, false),
    },
    Case {
        name: "second-run-ledger",
        title: "the same, by digests that PostgreSQL computes of its rows",
        limit: PIPE,
        bound: 0.35,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Copied(After { command: LEDGER, first: LEDGER, changed: false, given: None }),
    },
    Case {
        name: "second-run-cursor",
        title: "the same, by a column with an index that is trusted to tell what has changed",
        limit: PIPE,
        bound: 0.05,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Copied(After { command: CURSOR, first: CURSOR, changed: false, given: Some(CURSOR_INDEX) }),
    },
    Case {
        name: "changed",
        title: "0.1 % updated, 0.05 % inserted, 0.05 % deleted, all rows compared",
        limit: PIPE,
        bound: 0.50,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, true),
    },
    Case {
        name: "changed-auto",
        title: "the same, by what PostgreSQL knows to have changed",
        limit: PIPE,
        bound: 0.22,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(AUTO, true),
    },
    Case {
        name: "plan-changed-auto",
        title: "plan of the same",
        limit: PIPE,
        bound: 0.22,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(&["plan"], true),
    },
    Case {
        name: "verify",
        title: "verify of both sides",
        limit: PIPE,
        bound: 0.65,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(&["verify"], false),
    },
    Case {
        name: "second-run-sqlite-postgres",
        title: "SQLite → PostgreSQL, nothing changed",
        limit: PIPE,
        bound: 0.35,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Postgres,
        target: after(AUTO, false),
    },
    Case {
        name: "second-run-postgres-sqlite",
        title: "PostgreSQL → SQLite, nothing changed",
        limit: PIPE,
        bound: 0.35,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Sqlite,
        target: after(AUTO, false),
    },
    Case {
        name: "text-keys",
        title: "rows with text keys, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "text_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run-text-keys",
        title: "second run of the same, nothing changed, all rows compared",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.45,
        table: "text_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "uuid-keys",
        title: "rows with uuid keys, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "uuid_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run-uuid-keys",
        title: "second run of the same, nothing changed, all rows compared",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.45,
        table: "uuid_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "composite-keys",
        title: "rows with keys of two columns, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "composite_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run-composite-keys",
        title: "second run of the same, nothing changed, all rows compared",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.45,
        table: "composite_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "tree-new",
        title: "rows that refer to one another in a random tree, target created",
        limit: "our own copy of the same rows without the reference",
        bound: 3.0,
        table: "tree",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "tree-existing",
        title: "the same, existing empty table with its reference live",
        limit: "binary COPY pipe, parents first, keys and reference in place",
        bound: 1.20,
        table: "tree",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Existing,
    },
];

/// Times a case's limit and copy in turn, as often as the settings say, and compares every result.
pub(crate) fn measure(case: &'static Case, sources: &Sources, settings: &Settings) -> Result<Line> {
    eprintln!("{}", case.name);
    let run = Run { case, sources, settings };
    let loops = case.to == Engine::Sqlite && case.from == Engine::Postgres && !matches!(case.target, Target::Copied(_));
    let ready = if loops { Some(Ready::new(Events::new(settings.events))) } else { None };
    let mut line = Line { case, limits: Vec::new(), ours: Vec::new(), peak: 0, ledger: None };
    for pair in 1..=settings.pairs {
        let limit = run.limit(ready.as_ref())?;
        let ours = run.ours()?;
        eprintln!(
            "  pair {pair}: limit {:.2} s, ours {:.2} s, {:.1} MiB",
            limit.as_secs_f64(),
            ours.took.time.as_secs_f64(),
            ours.took.peak as f64 / 1024.0
        );
        line.limits.push(limit);
        line.ours.push(ours.took.time);
        line.peak = line.peak.max(ours.took.peak);
        line.ledger = ours.ledger.or(line.ledger);
    }
    Ok(line)
}

/// What a copy took.
struct Measured {
    took: Took,
    /// Bytes of the target's ledger for each row, where it was asked for.
    ledger: Option<f64>,
}

struct Run<'a> {
    case: &'a Case,
    sources: &'a Sources,
    settings: &'a Settings,
}

impl Run<'_> {
    fn limit(&self, ready: Option<&Ready>) -> Result<Duration> {
        if matches!(self.case.target, Target::Copied(_)) {
            let (table, keys) = self.ddl();
            self.sources.target.fresh(self.case.table, &format!("{table}; {keys}"))?;
            return limit::copy_pipe(self.sources, self.case.table);
        }
        if self.case.table == "tree" {
            return self.tree_limit();
        }
        match (self.case.from, self.case.to) {
            (_, Engine::Postgres) => {
                let (table, keys) = self.ddl();
                self.sources.target.fresh(self.case.table, &format!("{table}; {keys}"))?;
                match self.case.from {
                    Engine::Postgres => limit::copy_pipe(self.sources, self.case.table),
                    Engine::Sqlite => limit::copy_file(self.sources),
                }
            }
            (from, Engine::Sqlite) => {
                let file = fresh_file(&self.sources.work_folder()?, true)?;
                match (from, ready) {
                    (Engine::Postgres, Some(ready)) => limit::insert_loop(&file, ready),
                    _ => limit::attach(&self.sources.sqlite, &file),
                }
            }
        }
    }

    fn tree_limit(&self) -> Result<Duration> {
        let (sources, target) = (self.sources, &self.sources.target);
        if self.case.target == Target::Existing {
            target.fresh("tree", &format!("{TREE}; {TREE_KEYS}"))?;
            return limit::copy_pipe_from(sources, "tree_parents_first", "tree");
        }
        target.fresh("flat", "")?;
        let job = migrate::write_job(&sources.work_folder()?, &sources.source.url("flat"), &target.url("flat"), &[])?;
        Ok(migrate::run(&sources.program, &["run"], &job)?.time)
    }

    fn ours(&self) -> Result<Measured> {
        let (case, sources) = (self.case, self.sources);
        let folder = sources.work_folder()?;
        let source = match case.from {
            Engine::Postgres => sources.source.url(case.table),
            Engine::Sqlite => format!("sqlite:{}", sources.sqlite.display()),
        };
        let existing = case.target == Target::Existing;
        let target = match case.to {
            Engine::Postgres => {
                let (table, keys) = self.ddl();
                sources.target.fresh(case.table, &if existing { format!("{table}; {keys}") } else { String::new() })?;
                sources.target.url(case.table)
            }
            Engine::Sqlite => format!("sqlite:{}", fresh_file(&folder, existing)?.display()),
        };
        let changed = matches!(case.target, Target::Copied(After { changed: true, .. }));
        if changed {
            crate::database::run(&source, change::SAVE)?;
        }
        let job = migrate::write_job(&folder, &source, &target, if changed { &[change::SAVED] } else { &[] })?;
        let command: &[&str] = match case.target {
            Target::Copied(after) => after.first,
            Target::NewInline => &["run", "--verify=inline"],
            Target::New | Target::Existing => &["run"],
        };
        let first = migrate::run(&sources.program, command, &job)?;
        let ledger = if case.to == Engine::Postgres { Some(self.ledger()?) } else { None };
        let Target::Copied(after) = case.target else {
            self.compare(&folder)?;
            return Ok(Measured { took: first, ledger });
        };
        crate::database::run(&sources.target.url("postgres"), &["CHECKPOINT"])?;
        if after.changed {
            crate::database::run(&sources.source.url(case.table), change::CHANGE)?;
        }
        if let Some((give, _)) = after.given {
            crate::database::run(&sources.source.url(case.table), &[give])?;
        }
        let took = migrate::run(&sources.program, after.command, &job);
        if let Some((_, take)) = after.given {
            crate::database::run(&sources.source.url(case.table), &[take])?;
        }
        let same = if after.changed && after.command[0] == "run" {
            compare::same_in_postgres(&sources.source.url(case.table), &sources.target.url(case.table), case.table)
        } else {
            Ok(())
        };
        if after.changed {
            crate::database::run(&sources.source.url(case.table), change::UNDO)?;
        } else {
            self.compare(&folder)?;
        }
        same?;
        let took = took?;
        Ok(Measured { took: Took { peak: took.peak.max(first.peak), ..took }, ledger })
    }

    /// How many bytes the target keeps in its ledger for each row.
    fn ledger(&self) -> Result<f64> {
        let url = self.sources.target.url(self.case.table);
        let sql =
            format!("SELECT pg_table_size('migrate.ledger')::float8 / greatest(1, count(*)) FROM public.{}", self.case.table);
        Ok(query(&url, &sql)?.trim().parse()?)
    }

    fn compare(&self, folder: &Path) -> Result<()> {
        let file = folder.join("target.sqlite");
        match (self.case.from, self.case.to, self.case.table) {
            (_, Engine::Postgres, "readings") => {
                compare::readings_in_postgres(&self.sources.target.url("readings"), self.settings.readings)
            }
            (_, Engine::Postgres, "tree") => {
                let (source, target) = (self.sources.source.url("tree"), self.sources.target.url("tree"));
                compare::tree_in_postgres(&source, &target, self.settings.tree)
            }
            (_, Engine::Postgres, table) if keyed(table).is_some() => {
                compare::same_in_postgres(&self.sources.source.url(table), &self.sources.target.url(table), table)
            }
            (_, Engine::Postgres, table) => compare::events_in_postgres(&self.sources.target.url(table), self.settings.events),
            (Engine::Postgres, Engine::Sqlite, _) => compare::events_in_sqlite(&file, self.settings.events),
            (Engine::Sqlite, Engine::Sqlite, _) => {
                compare::events_in_sqlite(&file, self.settings.events)?;
                compare::same_in_sqlite(&self.sources.sqlite, &file, self.settings.events)
            }
        }
    }

    fn ddl(&self) -> (&'static str, &'static str) {
        if let Some(keyed) = keyed(self.case.table) {
            return (keyed.table, keyed.key);
        }
        match self.case.table {
            "readings" => (READINGS_POSTGRES, READINGS_KEYS),
            "tree" => (TREE, TREE_KEYS),
            _ => (EVENTS_POSTGRES, EVENTS_KEYS),
        }
    }
}

/// Names the target file, and makes it where the table must exist. What an earlier run left to be written is written first.
fn fresh_file(folder: &Path, with_table: bool) -> Result<PathBuf> {
    let path = folder.join("target.sqlite");
    if with_table {
        Connection::open(&path)?.execute_batch(EVENTS_SQLITE)?;
    }
    // Best effort, and the same for both sides: a machine without `sync` only measures with more noise.
    let _ = std::process::Command::new("sync").status();
    Ok(path)
}
