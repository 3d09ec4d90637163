//! Progress while a run goes on: bars on a terminal, a line now and then elsewhere.

use crate::output;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use migrate_core::job::{ExecutionState, Observer, Progress, ProgressTracker};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const REFRESH: Duration = Duration::from_millis(100);
/// How often a line is logged where there are no bars.
const LINE: Duration = Duration::from_secs(10);
/// How many entities get a bar of their own at the same time.
const BARS: usize = 8;

/// Shows how a run gets on, until it is dropped.
#[derive(Debug)]
pub(crate) struct Display {
    tracker: Arc<ProgressTracker>,
    task: tokio::task::JoinHandle<()>,
    bars: Option<MultiProgress>,
}

impl Display {
    /// Starts to show; within a tokio runtime.
    pub(crate) fn start(bars: Option<MultiProgress>) -> Self {
        let tracker = Arc::new(ProgressTracker::default());
        let (watched, shown) = (tracker.clone(), bars.clone());
        let task = tokio::spawn(async move {
            let mut bars = shown.map(Bars::new);
            let mut ticks = tokio::time::interval(if bars.is_some() { REFRESH } else { LINE });
            // The first tick comes at once, when there is nothing to show.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                match &mut bars {
                    Some(bars) => bars.show(&watched.progress()),
                    None => log(&watched.progress()),
                }
            }
        });
        Display { tracker, task, bars }
    }

    /// Returns what is to hear the run's events.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        self.tracker.clone()
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bars) = &self.bars {
            // That the terminal is gone is no reason to fail.
            let _ = bars.clear();
        }
    }
}

/// Returns bars if standard error is a terminal.
pub(crate) fn on_terminal() -> Option<MultiProgress> {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal().then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
}

#[derive(Debug)]
struct Bars {
    multi: MultiProgress,
    total: ProgressBar,
    entities: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn new(multi: MultiProgress) -> Self {
        let total = multi.add(ProgressBar::new(1));
        total.set_style(style("{prefix:24!} {bar:28} {msg}"));
        total.set_prefix("total");
        total.set_message("reading the catalogs");
        Bars { multi, total, entities: BTreeMap::new() }
    }

    fn show(&mut self, progress: &Progress) {
        if progress.entities.is_empty() {
            self.total.tick();
            return;
        }
        let running = |name: &str| progress.entities.iter().any(|e| e.name == name && e.state == ExecutionState::Running);
        self.entities.retain(|name, bar| {
            let keep = running(name);
            if !keep {
                bar.finish_and_clear();
                self.multi.remove(bar);
            }
            keep
        });
        for entity in progress.entities.iter().filter(|e| e.state == ExecutionState::Running) {
            if !self.entities.contains_key(&entity.name) && self.entities.len() >= BARS {
                continue;
            }
            let bar = self.entities.entry(entity.name.clone()).or_insert_with(|| {
                let bar = self.multi.insert_before(&self.total, ProgressBar::new(0));
                bar.set_style(style("{prefix:24!} {bar:28} {msg}"));
                bar.set_prefix(output::name(&entity.name));
                bar
            });
            let rows = entity.counters.settled();
            let total = entity.total_rows.unwrap_or(0).max(rows);
            bar.set_length(total.max(1));
            bar.set_position(rows);
            bar.set_message(match entity.total_rows {
                Some(_) => format!("{} of {} rows", output::count(rows), output::count(total)),
                None => format!("{} rows", output::count(rows)),
            });
        }
        let done = progress.entities.iter().filter(|e| e.state.is_finished()).count();
        self.total.set_length(progress.total_rows.unwrap_or(0).max(1));
        self.total.set_position(progress.rows);
        self.total.set_message(format!("{}, {done} of {} entities", line(progress), progress.entities.len()));
    }
}

fn style(template: &str) -> ProgressStyle {
    // The template is a constant of this file; should it ever be wrong, a plain bar does.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏ ")
}

/// Rows per second, share and time left, in one line.
fn line(progress: &Progress) -> String {
    let mut parts = Vec::new();
    if let Some(percent) = progress.percent {
        parts.push(format!("{percent:.0} %"));
    }
    parts.push(format!("{} rows", output::count(progress.rows)));
    if let Some(rate) = progress.rows_per_second.filter(|rate| *rate >= 0.5) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is a positive number")]
        parts.push(format!("{} rows/s", output::count(rate.round() as u64)));
    }
    match (&progress.step, progress.remaining_seconds) {
        (Some(step), _) => parts.push(output::name(step)),
        // Whole seconds: nobody can read a digit that changes ten times a second.
        (None, Some(left)) => parts.push(format!("{} left", output::whole_seconds(left))),
        (None, None) => {}
    }
    parts.join(", ")
}

fn log(progress: &Progress) {
    if !progress.entities.is_empty() {
        tracing::info!("{}", line(progress));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrate_core::job::EntityResult;

    #[test]
    fn the_line_says_share_rows_rate_and_time_left() {
        let progress = Progress {
            rows: 450_000,
            total_rows: Some(500_000),
            percent: Some(90.0),
            rows_per_second: Some(12_500.4),
            remaining_seconds: Some(4.0),
            ..Progress::default()
        };
        assert_eq!(line(&progress), "90 %, 450,000 rows, 12,500 rows/s, 4 s left");
        let step = Progress { step: Some("index x".to_owned()), percent: None, rows_per_second: None, ..progress };
        assert_eq!(line(&step), "450,000 rows, index x");
    }

    #[test]
    fn bars_follow_the_entities_that_run() {
        let mut bars = Bars::new(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));
        let entity = |name: &str, state| EntityResult { name: name.to_owned(), state, ..EntityResult::default() };
        let progress = |states: [ExecutionState; 2]| Progress {
            entities: vec![entity("a", states[0]), entity("b", states[1])],
            ..Progress::default()
        };
        bars.show(&progress([ExecutionState::Running, ExecutionState::Queued]));
        assert_eq!(bars.entities.keys().collect::<Vec<_>>(), ["a"]);
        bars.show(&progress([ExecutionState::Succeeded, ExecutionState::Running]));
        assert_eq!(bars.entities.keys().collect::<Vec<_>>(), ["b"]);
    }
}
