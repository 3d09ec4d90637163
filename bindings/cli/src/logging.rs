//! Logs, on standard error and into a file.

use crate::args::{Global, LogFormat};
use crate::failure::Failure;
use indicatif::MultiProgress;
use migrate_core::job::{Event, ExecutionState, Level, Observer};
use migrate_core::{Error, ErrorKind};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts to log. With `bars`, lines step aside for them, and what the bars show is not said again.
pub(crate) fn start(global: &Global, bars: Option<&MultiProgress>) -> Result<(), Failure> {
    let more = match global.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let shown = if bars.is_some() && global.verbose == 0 { LevelFilter::WARN } else { more };
    let file = match &global.log_file {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(file.map_err(|error| {
                Error::new(ErrorKind::Config, "the log file cannot be written").with("file", path.display()).caused_by(error)
            })?)
        }
        None => None,
    };
    let screen = layer(global.log_format, Screen(bars.cloned()), shown);
    let file = file.map(|file| layer(global.log_format, LogFile(Arc::new(file)), more));
    // Only the first call of a process counts; there is no second.
    let _ = tracing_subscriber::registry().with(vec![Some(screen), file]).try_init();
    Ok(())
}

fn layer<W>(format: LogFormat, writer: W, level: LevelFilter) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Only this project's own logs: drivers may print what they send, and that is rows.
    let own = Targets::new().with_target("migrate", level);
    match format {
        LogFormat::Human => {
            tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(writer).with_filter(own).boxed()
        }
        LogFormat::Json => {
            let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_ansi(false).with_target(false);
            json.with_writer(writer).with_filter(own).boxed()
        }
    }
}

/// Standard error, around the bars.
struct Screen(Option<MultiProgress>);

impl<'w> MakeWriter<'w> for Screen {
    type Writer = ScreenLine;

    fn make_writer(&'w self) -> ScreenLine {
        ScreenLine(self.0.clone())
    }
}

struct ScreenLine(Option<MultiProgress>);

impl Write for ScreenLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bars) => bars.suspend(|| io::stderr().write_all(line))?,
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A file that is appended to; each line is one write, so that several processes can share it.
struct LogFile(Arc<File>);

impl<'w> MakeWriter<'w> for LogFile {
    type Writer = Arc<File>;

    fn make_writer(&'w self) -> Arc<File> {
        self.0.clone()
    }
}

/// A count that is worth a word.
fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

/// Logs what a run tells.
#[derive(Debug)]
pub(crate) struct LogObserver;

impl Observer for LogObserver {
    fn on_event(&self, event: &Event) {
        match event {
            Event::PlanReady { entities, notes } => {
                tracing::info!(entities = entities.len(), "the plan is ready");
                notes.iter().for_each(|note| tracing::info!("{note}"));
            }
            Event::EntityStarted { entity, rows: None, .. } => tracing::info!(entity, "started"),
            Event::EntityStarted { entity, rows, before } => {
                tracing::info!(entity, rows, settled_before = some(*before), "counted");
            }
            Event::EntityFinished { entity, counters, state, error } => {
                let c = counters;
                match error {
                    Some(reason) if *state == ExecutionState::Cancelled => tracing::info!(entity, "{reason}"),
                    Some(error) => tracing::error!(entity, state = state.as_str(), "{error}"),
                    None => tracing::info!(
                        entity,
                        state = state.as_str(),
                        read = c.read,
                        inserted = some(c.inserted),
                        updated = some(c.updated),
                        unchanged = some(c.unchanged),
                        skipped = some(c.skipped),
                        filtered = some(c.filtered),
                        quarantined = some(c.quarantined),
                        deleted = some(c.deleted),
                        "finished"
                    ),
                }
            }
            Event::PageCommitted { entity, partition, counters } => {
                tracing::debug!(entity, partition, rows = counters.settled(), "committed");
            }
            Event::Step { entity, name } => tracing::info!(entity, "{name}"),
            Event::Retry { entity, attempt, delay, reason } => {
                tracing::warn!(entity, attempt, delay_seconds = delay.as_secs_f64(), "trying again: {reason}");
            }
            Event::Log(line) => {
                let fields = (!line.fields.is_empty()).then(|| serde_json::Value::Object(line.fields.clone()).to_string());
                let entity = line.entity.as_deref();
                match line.level {
                    Level::Debug => tracing::debug!(entity, fields, "{}", line.message),
                    Level::Info => tracing::info!(entity, fields, "{}", line.message),
                    Level::Warn => tracing::warn!(entity, fields, "{}", line.message),
                    Level::Error => tracing::error!(entity, fields, "{}", line.message),
                }
            }
            // An event of a later version has nothing that could be said here.
            _ => {}
        }
    }
}
