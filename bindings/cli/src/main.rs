//! The command line of the migrate library.

mod args;
mod bars;
mod commands;
mod connect;
mod failure;
mod interrupt;
mod logging;
mod output;

use args::Arguments;
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let json = arguments.global.json;
    // Nobody asks this process how much memory SQLite has; that it cannot be switched off is no reason to stop.
    let _ = migrate_sqlite::without_memory_statistics();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the program's threads cannot be started", error))
        .and_then(|runtime| {
            let outcome = runtime.block_on(commands::run(arguments));
            // Whatever a stopped run has left behind must not hold up the end.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            outcome
        });
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => failure.report(json),
    }
}

/// Says what is wrong with the arguments, or what help was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        output::print_json(&serde_json::json!({ "status": "failed", "error": { "kind": "config", "message": message } }));
    }
    // A closed stream leaves nobody to tell.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { failure::CONFIG } else { failure::DONE })
}
