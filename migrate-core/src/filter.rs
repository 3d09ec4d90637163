//! Filters: a condition in the source's own SQL with named, bound parameters.

use crate::error::{Error, ErrorKind, Result};
use crate::value::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The value of a parameter, as TOML and JSON spell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Parameter {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text, dates included.
    Text(String),
}

impl Parameter {
    /// Returns it as a value of a row.
    pub(crate) fn to_value(&self) -> Value<'static> {
        match self {
            Parameter::Bool(v) => Value::Bool(*v),
            Parameter::Int(v) => Value::Int(*v),
            Parameter::Float(v) => Value::Float(*v),
            Parameter::Text(v) => Value::Text(v.clone().into()),
        }
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parameter::Bool(value) => write!(f, "{value}"),
            Parameter::Int(value) => write!(f, "{value}"),
            Parameter::Float(value) => write!(f, "{value}"),
            Parameter::Text(value) => write!(f, "{value}"),
        }
    }
}

/// A condition that rows must meet, in the source's SQL, with parameters written `:name`.
#[derive(Clone, PartialEq)]
pub struct Filter {
    pieces: Vec<Piece>,
    parameters: BTreeMap<String, Parameter>,
}

/// A part of a filter: SQL as it stands, or a parameter to be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// SQL to be passed on to the letter.
    Sql(String),
    /// A parameter by name.
    Parameter(String),
}

impl Filter {
    /// Parses a condition and attaches the parameters that it names.
    ///
    /// `:name` inside quotes, comments and dollar quotes is left alone, and so is a cast (`::type`).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a parameter that the condition names has no value, or a quote is left open.
    pub fn parse(sql: &str, parameters: &BTreeMap<String, Parameter>) -> Result<Self> {
        Filter::parse_as("filter", sql, parameters)
    }

    /// Parses SQL as [`Filter::parse`] does; `what` is what errors call it.
    pub(crate) fn parse_as(what: &str, sql: &str, parameters: &BTreeMap<String, Parameter>) -> Result<Self> {
        let pieces = split(what, sql, &mut |_| {})?;
        let mut used = BTreeMap::new();
        for piece in &pieces {
            if let Piece::Parameter(name) = piece {
                let value = parameters.get(name).ok_or_else(|| {
                    let hint = crate::hint::nearest(name, parameters.keys().map(String::as_str));
                    let message = format!(
                        "the {what} names the parameter :{name}, which has no value; give one with --param {name}=…, or under params in \
                         the job{hint}"
                    );
                    Error::new(ErrorKind::Config, message)
                })?;
                used.insert(name.clone(), value.clone());
            }
        }
        Ok(Filter { pieces, parameters: used })
    }

    /// Narrows a condition, if there is one, to rows whose column is not below a value, or NULL.
    pub(crate) fn from(base: Option<&Filter>, column: &str, from: Parameter) -> Self {
        let (mut pieces, mut parameters) = (Vec::new(), BTreeMap::new());
        if let Some(base) = base {
            pieces.push(Piece::Sql("(".to_owned()));
            pieces.extend(base.pieces.iter().cloned());
            // The line break ends a comment that the condition may end with.
            pieces.push(Piece::Sql("\n) AND ".to_owned()));
            parameters.clone_from(&base.parameters);
        }
        let column = format!("\"{}\"", column.replace('"', "\"\""));
        let mut name = "cursor".to_owned();
        while parameters.contains_key(&name) {
            name.push('_');
        }
        pieces.push(Piece::Sql(format!("({column} IS NULL OR {column} >= ")));
        pieces.push(Piece::Parameter(name.clone()));
        pieces.push(Piece::Sql(")".to_owned()));
        parameters.insert(name, from);
        Filter { pieces, parameters }
    }

    /// Returns the names of the parameters in a condition, or another piece of SQL, each as often as it stands there.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a quote is left open.
    pub(crate) fn names(what: &str, sql: &str) -> Result<Vec<String>> {
        let name = |piece| match piece {
            Piece::Parameter(name) => Some(name),
            Piece::Sql(_) => None,
        };
        Ok(split(what, sql, &mut |_| {})?.into_iter().filter_map(name).collect())
    }

    /// Returns the parts in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Returns the parameters that the condition names.
    pub fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.parameters
    }

    /// Renders the condition, with `placeholder` giving the engine's spelling of each parameter.
    pub fn render(&self, mut placeholder: impl FnMut(&str, &Parameter) -> String) -> String {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Sql(sql) => sql.clone(),
                Piece::Parameter(name) => placeholder(name, &self.parameters[name]),
            })
            .collect()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters may be personal data: their names only.
        f.debug_struct("Filter").field("pieces", &self.pieces).finish_non_exhaustive()
    }
}

/// Splits SQL at its parameters, and shows what is neither quoted, nor a comment, nor a parameter, byte by byte.
pub(crate) fn split(what: &str, sql: &str, plain: &mut dyn FnMut(u8)) -> Result<Vec<Piece>> {
    let closing = |sql, from, end: &str| closing(what, sql, from, end);
    let bytes = sql.as_bytes();
    let (mut pieces, mut start, mut i) = (Vec::new(), 0, 0);
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    while i < bytes.len() {
        match bytes[i] {
            quote @ (b'\'' | b'"' | b'`') => i = closing(sql, i + 1, &(quote as char).to_string())?,
            b'[' if bytes[i..].contains(&b']') && !bytes[..i].last().is_some_and(|b| word(*b) || *b == b'"') => {
                i = closing(sql, i + 1, "]")?;
            }
            b'-' if bytes.get(i + 1) == Some(&b'-') => i = sql[i..].find('\n').map_or(bytes.len(), |n| i + n + 1),
            b'/' if bytes.get(i + 1) == Some(&b'*') => i = closing(sql, i + 2, "*/")?,
            b'$' if !bytes[..i].last().is_some_and(|b| word(*b)) => match sql[i + 1..].find('$') {
                Some(n) if sql[i + 1..i + 1 + n].bytes().all(word) && !bytes.get(i + 1).is_some_and(u8::is_ascii_digit) => {
                    let tag = &sql[i..i + n + 2];
                    i = closing(sql, i + n + 2, tag)?;
                }
                _ => i += 1,
            },
            b':' if bytes.get(i + 1) == Some(&b':') => i += 2,
            b':' if bytes.get(i + 1).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') => {
                let end = i + 1 + bytes[i + 1..].iter().take_while(|b| word(**b)).count();
                pieces.push(Piece::Sql(sql[start..i].to_owned()));
                pieces.push(Piece::Parameter(sql[i + 1..end].to_owned()));
                (start, i) = (end, end);
            }
            byte => {
                plain(byte);
                i += 1;
            }
        }
    }
    pieces.push(Piece::Sql(sql[start..].to_owned()));
    pieces.retain(|p| !matches!(p, Piece::Sql(s) if s.is_empty()));
    Ok(pieces)
}

/// The place behind the next `end` from `from` on.
fn closing(what: &str, sql: &str, from: usize, end: &str) -> Result<usize> {
    sql[from..]
        .find(end)
        .map(|n| from + n + end.len())
        .ok_or_else(|| Error::new(ErrorKind::Config, format!("the {what} has an opening {end} without its end")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sql: &str) -> Vec<String> {
        let pieces = split("filter", sql, &mut |_| {}).expect("the filter is well formed");
        pieces.into_iter().filter_map(|p| if let Piece::Parameter(n) = p { Some(n) } else { None }).collect()
    }

    #[test]
    fn parameters_are_found_outside_of_quotes_comments_and_casts_only() {
        assert_eq!(names("a < :x AND b = ':y' AND c::text = :z"), ["x", "z"]);
        assert_eq!(names("a = $$:q$$ -- :c\n AND \"odd:name\" = :w /* :v */"), ["w"]);
        assert_eq!(names("'it''s :no' = :yes"), ["yes"]);
    }

    #[test]
    fn a_parameter_without_a_value_is_named_with_a_hint() {
        let given = BTreeMap::from([("max_artist".to_owned(), Parameter::Int(1))]);
        let error = Filter::parse("a < :max_artits", &given).expect_err("the name is misspelt");
        assert!(error.to_string().contains(":max_artits"), "{error}");
        assert!(error.to_string().contains("--param max_artits=…"), "{error}");
        assert!(error.to_string().contains("max_artist"), "{error}");
    }

    #[test]
    fn an_open_quote_is_refused() {
        let error = Filter::parse("a = 'x", &BTreeMap::new()).expect_err("open quote");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
