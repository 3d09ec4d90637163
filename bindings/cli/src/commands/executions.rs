//! `executions`: what has run.

use crate::args::{ExecutionsArguments, ExecutionsCommand, Global, ListArguments};
use crate::connect;
use crate::failure::{DONE, Failure};
use crate::output::{self, EntityLine, Table};
use migrate_core::job::{Clock, Execution, ExecutionQuery, JobFile, LogLine, LogQuery, Recorder, SystemClock, Timestamp};
use migrate_core::verify::Certificate;
use migrate_core::{Error, ErrorKind};
use serde_json::json;
use std::sync::Arc;

pub(super) async fn executions(global: &Global, arguments: ExecutionsArguments) -> Result<u8, Failure> {
    let file = JobFile::load(&global.config)?;
    let store = connect::existing_store(&file).await?;
    match arguments.command {
        None => list(global, store, &arguments.list).await,
        Some(ExecutionsCommand::List(arguments)) => list(global, store, &arguments).await,
        Some(ExecutionsCommand::Show(arguments)) => {
            let execution = find(store.as_ref(), arguments.id.as_deref()).await?;
            let certificates = match &store {
                Some(store) => certificates(store.as_ref(), &execution.id).await?,
                None => Vec::new(),
            };
            show(global, &execution, &certificates)
        }
        Some(ExecutionsCommand::Logs(arguments)) => {
            let execution = find(store.as_ref(), arguments.id.as_deref()).await?;
            match store {
                Some(store) => logs(global, store.as_ref(), &execution.id).await,
                None => Ok(DONE),
            }
        }
    }
}

/// Finds an execution by its id, or the newest one.
async fn find(store: Option<&Arc<dyn Recorder>>, id: Option<&str>) -> Result<Execution, Failure> {
    let missing = || {
        let error = Error::new(ErrorKind::NotFound, "there is no such execution");
        Failure::from(match id {
            Some(id) => error.with("execution", id),
            None => Error::new(ErrorKind::NotFound, "nothing has run yet"),
        })
        .with_hint("`migrate executions` lists those there are")
    };
    let store = store.ok_or_else(missing)?;
    let id = match id {
        Some(id) => id.to_owned(),
        None => {
            let mut query = ExecutionQuery::default();
            query.limit = 1;
            let page = store.executions(&query).await?;
            page.executions.into_iter().next().ok_or_else(missing)?.id
        }
    };
    store.execution(&id).await?.ok_or_else(missing)
}

/// The state as a reader should see it: a killed process leaves `running` behind.
fn shown_state(execution: &Execution, now: Timestamp) -> String {
    if execution.interrupted(now) { "interrupted".to_owned() } else { execution.state.to_string() }
}

fn document(execution: &Execution, now: Timestamp) -> Result<serde_json::Value, Failure> {
    let failed = |error| Error::new(ErrorKind::Internal, "the record does not serialize").caused_by(error);
    let mut document = serde_json::to_value(execution).map_err(failed)?;
    document["interrupted"] = execution.interrupted(now).into();
    Ok(document)
}

async fn list(global: &Global, store: Option<Arc<dyn Recorder>>, arguments: &ListArguments) -> Result<u8, Failure> {
    let mut query = ExecutionQuery::default();
    query.job.clone_from(&arguments.job);
    query.states.clone_from(&arguments.states);
    query.after.clone_from(&arguments.after);
    query.limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let page = match &store {
        Some(store) => store.executions(&query).await?,
        None => Default::default(),
    };
    let now = SystemClock.now();
    if global.json {
        let executions = page.executions.iter().map(|e| document(e, now)).collect::<Result<Vec<_>, _>>()?;
        output::print_json(&json!({ "executions": executions, "next": page.next }));
        return Ok(DONE);
    }
    if page.executions.is_empty() {
        output::print_line("no executions");
        return Ok(DONE);
    }
    let mut table = Table::new(&["execution", "job", "from", "to", "state", ">rows", ">refused", ">took", "started (UTC)"]);
    for e in &page.executions {
        let took = e.started_at.map(|_| output::seconds(elapsed(e, now)));
        table.add(vec![
            e.id.clone(),
            output::name(&e.job),
            output::name(&e.source),
            output::name(&e.target),
            shown_state(e, now),
            output::count(e.totals.settled()),
            output::count(e.totals.quarantined),
            took.unwrap_or_default(),
            e.started_at.map(readable).unwrap_or_default(),
        ]);
    }
    table.print();
    if let Some(next) = page.next {
        output::print_line(&format!("more: migrate executions list --after {next}"));
    }
    Ok(DONE)
}

/// How long an execution has taken; one that was killed has not taken longer than to its last sign of life.
fn elapsed(execution: &Execution, now: Timestamp) -> f64 {
    let end = if execution.interrupted(now) { execution.heartbeat_at.unwrap_or(now) } else { now };
    execution.elapsed(end).as_secs_f64()
}

/// An instant to the second: `2026-11-21 10:15:00`.
fn readable(instant: Timestamp) -> String {
    let text = instant.to_string();
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

/// What comparisons have said of an execution's entities, the earliest first.
async fn certificates(store: &dyn Recorder, id: &str) -> Result<Vec<Certificate>, Failure> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.logs(id, &LogQuery::following(after)).await?;
        found.extend(page.lines.iter().filter_map(Certificate::from_log));
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}

fn show(global: &Global, e: &Execution, certificates: &[Certificate]) -> Result<u8, Failure> {
    let now = SystemClock.now();
    if global.json {
        let mut document = document(e, now)?;
        let failed = |error| Error::new(ErrorKind::Internal, "the certificates do not serialize").caused_by(error);
        document["certificates"] = serde_json::to_value(certificates).map_err(failed)?;
        output::print_json(&document);
        return Ok(DONE);
    }
    let place = |name: &str, url: &Option<String>| match url {
        Some(url) => format!("{} ({})", output::name(name), output::name(url)),
        None => output::name(name),
    };
    let mut facts = vec![
        ("execution", e.id.clone()),
        ("job", output::name(&e.job)),
        ("state", shown_state(e, now)),
        ("from", place(&e.source, &e.source_url)),
        ("to", place(&e.target, &e.target_url)),
        ("progress", format!("{} %", e.progress_percent)),
        ("made", format!("{} UTC", readable(e.created_at))),
    ];
    let instants = [("started", e.started_at), ("last sign", e.heartbeat_at), ("finished", e.finished_at)];
    facts.extend(instants.into_iter().filter_map(|(name, at)| at.map(|at| (name, format!("{} UTC", readable(at))))));
    if e.started_at.is_some() {
        facts.push(("took", output::seconds(elapsed(e, now))));
    }
    let texts = [("by", &e.executed_by), ("command", &e.command), ("error", &e.error)];
    facts.extend(texts.into_iter().filter_map(|(name, text)| text.as_ref().map(|text| (name, output::name(text)))));
    for (name, text) in facts {
        output::print_line(&format!("{name:<10} {text}"));
    }
    if e.interrupted(now) {
        output::print_line("           its process is gone; the next run of the job goes on where it stopped");
    }
    if e.attempts.len() > 1 || e.attempts.iter().any(|a| a.error.is_some()) {
        output::print_line("");
        let mut table = Table::new(&[">attempt", "state", "started (UTC)", ">took", "by", "error"]);
        for a in &e.attempts {
            table.add(vec![
                a.number.to_string(),
                a.state.to_string(),
                readable(a.started_at),
                a.finished_at.map(|end| output::seconds(end.since(a.started_at).as_secs_f64())).unwrap_or_default(),
                a.owner.to_string(),
                a.error.as_deref().map(output::name).unwrap_or_default(),
            ]);
        }
        table.print();
    }
    if !e.entities.is_empty() {
        output::print_line("");
        output::results(e.entities.iter().map(|e| EntityLine {
            name: &e.name,
            stage: e.stage.as_deref(),
            counters: &e.counters,
            seconds: e.seconds,
        }))
        .print();
        for entity in e.entities.iter().filter(|entity| entity.error.is_some()) {
            let error = entity.error.as_deref().unwrap_or_default();
            output::print_line(&format!("{}: {}", output::name(&entity.name), output::name(error)));
        }
    }
    if !certificates.is_empty() {
        output::print_line("");
        print_certificates(certificates);
    }
    if !e.notes.is_empty() {
        output::print_line("");
        output::print_line("notes:");
        e.notes.iter().for_each(|note| output::print_line(&format!("  {}", output::name(note))));
    }
    Ok(DONE)
}

fn print_certificates(certificates: &[Certificate]) {
    let titles = [
        "certificate",
        "compared (UTC)",
        "verdict",
        ">source",
        ">target",
        ">left out",
        "checksum",
        ">encoding",
        ">ledger",
        "snapshot",
    ];
    let mut table = Table::new(&titles);
    for c in certificates {
        table.add(vec![
            output::name(&c.entity),
            readable(c.compared_at),
            if c.equal { "equal".to_owned() } else { "differs".to_owned() },
            output::count(c.source_rows),
            output::count(c.target_rows),
            output::count(c.source_left_out + c.target_left_out),
            super::checksums(&c.source_checksum, &c.target_checksum),
            c.encoding.to_string(),
            c.ledger.to_string(),
            output::name(&c.snapshot),
        ]);
    }
    table.print();
}

async fn logs(global: &Global, store: &dyn Recorder, id: &str) -> Result<u8, Failure> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.logs(id, &LogQuery::following(after)).await?;
        match global.json {
            true => all.extend(page.lines),
            false => page.lines.iter().for_each(|line| output::print_line(&text(line))),
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if global.json {
        let failed = |error| Error::new(ErrorKind::Internal, "the log does not serialize").caused_by(error);
        let lines = serde_json::to_value(&all).map_err(failed)?;
        output::print_json(&json!({ "execution_id": id, "logs": lines }));
    }
    Ok(DONE)
}

fn text(line: &LogLine) -> String {
    let entity = line.entity.as_ref().map(|entity| format!("{}: ", output::name(entity))).unwrap_or_default();
    let mut text = format!("{} {:<5} {entity}{}", line.at, line.level.as_str(), output::name(&line.message));
    for (name, value) in &line.fields {
        text.push_str(&format!(" {}={value}", output::name(name)));
    }
    text
}
