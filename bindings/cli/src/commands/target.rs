//! `target`: prepares a target for writers with few rights.

use crate::args::{Global, TargetCommand, TargetInitArguments};
use crate::connect;
use crate::failure::{DONE, Failure};
use crate::output;
use migrate_core::job::JobFile;
use serde_json::json;

pub(super) async fn target(global: &Global, command: TargetCommand) -> Result<u8, Failure> {
    match command {
        TargetCommand::Init(arguments) => init(global, &arguments).await,
    }
}

async fn init(global: &Global, arguments: &TargetInitArguments) -> Result<u8, Failure> {
    let file = JobFile::load(&global.config)?;
    let environment = match &arguments.target {
        Some(environment) => environment.clone(),
        None => file.job(arguments.job.as_deref())?.target,
    };
    let (sink, url) = connect::sink(&file, &environment)?;
    let state = sink.state();
    if arguments.print {
        let sql = state.initialize_sql(arguments.writer.as_deref());
        match global.json {
            true => output::print_json(&json!({ "target": environment, "sql": sql })),
            false => output::print_line(sql.trim_end()),
        }
        return Ok(DONE);
    }
    let existed = state.exists().await?;
    state.initialize().await?;
    if global.json {
        output::print_json(&json!({ "target": environment, "created": !existed }));
    } else {
        let what = if existed { "was ready, and is up to date" } else { "is ready" };
        output::print_line(&format!("{environment} ({url}) {what}"));
    }
    Ok(DONE)
}
