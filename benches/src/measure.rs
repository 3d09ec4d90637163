//! Times a case: its limit and its copy in turn.

use crate::Result;
use crate::case::{After, Case, Engine, Target};
use crate::change;
use crate::compare;
use crate::database::query;
use crate::keyed::keyed;
use crate::limit::{self, Ready};
use crate::migrate::{self, Took};
use crate::remap::{self, NUMBERED};
use crate::report::Line;
use crate::sample::Sources;
use crate::settings::Settings;
use crate::tree::{TREE, TREE_KEYS};
use crate::workload::{EVENTS_KEYS, EVENTS_POSTGRES, EVENTS_SQLITE, Events, READINGS_KEYS, READINGS_POSTGRES};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
        if self.case.table == "children" {
            return self.kept_ids();
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

    /// Copies parents and children under the ids that they have.
    fn kept_ids(&self) -> Result<Duration> {
        let (sources, target) = (self.sources, &self.sources.target);
        target.fresh("children", NUMBERED)?;
        let job = migrate::write_job(&sources.work_folder()?, &sources.source.url("children"), &target.url("children"), &[])?;
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
        let mut job = migrate::write_job(&folder, &source, &target, if changed { &[change::SAVED] } else { &[] })?;
        if case.table == "children" {
            job = remap::give_ids(job)?;
        }
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
        let rows = match self.case.table {
            "children" => "(SELECT id FROM public.parents UNION ALL SELECT id FROM public.children) family".to_owned(),
            table => format!("public.{table}"),
        };
        let sql = format!("SELECT pg_table_size('migrate.ledger')::float8 / greatest(1, count(*)) FROM {rows}");
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
            (_, Engine::Postgres, "children") => {
                let (source, target) = (self.sources.source.url("children"), self.sources.target.url("children"));
                remap::same(&source, &target, self.settings.parents)
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
            "children" => (NUMBERED, ""),
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
