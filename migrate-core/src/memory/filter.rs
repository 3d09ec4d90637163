//! The conditions that the memory adapter understands: comparisons of a column with a parameter, a number or a text, joined by AND.

use super::table::places;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filter, Parameter, Piece};
use crate::schema::TableSchema;
use crate::value::text::to_text;
use crate::value::{Row, Value};
use std::cmp::Ordering;

/// A filter made ready for the rows of one table.
#[derive(Debug)]
pub(super) struct Condition(Vec<Comparison>);

struct Comparison {
    column: usize,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Null(bool),
    Compare(Operator, Parameter),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl std::fmt::Debug for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is compared with may be personal data.
        f.debug_struct("Comparison").field("column", &self.column).finish_non_exhaustive()
    }
}

enum Token {
    Word(String),
    Quoted(String),
    Literal(Parameter),
    Operator(Operator),
}

impl Condition {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if it names a column that the table does not have, [`ErrorKind::Unsupported`] if it is no list of comparisons.
    pub(super) fn new(filter: &Filter, table: &TableSchema) -> Result<Self> {
        let mut tokens = Vec::new();
        for piece in filter.pieces() {
            match piece {
                Piece::Parameter(name) => tokens.push(Token::Literal(filter.parameters()[name].clone())),
                Piece::Sql(sql) => tokenize(sql, &mut tokens)?,
            }
        }
        let mut tokens = tokens.into_iter().peekable();
        let mut comparisons = Vec::new();
        loop {
            let name = match tokens.next() {
                Some(Token::Word(name) | Token::Quoted(name)) => name,
                _ => return Err(unsupported()),
            };
            let column = places(table, &[name])?[0];
            let test = match tokens.next() {
                Some(Token::Operator(operator)) => match tokens.next() {
                    Some(Token::Literal(with)) => Test::Compare(operator, with),
                    _ => return Err(unsupported()),
                },
                Some(Token::Word(is)) if is.eq_ignore_ascii_case("is") => {
                    let not = tokens.next_if(|t| matches!(t, Token::Word(w) if w.eq_ignore_ascii_case("not"))).is_some();
                    match tokens.next() {
                        Some(Token::Word(null)) if null.eq_ignore_ascii_case("null") => Test::Null(!not),
                        _ => return Err(unsupported()),
                    }
                }
                _ => return Err(unsupported()),
            };
            comparisons.push(Comparison { column, test });
            match tokens.next() {
                None => return Ok(Condition(comparisons)),
                Some(Token::Word(and)) if and.eq_ignore_ascii_case("and") => {}
                Some(_) => return Err(unsupported()),
            }
        }
    }

    pub(super) fn holds(&self, row: &Row) -> bool {
        self.0.iter().all(|comparison| {
            let value = &row[comparison.column];
            match &comparison.test {
                Test::Null(expected) => value.is_null() == *expected,
                Test::Compare(operator, with) => compare(value, with).is_some_and(|order| match operator {
                    Operator::Equal => order.is_eq(),
                    Operator::NotEqual => order.is_ne(),
                    Operator::Less => order.is_lt(),
                    Operator::LessOrEqual => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    Operator::GreaterOrEqual => order.is_ge(),
                }),
            }
        })
    }
}

/// Compares as SQL does where the kinds agree; other values are compared by their text. NULL compares with nothing.
fn compare(value: &Value<'_>, with: &Parameter) -> Option<Ordering> {
    match (value, with) {
        (Value::Null, _) => None,
        (Value::Int(a), Parameter::Int(b)) => Some(a.cmp(b)),
        (Value::Int(a), Parameter::Float(b)) => (*a as f64).partial_cmp(b),
        (Value::Float(a), Parameter::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Value::Float(a), Parameter::Float(b)) => a.partial_cmp(b),
        (Value::Bool(a), Parameter::Bool(b)) => Some(a.cmp(b)),
        (Value::Text(a), b) => Some(a.as_ref().cmp(b.to_string().as_str())),
        (Value::Int(a), Parameter::Text(b)) => Some(a.cmp(&b.parse().ok()?)),
        (other, Parameter::Text(b)) => Some(to_text(other).as_ref().cmp(b)),
        _ => None,
    }
}

fn tokenize(sql: &str, tokens: &mut Vec<Token>) -> Result<()> {
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            c if c.is_whitespace() => c.len_utf8(),
            '"' | '\'' => {
                let (content, length) = quoted(rest, first)?;
                tokens.push(if first == '"' { Token::Quoted(content) } else { Token::Literal(Parameter::Text(content)) });
                length
            }
            '-' | '0'..='9' => {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').map_or(rest.len(), |n| n + 1);
                let number = &rest[..end];
                let literal = match number.parse::<i64>() {
                    Ok(int) => Parameter::Int(int),
                    Err(_) => Parameter::Float(number.parse().map_err(|_| unsupported())?),
                };
                tokens.push(Token::Literal(literal));
                end
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
            _ => {
                // The longer spellings first.
                let spellings = [
                    ("<=", Operator::LessOrEqual),
                    (">=", Operator::GreaterOrEqual),
                    ("<>", Operator::NotEqual),
                    ("!=", Operator::NotEqual),
                    ("<", Operator::Less),
                    (">", Operator::Greater),
                    ("=", Operator::Equal),
                ];
                let (spelling, operator) = spellings.into_iter().find(|(s, _)| rest.starts_with(s)).ok_or_else(unsupported)?;
                tokens.push(Token::Operator(operator));
                spelling.len()
            }
        };
        rest = &rest[taken..];
    }
    Ok(())
}

/// The content of a quoted text, quotes undoubled, and its length with the quotes.
fn quoted(sql: &str, quote: char) -> Result<(String, usize)> {
    let mut content = String::new();
    let mut chars = sql.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.next_if(|(_, c)| *c == quote).is_some() {
            content.push(quote);
        } else {
            return Ok((content, at + 1));
        }
    }
    Err(unsupported())
}

fn unsupported() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the memory adapter understands comparisons of a column with a value, joined by AND, and no other filter",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::table;
    use crate::value::DataType;
    use std::collections::BTreeMap;

    fn holds(sql: &str, row: &Row) -> bool {
        let schema = table("t", &[("id", DataType::Int64), ("odd name", DataType::TEXT)], &["id"]);
        let parameters = BTreeMap::from([("max".to_owned(), Parameter::Int(5))]);
        let filter = Filter::parse(sql, &parameters).expect("the filter parses");
        Condition::new(&filter, &schema).expect("the condition is understood").holds(row)
    }

    #[test]
    fn comparisons_are_joined_by_and() {
        let row = vec![Value::Int(-3), Value::Text("it's".into())];
        assert!(holds("id < :max and \"odd name\" = 'it''s'", &row));
        assert!(!holds("id < :max AND \"odd name\" <> 'it''s'", &row));
        assert!(holds("id >= -3 AND id <= -3.0", &row));
        assert!(holds("\"odd name\" IS NOT NULL", &row));
    }

    #[test]
    fn null_compares_with_nothing() {
        let row = vec![Value::Int(1), Value::Null];
        assert!(!holds("\"odd name\" = 'x'", &row));
        assert!(!holds("\"odd name\" <> 'x'", &row));
        assert!(holds("\"odd name\" is null", &row));
    }

    #[test]
    fn anything_else_is_refused() {
        let schema = table("t", &[("id", DataType::Int64)], &["id"]);
        for sql in ["id < 3 OR id > 5", "id", "id <", "id IN (1)", "lower(id) = 1", ""] {
            let filter = Filter::parse(sql, &BTreeMap::new()).expect("the filter parses");
            assert!(Condition::new(&filter, &schema).is_err(), "{sql}");
        }
    }
}
