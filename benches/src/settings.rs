//! What is measured, and how much of it.

use crate::Result;
use crate::case::{CASES, Case};
use std::path::PathBuf;

/// What is measured, and how much of it; from arguments and the environment.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Rows of the wide table; `MIGRATE_BENCH_EVENTS`.
    pub events: u64,
    /// Rows of the narrow table; `MIGRATE_BENCH_READINGS`.
    pub readings: u64,
    /// Rows of the table that refers to itself; `MIGRATE_BENCH_TREE`.
    pub tree: u64,
    /// Rows of the table of parents, which have three children each; `MIGRATE_BENCH_PARENTS`.
    pub parents: u64,
    /// How often each limit and each copy is timed, in turn; `MIGRATE_BENCH_PAIRS`.
    pub pairs: usize,
    /// Whether a ratio or memory above its bound makes the run fail; `--enforce`.
    pub enforce: bool,
    /// The program to measure; `MIGRATE_BENCH_BIN`, else it is built.
    pub program: Option<PathBuf>,
    /// The names of the cases; all if empty.
    pub names: Vec<String>,
}

impl Settings {
    /// Returns a size at which all cases take seconds: to see that they work, not how fast.
    pub fn quick() -> Self {
        Settings {
            events: 2_000,
            readings: 5_000,
            tree: 3_000,
            parents: 2_000,
            pairs: 1,
            enforce: false,
            program: None,
            names: Vec::new(),
        }
    }

    /// Reads the arguments of the program, and the environment for what they do not say.
    ///
    /// # Errors
    /// If an argument is no case, or a number is none.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut settings = Settings {
            events: 1_000_000,
            readings: 5_000_000,
            tree: 1_000_000,
            parents: 1_000_000,
            pairs: 5,
            ..Settings::quick()
        };
        for argument in arguments {
            match argument.as_str() {
                // Cargo says so to every bench.
                "--bench" => {}
                "--quick" => settings = Settings { names: settings.names, enforce: settings.enforce, ..Settings::quick() },
                "--enforce" => settings.enforce = true,
                name if CASES.iter().any(|c| c.name == name) => settings.names.push(argument),
                other => {
                    let names = CASES.iter().map(|c| c.name).collect::<Vec<_>>().join(", ");
                    return Err(format!("unknown argument {other}; expected --quick, --enforce or one of {names}").into());
                }
            }
        }
        settings.events = number("MIGRATE_BENCH_EVENTS")?.unwrap_or(settings.events);
        settings.readings = number("MIGRATE_BENCH_READINGS")?.unwrap_or(settings.readings);
        settings.tree = number("MIGRATE_BENCH_TREE")?.unwrap_or(settings.tree);
        settings.parents = number("MIGRATE_BENCH_PARENTS")?.unwrap_or(settings.parents);
        settings.pairs = number("MIGRATE_BENCH_PAIRS")?.map_or(settings.pairs, |n| n.max(1) as usize);
        settings.program = std::env::var_os("MIGRATE_BENCH_BIN").map(PathBuf::from);
        Ok(settings)
    }

    /// The cases to run, in the order of the table.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &'static Case> + '_ {
        CASES.iter().filter(|case| self.names.is_empty() || self.names.iter().any(|n| n == case.name))
    }
}

fn number(variable: &str) -> Result<Option<u64>> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text.replace('_', "").parse().map_err(|_| format!("{variable} is no number: {text}"))?)),
        Err(_) => Ok(None),
    }
}
