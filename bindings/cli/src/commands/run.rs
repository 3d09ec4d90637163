//! `run`: does what a job says.

use super::{Bars, Environments, Prepared, again, locate, prepare};
use crate::args::{Global, RunArguments};
use crate::bars::Display;
use crate::failure::{self, Failure};
use crate::logging::LogObserver;
use crate::output::{self, EntityLine};
use crate::{connect, interrupt};
use migrate_core::job::{CancelToken, ExecutionState, Observers, VerifyMode};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::state::QuarantinedRow;
use migrate_core::verify;
use migrate_core::{Error, ErrorKind};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

pub(super) async fn run(global: &Global, arguments: &RunArguments, bars: Bars) -> Result<u8, Failure> {
    run_rows(global, arguments, None, bars).await
}

/// Runs a job, or sends again those of its rows that were refused.
pub(super) async fn run_rows(
    global: &Global,
    arguments: &RunArguments,
    refused: Option<&[QuarantinedRow]>,
    bars: Bars,
) -> Result<u8, Failure> {
    let began = Instant::now();
    let Prepared { file, job, source, target, mut options } = prepare(global, &arguments.job)?;
    options.plan_hash.clone_from(&arguments.plan);
    options.verify = arguments.verify;
    let (name, environments) = (job.name.clone(), Environments::of(&job));
    let cancel = CancelToken::new();
    interrupt::watch(&cancel);
    let recorder = interrupt::unless_stopped(&cancel, connect::store(&file)).await?;
    let display = Display::start(bars);
    let pipeline = Pipeline::builder(job)
        .source(source)
        .target(target)
        .recorder(recorder)
        .observer(Arc::new(Observers(vec![display.observer(), Arc::new(LogObserver)])))
        .options(options)
        .build()?;
    let outcome = match refused {
        Some(rows) => interrupt::unless_stuck(&cancel, pipeline.replay(rows, &cancel)).await,
        None => interrupt::unless_stuck(&cancel, pipeline.run(&cancel)).await,
    };
    drop(display);
    let report = outcome.map_err(|error| locate(error, &environments)).map_err(|error| match error.kind() {
        ErrorKind::Cancelled => Failure::from(error).with_hint(format!("to go on: {}", again(global, &name))),
        _ => Failure::from(error),
    })?;
    let ended_well = matches!(report.status, ExecutionState::Succeeded | ExecutionState::Partial);
    // What else has changed is left to the next run, and so is the proof that both sides are equal.
    let verified = match pipeline.verify_mode() == VerifyMode::Full && ended_well && refused.is_none() {
        true => Some(verify::verify(&pipeline, &cancel).await.map_err(|error| locate(error, &environments))?),
        false => None,
    };
    if global.json {
        let mut document = document(&report)?;
        if let Some(verified) = &verified {
            document["verify"] = super::verify::document(verified, false)?;
        }
        output::print_json(&document);
    } else {
        print(&report, began.elapsed().as_secs_f64());
        if let Some(verified) = &verified {
            output::print_line("");
            super::verify::print(verified, false);
        }
    }
    advise(&report, &again(global, &name));
    Ok(match verified {
        Some(verified) if !verified.equal => super::verify::code(&verified),
        Some(_) | None => failure::code_of_run(report.status, report.error_kind),
    })
}

fn document(report: &RunReport) -> Result<serde_json::Value, Failure> {
    let failed = |error| Error::new(ErrorKind::Internal, "the report does not serialize").caused_by(error);
    let mut document = serde_json::to_value(report).map_err(failed)?;
    if let Some(error) = &report.error {
        let kind = report.error_kind.unwrap_or(ErrorKind::Internal);
        document["error"] = json!({ "kind": failure::kind_name(kind), "message": error });
    }
    Ok(document)
}

fn print(report: &RunReport, seconds: f64) {
    if !report.entities.is_empty() {
        output::results(report.entities.iter().map(|e| EntityLine {
            name: &e.name,
            stage: e.stage.as_deref(),
            counters: &e.counters,
            seconds: e.seconds,
        }))
        .print();
        output::print_line("");
    }
    output::print_line(&format!("execution {}: {} in {}", report.execution_id, report.status, output::seconds(seconds)));
}

/// Says, on standard error, what went wrong and what to do next.
fn advise(report: &RunReport, again: &str) {
    if let Some(error) = &report.error {
        eprintln!("error: {error}");
    }
    let refused: u64 = report.entities.iter().map(|e| e.counters.quarantined).sum();
    if refused > 0 {
        let (were, each) = if refused == 1 { ("was refused and is", "") } else { ("were refused and are", "each ") };
        eprintln!("{} {were} kept in the target's quarantine, {each}with its reason", output::rows(refused));
    }
    let about = format!("about it: migrate executions logs {}", report.execution_id);
    match report.status {
        ExecutionState::Succeeded => {}
        ExecutionState::Partial => eprintln!("hint: {about}"),
        ExecutionState::Cancelled => eprintln!("what was committed stays; to go on where it stopped: {again}"),
        ExecutionState::AwaitingApproval
        | ExecutionState::Queued
        | ExecutionState::Running
        | ExecutionState::Paused
        | ExecutionState::Failed
        | ExecutionState::RolledBack => {
            if let Some(hint) = report.error_kind.and_then(failure::hint) {
                eprintln!("hint: {hint}");
            }
            eprintln!("hint: what was committed stays; to go on where it stopped: {again}");
            eprintln!("hint: {about}");
        }
    }
}
