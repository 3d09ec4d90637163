//! The table.

use crate::Result;
use crate::case::Case;
use crate::database::query;
use crate::sample::Sources;
use crate::settings::Settings;
use std::fmt;
use std::time::Duration;

/// The most memory that our process may hold, in KiB.
const PEAK_BOUND: u64 = 64 * 1024;

/// What was measured for one case.
#[derive(Debug)]
pub struct Line {
    pub(crate) case: &'static Case,
    pub(crate) limits: Vec<Duration>,
    pub(crate) ours: Vec<Duration>,
    /// In KiB.
    pub(crate) peak: u64,
    /// Bytes of the target's ledger for each row, where that is PostgreSQL.
    pub(crate) ledger: Option<f64>,
}

impl Line {
    /// Returns the case's name.
    pub fn name(&self) -> &'static str {
        self.case.name
    }

    /// Returns the median time of the limit, in seconds.
    pub fn limit(&self) -> f64 {
        median(self.limits.iter().map(Duration::as_secs_f64))
    }

    /// Returns the median time of the copy, in seconds.
    pub fn ours(&self) -> f64 {
        median(self.ours.iter().map(Duration::as_secs_f64))
    }

    /// Returns the median of the ratios, pair by pair.
    pub fn ratio(&self) -> f64 {
        median(self.limits.iter().zip(&self.ours).map(|(limit, ours)| ours.as_secs_f64() / limit.as_secs_f64()))
    }

    /// Returns the most memory that the copying process held, in KiB; 0 where the system does not tell.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Returns whether ratio and memory are within their bounds.
    pub fn within_bounds(&self) -> bool {
        self.ratio() <= self.case.bound && self.peak <= PEAK_BOUND
    }
}

/// All lines, and what they were measured with.
#[derive(Debug)]
pub struct Table {
    lines: Vec<Line>,
    machine: String,
}

impl Table {
    pub(crate) fn new(settings: &Settings, sources: &Sources, lines: Vec<Line>) -> Result<Self> {
        let cores = std::thread::available_parallelism()?;
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find(|l| l.starts_with("model name"))
            .and_then(|l| l.split_once(": "))
            .map_or("unknown processor", |l| l.1);
        let postgres = query(&sources.target.url("postgres"), "SHOW server_version")?;
        let machine = format!(
            "{} events, {} readings, {} nodes, {} parents, {} pairs; {cores} cores of {model}; PostgreSQL {postgres} (two servers, shared_buffers 512 MB, \
             max_wal_size 8 GB), SQLite {}",
            settings.events,
            settings.readings,
            settings.tree,
            settings.parents,
            settings.pairs,
            rusqlite::version()
        );
        Ok(Table { lines, machine })
    }

    /// Returns the lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns whether all ratios and peaks are within their bounds.
    pub fn within_bounds(&self) -> bool {
        self.lines.iter().all(Line::within_bounds)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine)?;
        writeln!(
            f,
            "| case | limit measured in the same run | limit, s | ours, s | ratio | at most | peak, MiB | ledger, bytes a row | |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for line in &self.lines {
            writeln!(
                f,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {} | {} |",
                line.case.title,
                line.case.limit,
                line.limit(),
                line.ours(),
                line.ratio(),
                line.case.bound,
                line.peak as f64 / 1024.0,
                line.ledger.map_or_else(String::new, |bytes| format!("{bytes:.1}")),
                if line.within_bounds() { "within" } else { "over" }
            )?;
        }
        write!(
            f,
            "\nMedians; the ratio is the median of the pairs' ratios. Peak memory may be 64 MiB. Every copy was compared row by row."
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
