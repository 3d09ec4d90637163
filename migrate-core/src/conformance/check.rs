//! Saying what was expected and what was found.

use crate::error::{Error, ErrorKind, Result};
use crate::value::{Page, Row, Value, canonical};
use std::fmt;

/// Why a case failed.
pub struct Failure(String);

/// What a case returns.
pub(super) type Outcome = std::result::Result<(), Failure>;

impl Failure {
    /// Creates a failure with a message that says what was expected and what was found.
    pub fn new(message: impl Into<String>) -> Self {
        Failure(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(format!("an unexpected error: {error:?}"))
    }
}

/// Fails unless a condition holds.
pub(super) fn ensure(condition: bool, expected: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Failure(expected())) }
}

/// Fails unless two things are equal.
pub(super) fn ensure_eq<T: PartialEq + fmt::Debug>(found: T, expected: T, what: &str) -> Outcome {
    ensure(found == expected, || format!("{what}: expected {expected:?}, found {found:?}"))
}

/// Fails unless an operation failed with one of these kinds; gives its error.
pub(super) fn ensure_error<T>(result: Result<T>, kinds: &[ErrorKind], what: &str) -> std::result::Result<Error, Failure> {
    match result {
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => Err(Failure(format!("{what}: expected an error of kind {kinds:?}, found {error:?}"))),
        Ok(_) => Err(Failure(format!("{what}: expected an error of kind {kinds:?}, found none"))),
    }
}

/// Fails unless two sets of rows are equal to the letter, whatever their order.
pub(super) fn ensure_rows(found: &[Row], expected: &[Row], what: &str) -> Outcome {
    let encode = |rows: &[Row]| {
        let mut encoded: Vec<(Vec<u8>, String)> = rows.iter().map(|row| (canonical_bytes(row), format!("{row:?}"))).collect();
        encoded.sort();
        encoded
    };
    let (mut found, mut expected) = (encode(found), encode(expected));
    let counts = format!("{} rows where {} were expected", found.len(), expected.len());
    // What both have is taken out, one for one.
    found.retain(|row| match expected.iter().position(|e| e.0 == row.0) {
        Some(at) => {
            expected.remove(at);
            false
        }
        None => true,
    });
    ensure(found.is_empty() && expected.is_empty(), || {
        let some =
            |rows: &[(Vec<u8>, String)]| rows.iter().take(3).map(|r| r.1.chars().take(400).collect()).collect::<Vec<String>>();
        format!("{what}: {counts}; missing {:?}, too many {:?}", some(&expected), some(&found))
    })
}

/// Returns the canonical bytes of a row.
pub(super) fn canonical_bytes(row: &[Value<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    row.iter().for_each(|value| canonical::encode_value(value, &mut bytes));
    bytes
}

/// Decodes all rows of pages.
pub(super) fn rows_of<'p>(pages: impl IntoIterator<Item = &'p Page>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for page in pages {
        for row in page.rows() {
            rows.push(row.values()?.into_iter().map(Value::into_owned).collect());
        }
    }
    Ok(rows)
}
