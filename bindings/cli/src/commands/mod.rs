//! The commands.

mod adopt;
mod check;
mod executions;
mod graph;
mod init;
mod links;
mod plan;
mod quarantine;
mod rehearsal;
mod run;
mod target;
mod verify;

use crate::args::{Arguments, Command, Global, JobArguments, PlanArguments, value};
use crate::connect;
use crate::failure::Failure;
use crate::{bars, logging, output};
use indicatif::MultiProgress;
use migrate_core::job::{ConnectionUrl, Job, JobFile, RunOptions};
use migrate_core::pipeline::Cell;
use migrate_core::{Error, Sink, Source};
use std::sync::Arc;

/// Runs a command and returns its exit code.
pub(crate) async fn run(arguments: Arguments) -> Result<u8, Failure> {
    let global = arguments.global;
    let bars = match &arguments.command {
        Command::Run(run) if !run.dry_run => bars::on_terminal(),
        _ => None,
    };
    logging::start(&global, bars.as_ref())?;
    match arguments.command {
        Command::Init => init::init(&global),
        Command::Run(run) if run.dry_run => plan::plan(&global, &PlanArguments::of(run.job)).await,
        Command::Run(run) => run::run(&global, &run, bars).await,
        Command::Plan(plan) => plan::plan(&global, &plan).await,
        Command::Adopt(job) => adopt::adopt(&global, &job).await,
        Command::Graph(graph) => graph::graph(&global, &graph).await,
        Command::Links(links) => links::links(&global, &links).await,
        Command::Verify(verify) => verify::verify(&global, &verify).await,
        Command::Quarantine(quarantine) => quarantine::quarantine(&global, quarantine.command).await,
        Command::Check(job) => check::check(&global, &job).await,
        Command::Executions(executions) => executions::executions(&global, executions).await,
        Command::Target(target) => target::target(&global, target.command).await,
    }
}

/// A job with the databases it works on; nothing is opened yet.
struct Prepared {
    file: JobFile,
    job: Job,
    source: Arc<dyn Source>,
    target: Arc<dyn Sink>,
    options: RunOptions,
}

/// Reads the job file and what the arguments say beyond it.
fn prepare(global: &Global, arguments: &JobArguments) -> Result<Prepared, Failure> {
    let file = JobFile::load(&global.config)?;
    let mut job = file.job(arguments.job.as_deref())?;
    if let Some(source) = &arguments.source {
        job.source.clone_from(source);
    }
    if let Some(target) = &arguments.target {
        job.target.clone_from(target);
    }
    let (source, source_url) = connect::source(&file, &job.source)?;
    let (target, target_url) = connect::sink(&file, &job.target)?;
    connect::tell_apart((&job.source, &source_url), (&job.target, &target_url))?;
    let options = options(arguments, &job, source_url, target_url);
    Ok(Prepared { file, job, source, target, options })
}

/// The names of a job's environments, for errors.
struct Environments {
    source: String,
    target: String,
}

impl Environments {
    fn of(job: &Job) -> Self {
        Environments { source: job.source.clone(), target: job.target.clone() }
    }
}

/// Names the environment of an error that knows its side.
fn locate(error: Error, environments: &Environments) -> Error {
    let side = error.context().iter().find(|(name, _)| *name == "side").map(|(_, side)| side.clone());
    match side.as_deref() {
        Some("source") => error.with("environment", &environments.source),
        Some("target") => error.with("environment", &environments.target),
        Some(_) | None => error,
    }
}

fn options(arguments: &JobArguments, job: &Job, source: ConnectionUrl, target: ConnectionUrl) -> RunOptions {
    let mut options = RunOptions::new().with_entities(arguments.entities.clone()).with_command(command_line());
    options.stages.clone_from(&arguments.stages);
    options.limit = arguments.limit;
    options.batch_rows = arguments.batch_size;
    options.parallel = arguments.parallel.and_then(|parallel| usize::try_from(parallel).ok());
    options.max_quarantined = arguments.max_quarantined;
    options.max_deletes = arguments.max_deletes;
    options.strategy = arguments.strategy;
    options.executed_by = user();
    options.source_url = Some(source);
    options.target_url = Some(target);
    for (name, text) in &arguments.params {
        options = options.with_param(name, value(text, job.params.get(name)));
    }
    options
}

/// The command line for the record, without the values of parameters: they may be personal.
fn command_line() -> String {
    let mut words = vec!["migrate".to_owned()];
    let mut is_param = false;
    for word in std::env::args_os().skip(1) {
        let word = word.to_string_lossy().into_owned();
        let assignment = if is_param { Some(word.as_str()) } else { word.strip_prefix("--param=") };
        let shown = match assignment.and_then(|assignment| assignment.split_once('=')) {
            Some((name, _)) if is_param => format!("{name}=…"),
            Some((name, _)) => format!("--param={name}=…"),
            None => word.clone(),
        };
        is_param = word == "--param";
        words.push(if shown.is_empty() || shown.contains(char::is_whitespace) { format!("{shown:?}") } else { shown });
    }
    words.join(" ")
}

/// The operating system's user, as far as it can be known.
fn user() -> Option<String> {
    let named = ["USER", "LOGNAME", "USERNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|user| !user.is_empty()).or_else(account)
}

/// The user by the process's own number, where services and containers set no variable.
#[cfg(unix)]
fn account() -> Option<String> {
    let uid = rustix::process::getuid().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.or(Some(format!("uid {uid}")))
}

#[cfg(not(unix))]
fn account() -> Option<String> {
    None
}

/// Leaves the values of columns out of rows that change or differ; which columns these are stays.
fn hide_values<'d>(rows: impl Iterator<Item = &'d mut serde_json::Value>) {
    for column in rows.filter_map(|row| row.get_mut("columns")?.as_array_mut()).flatten() {
        if let Some(column) = column.as_object_mut() {
            column.retain(|field, _| field == "column");
        }
    }
}

/// Prints the columns of a row that change or differ.
fn print_cells(cells: &[Cell], show_values: bool) {
    let shown = |value: &Option<String>| value.as_deref().map_or_else(|| "NULL".to_owned(), |v| output::name(&format!("{v:?}")));
    for cell in cells {
        let column = output::name(&cell.column);
        if show_values {
            output::print_line(&format!("    {column}: {} → {}", shown(&cell.before), shown(&cell.after)));
        } else {
            output::print_line(&format!("    {column}"));
        }
    }
}

/// The command that goes on with a job, for hints.
fn again(global: &Global, job: &str) -> String {
    let file = match global.config.to_str() {
        Some(JobFile::DEFAULT_NAME) => String::new(),
        _ => format!(" -c {}", global.config.display()),
    };
    format!("migrate run {job}{file}")
}

/// Bars that a command shows, if any.
type Bars = Option<MultiProgress>;

/// The sums of both sides of a comparison: one where they are the same.
fn checksums(source: &str, target: &str) -> String {
    if source == target { source.to_owned() } else { format!("{source} ≠ {target}") }
}
