//! `cargo bench -p migrate-benches [-- [--quick] [--enforce] [CASE…]]`: prints the table of all cases, or of those named.

use migrate_benches::{Settings, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let settings = match Settings::from_arguments(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(table) => {
            println!("{table}");
            if settings.enforce && !table.within_bounds() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
