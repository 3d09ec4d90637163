//! Commands and flags.

use clap::{Args, Parser, Subcommand, ValueEnum};
use migrate_core::Parameter;
use migrate_core::job::{DeleteGuard, ExecutionState, QuarantineLimit, Strategy, VerifyMode};
use std::path::PathBuf;

/// Moves data between databases: exact, resumable, recorded.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Start with `migrate init`, then `migrate check`, `migrate plan` and `migrate run`.\n\n\
    Exit codes: 0 done, 1 failed, 2 configuration or arguments, 3 partial (rows were refused), 4 verify differs or a check failed, 5 refused, \
    130 cancelled.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The job file
    #[arg(short = 'c', long = "config", global = true, value_name = "FILE", default_value = "migrate.toml")]
    pub(crate) config: PathBuf,
    /// Prints one JSON document on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How each line of the log is written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
    /// Appends logs to a file as well
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) log_file: Option<PathBuf>,
    /// Logs more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a commented job file to start from
    Init,
    /// Runs a job; goes on where an earlier run of it has stopped
    Run(RunArguments),
    /// Shows what a run would do, row by row, and does nothing
    ///
    /// What the target's constraints and triggers would make of the rows is not foreseen; --rehearse finds that out. Exit codes: 0 for a
    /// plan, with or without changes; with --rehearse as the run's: 3 if rows would be refused, 1 if it would fail.
    Plan(PlanArguments),
    /// Shows which entity refers to which, and in which order they load
    Graph(GraphArguments),
    /// Lists rows of the target whose references lead nowhere
    Links(LinksArguments),
    /// Makes the target remember rows that it holds already, and touches none
    Adopt(JobArguments),
    /// Compares source and target row by row, as they are now
    Verify(VerifyArguments),
    /// Lists and settles rows that were refused
    Quarantine(QuarantineArguments),
    /// Looks at everything that a run needs: file, connections, schemas, rights, space
    Check(JobArguments),
    /// Lists and shows what has run
    Executions(ExecutionsArguments),
    /// Prepares a target
    Target(TargetArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) job: JobArguments,
    /// Shows what would be done, and does nothing: the same as `plan`
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Refuses to make other changes than those of the plan with this hash
    #[arg(long, value_name = "HASH", conflicts_with = "dry_run")]
    pub(crate) plan: Option<String>,
    /// Proves what is written, overriding the job: `counts`, `changes`, `inline` (each row is read back before its commit) or `full`
    /// (both sides are compared afterwards); alone it means `full`
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "full", value_parser = verify_mode,
          conflicts_with = "dry_run")]
    pub(crate) verify: Option<VerifyMode>,
}

#[derive(Debug, Args)]
pub(crate) struct GraphArguments {
    #[command(flatten)]
    pub(crate) job: JobArguments,
    /// How the graph is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = GraphFormat::Text)]
    pub(crate) format: GraphFormat,
}

#[derive(Debug, Args)]
pub(crate) struct LinksArguments {
    #[command(flatten)]
    pub(crate) job: JobArguments,
    /// Names so many rows of each reference
    #[arg(long, value_name = "ROWS", default_value_t = 10)]
    pub(crate) examples: usize,
}

/// How a graph is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    Text,
    Dot,
    Mermaid,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    pub(crate) job: JobArguments,
    /// Writes missing and different rows again, and deletes extra ones where the job deletes
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: deletes extra rows whatever the job says
    #[arg(long, requires = "repair")]
    pub(crate) delete_extra: bool,
    /// Shows the values of columns that differ
    #[arg(long)]
    pub(crate) show_values: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineArguments {
    #[command(subcommand)]
    pub(crate) command: QuarantineCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Lists refused rows, newest first: entity, key, column and reason
    List(QuarantineRows),
    /// Shows refused rows whole
    Show(QuarantineShow),
    /// Reads refused rows, and no others, from the source again and sends them to the target once more; those of an entity without a key
    /// are left to a run
    Replay(QuarantineRows),
    /// Forgets refused rows; those that are still at the source are refused again by the next run
    Drop(QuarantineRows),
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineRows {
    #[command(flatten)]
    pub(crate) job: JobArguments,
    /// Only the row with this key, as `list` prints it
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct QuarantineShow {
    #[command(flatten)]
    pub(crate) rows: QuarantineRows,
    /// Shows the values of the rows
    #[arg(long)]
    pub(crate) show_values: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) job: JobArguments,
    /// Compares the schemas only, and reads no rows
    #[arg(long)]
    pub(crate) schema_only: bool,
    /// Makes the run in full as well, constraints and triggers included, and takes all of it back
    ///
    /// On PostgreSQL in one transaction that is rolled back: until then it locks every row that it writes, and tables to which columns
    /// are added as a whole; numbers drawn from sequences are lost. On SQLite in a temporary copy of the target, for which there must be
    /// room. Says which rows would be refused, and why.
    #[arg(long, conflicts_with = "schema_only")]
    pub(crate) rehearse: bool,
    /// Shows the values of changed columns, and of refused rows
    #[arg(long)]
    pub(crate) show_values: bool,
    /// Writes the plan, as JSON, to a file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

impl PlanArguments {
    /// A plan of a job, to the last row and without values.
    pub(crate) fn of(job: JobArguments) -> Self {
        PlanArguments { job, schema_only: false, rehearse: false, show_values: false, out: None }
    }
}

/// Which job, and what this run of it does otherwise.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobArguments {
    /// The job; may be left out where the file has one
    pub(crate) job: Option<String>,
    /// Reads from this environment instead of the job's
    #[arg(long, value_name = "ENV")]
    pub(crate) source: Option<String>,
    /// Writes to this environment instead of the job's
    #[arg(long, value_name = "ENV")]
    pub(crate) target: Option<String>,
    /// Moves only this entity; may be given again for more
    #[arg(long = "entity", value_name = "NAME")]
    pub(crate) entities: Vec<String>,
    /// Moves only the entities of this stage; may be given again for more
    #[arg(long = "stage", value_name = "NAME")]
    pub(crate) stages: Vec<String>,
    /// Gives a parameter that filters name; may be given again for more. It is a text where the job has one, else what its place asks for
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) params: Vec<(String, String)>,
    /// Reads at most so many rows of each entity
    #[arg(long, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,
    /// Commits after so many rows
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch_size: Option<u64>,
    /// Copies so many entities, or parts of them, at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) parallel: Option<u32>,
    /// Ends an entity when more rows than this are refused: a number, or a share such as 0.5%
    #[arg(long, value_name = "N|P%", value_parser = quarantine_limit)]
    pub(crate) max_quarantined: Option<QuarantineLimit>,
    /// Stops the run where more rows of an entity than this would be deleted: a number, or a share such as 10%
    #[arg(long, value_name = "N|P%", value_parser = delete_guard)]
    pub(crate) max_deletes: Option<DeleteGuard>,
    /// How to find what has changed: auto, full, ledger, xmin or cursor, whatever the job says
    #[arg(long, value_name = "STRATEGY", value_parser = strategy)]
    pub(crate) strategy: Option<Strategy>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ExecutionsArguments {
    #[command(subcommand)]
    pub(crate) command: Option<ExecutionsCommand>,
    #[command(flatten)]
    pub(crate) list: ListArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExecutionsCommand {
    /// Lists executions, newest first
    List(ListArguments),
    /// Shows everything about an execution
    Show(IdArguments),
    /// Prints an execution's log
    Logs(IdArguments),
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListArguments {
    /// Only of this job
    #[arg(long, value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Only in this state; may be given again for more
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    pub(crate) states: Vec<ExecutionState>,
    /// So many at most
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
    /// Goes on after this execution
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct IdArguments {
    /// The execution's id; the newest execution if left out
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArguments {
    #[command(subcommand)]
    pub(crate) command: TargetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Creates the tables in which a target remembers what it holds
    Init(TargetInitArguments),
}

#[derive(Debug, Args)]
pub(crate) struct TargetInitArguments {
    /// The job whose target it is; may be left out where the file has one, or with --target
    pub(crate) job: Option<String>,
    /// The target's environment
    #[arg(long, value_name = "ENV")]
    pub(crate) target: Option<String>,
    /// Prints the SQL, with its grants, and runs nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// With --print: the role that jobs will connect as
    #[arg(long, value_name = "ROLE", requires = "print")]
    pub(crate) writer: Option<String>,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

fn quarantine_limit(text: &str) -> Result<QuarantineLimit, String> {
    text.parse().map_err(|error: migrate_core::Error| error.message().to_owned())
}

fn delete_guard(text: &str) -> Result<DeleteGuard, String> {
    text.parse().map_err(|error: migrate_core::Error| error.message().to_owned())
}

fn verify_mode(text: &str) -> Result<VerifyMode, String> {
    text.parse().map_err(|error: migrate_core::Error| error.message().to_owned())
}

fn strategy(text: &str) -> Result<Strategy, String> {
    text.parse().map_err(|error: migrate_core::Error| error.message().to_owned())
}

fn state(text: &str) -> Result<ExecutionState, String> {
    text.parse().map_err(|error: migrate_core::Error| error.message().to_owned())
}

/// Reads a parameter's value: as a text if the job has it as one, else as a job file would. Where the job says nothing, a number counts
/// as one only if it is spelled as a number is: "1.50" may be a version, which no text column has as "1.5".
pub(crate) fn value(text: &str, known: Option<&Parameter>) -> Parameter {
    let as_text = || Parameter::Text(text.to_owned());
    if matches!(known, Some(Parameter::Text(_))) {
        return as_text();
    }
    if let Ok(truth) = text.parse() {
        return Parameter::Bool(truth);
    }
    // "007" and "+7" are not how a number is written: more likely a code that only looks like one.
    if let Some(int) = text.parse::<i64>().ok().filter(|int| int.to_string() == text) {
        return Parameter::Int(int);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.starts_with(|c: char| c.is_ascii_digit()) && (!digits.starts_with('0') || digits.starts_with("0."));
    let float = text.parse::<f64>().ok().filter(|float| plain && float.is_finite() && digits.contains(['.', 'e', 'E']));
    float.filter(|float| known.is_some() || float.to_string() == text).map_or_else(as_text, Parameter::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_defined() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn values_are_read_as_a_job_file_would() {
        let text = |text: &str| Parameter::Text(text.to_owned());
        for (given, expected) in [
            ("100", Parameter::Int(100)),
            ("-5", Parameter::Int(-5)),
            ("1.5", Parameter::Float(1.5)),
            ("-0.25", Parameter::Float(-0.25)),
            ("1e3", text("1e3")),
            ("1.50", text("1.50")),
            ("true", Parameter::Bool(true)),
            ("007", text("007")),
            ("00.5", text("00.5")),
            ("+7", text("+7")),
            ("nan", text("nan")),
            ("1e999", text("1e999")),
            ("99999999999999999999", text("99999999999999999999")),
            ("2024-01-01", text("2024-01-01")),
            ("1 OR 1=1", text("1 OR 1=1")),
            ("", text("")),
        ] {
            assert_eq!(value(given, None), expected, "{given}");
        }
        assert_eq!(value("100", Some(&text("x"))), text("100"));
        assert_eq!(value("200", Some(&Parameter::Int(1))), Parameter::Int(200));
        assert_eq!(value("1.50", Some(&Parameter::Int(1))), Parameter::Float(1.5));
        assert_eq!(value("1e3", Some(&Parameter::Float(0.5))), Parameter::Float(1000.0));
        assert_eq!(value("1.50", Some(&text(""))), text("1.50"));
    }

    #[test]
    fn executions_lists_without_being_told() {
        let parsed = Arguments::try_parse_from(["migrate", "executions", "--job", "copy", "--json"]).expect("it is well formed");
        let Command::Executions(executions) = parsed.command else { panic!("it is about executions") };
        assert!(executions.command.is_none() && executions.list.job.as_deref() == Some("copy"));
        let parsed = Arguments::try_parse_from(["migrate", "executions", "show", "x", "-c", "f"]).expect("it is well formed");
        assert_eq!(parsed.global.config.to_str(), Some("f"));
    }
}
