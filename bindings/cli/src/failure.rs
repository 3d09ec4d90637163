//! How a command ends when it does not end well.

use crate::output;
use migrate_core::job::ExecutionState;
use migrate_core::{Error, ErrorKind};
use serde_json::json;
use std::process::ExitCode;

pub(crate) const DONE: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const CONFIG: u8 = 2;
pub(crate) const PARTIAL: u8 = 3;
pub(crate) const CHECK_FAILED: u8 = 4;
pub(crate) const REFUSED: u8 = 5;
pub(crate) const CANCELLED: u8 = 130;

/// What ends a command without its result.
#[derive(Debug)]
pub(crate) struct Failure {
    error: Error,
    hint: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure { error, hint: None }
    }
}

impl Failure {
    /// Says that something of the operating system failed.
    pub(crate) fn io(message: &str, error: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, message).caused_by(error).into()
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the error, as a document too if asked for, and returns the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if json {
            let status = if self.error.kind() == ErrorKind::Cancelled { "cancelled" } else { "failed" };
            output::print_json(&json!({ "status": status, "error": document(&self.error) }));
        }
        print_error(&self.error);
        if let Some(hint) = self.hint.as_deref().or_else(|| hint(self.error.kind())) {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(code(self.error.kind()))
    }
}

/// Prints an error and what caused it.
pub(crate) fn print_error(error: &Error) {
    eprintln!("error: {error}");
    for cause in causes(error) {
        eprintln!("caused by: {cause}");
    }
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    causes
}

/// An error as a document.
pub(crate) fn document(error: &Error) -> serde_json::Value {
    let context: serde_json::Map<_, _> =
        error.context().iter().map(|(name, object)| ((*name).to_owned(), object.clone().into())).collect();
    json!({ "kind": kind_name(error.kind()), "message": error.message(), "context": context, "causes": causes(error) })
}

/// The name of a kind, as documents spell it.
pub(crate) fn kind_name(kind: ErrorKind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The exit code of an error that came before anything was done.
pub(crate) fn code(kind: ErrorKind) -> u8 {
    match kind {
        // What is not there was asked for by the job file or an argument.
        ErrorKind::Config | ErrorKind::NotFound => CONFIG,
        ErrorKind::Refused => REFUSED,
        ErrorKind::Cancelled => CANCELLED,
        // Everything else, kinds of later versions included, is a failure.
        _ => FAILED,
    }
}

/// The exit code of a run that has begun.
pub(crate) fn code_of_run(state: ExecutionState, error: Option<ErrorKind>) -> u8 {
    match state {
        ExecutionState::Failed if error == Some(ErrorKind::Refused) => REFUSED,
        ExecutionState::Failed if error == Some(ErrorKind::Config) => CONFIG,
        ExecutionState::Succeeded => DONE,
        ExecutionState::Partial => PARTIAL,
        ExecutionState::Cancelled => CANCELLED,
        ExecutionState::AwaitingApproval => REFUSED,
        ExecutionState::Queued
        | ExecutionState::Running
        | ExecutionState::Paused
        | ExecutionState::Failed
        | ExecutionState::RolledBack => FAILED,
    }
}

/// What to do about an error of a kind, where that is the same for all of them.
pub(crate) fn hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Authentication => Some("check the user and password in the environment's url"),
        ErrorKind::ConnectionLost | ErrorKind::CommitUnknown => Some("run the same command again: it goes on where it stopped"),
        ErrorKind::Fenced => Some("another process has taken over this job; `migrate executions` shows it"),
        ErrorKind::NoSpace => Some("make room, then run the same command again: it goes on where it stopped"),
        ErrorKind::TooManyRefused => {
            Some("`migrate executions show` says why rows were refused; --max-quarantined N allows more of them")
        }
        ErrorKind::Internal => Some("this is a bug of migrate; please report it with the output of -v"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_spelt_in_snake_case() {
        assert_eq!(kind_name(ErrorKind::Config), "config");
        assert_eq!(kind_name(ErrorKind::TooManyRefused), "too_many_refused");
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        for (kind, expected) in [
            (ErrorKind::Config, 2),
            (ErrorKind::NotFound, 2),
            (ErrorKind::Connection, 1),
            (ErrorKind::Refused, 5),
            (ErrorKind::Cancelled, 130),
            (ErrorKind::Schema, 1),
        ] {
            assert_eq!(code(kind), expected, "{kind:?}");
        }
        for (state, expected) in [
            (ExecutionState::Succeeded, 0),
            (ExecutionState::Failed, 1),
            (ExecutionState::Partial, 3),
            (ExecutionState::Cancelled, 130),
        ] {
            assert_eq!(code_of_run(state, None), expected, "{state}");
        }
        assert_eq!(code_of_run(ExecutionState::Failed, Some(ErrorKind::Refused)), 5);
        assert_eq!(
            code_of_run(ExecutionState::Failed, Some(ErrorKind::NotFound)),
            1,
            "a table that went away is no wrong argument"
        );
    }

    #[test]
    fn a_document_holds_the_kind_the_objects_and_the_causes() {
        let error = Error::new(ErrorKind::NotFound, "there is no table").with("entity", "x").caused_by("because");
        let expected = json!({
            "kind": "not_found", "message": "there is no table", "context": { "entity": "x" }, "causes": ["because"]
        });
        assert_eq!(document(&error), expected);
    }
}
