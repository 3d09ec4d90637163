//! Translates the defaults of other engines' columns.

use super::tokens::{Token, tokenize};
use crate::sql::literal;
use migrate_core::state::to_hex;
use migrate_core::value::conform::conform;
use migrate_core::value::{DataType, Value, text};

/// What becomes of a default.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// It says the same in this SQL.
    Same(String),
    /// It says nearly the same in this SQL; the text says how it differs.
    Near(String, String),
    /// It says nothing: NULL, or a number that SQLite gives by itself.
    None,
    /// It cannot be said.
    Unknown,
}

/// Translates a default, as PostgreSQL prints it, for a column of a logical type.
pub(super) fn translate(expression: &str, data_type: &DataType) -> Default {
    let Some(mut tokens) = tokenize(expression) else { return Default::Unknown };
    while is_bracketed(&tokens) {
        tokens.pop();
        tokens.remove(0);
    }
    if let Some(clock) = clock(&tokens, data_type) {
        return clock;
    }
    let (head, cast) = match tokens.iter().position(|t| is(t, "::")) {
        // A cast of the whole: what stands before it is one literal, in brackets or not.
        Some(at) => (&tokens[..at], &tokens[at..]),
        None => (&tokens[..], &tokens[..0]),
    };
    if !cast.iter().all(|t| {
        matches!(t, Token::Word(_) | Token::Quoted(_) | Token::Number(_))
            || ["::", "(", ")", ",", "[", "]", "."].iter().any(|s| is(t, s))
    }) {
        return match tokens.first() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("nextval") => Default::None,
            _ => Default::Unknown,
        };
    }
    let mut head = head.to_vec();
    while is_bracketed(&head) {
        head.pop();
        head.remove(0);
    }
    let value = match head.as_slice() {
        [Token::Word(word)] if word.eq_ignore_ascii_case("null") => return Default::None,
        [Token::Word(word)] if word.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        [Token::Word(word)] if word.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        [Token::Text(given)] | [Token::Number(given)] => text::parse(given, data_type),
        [sign, Token::Number(given)] if is(sign, "-") => text::parse(&format!("-{given}"), data_type),
        [Token::Word(word), Token::Symbol(open), ..] if word.eq_ignore_ascii_case("nextval") && open == "(" => {
            return Default::None;
        }
        _ => None,
    };
    let value = value.and_then(|v| conform(v, data_type).ok());
    value.as_ref().and_then(stored_literal).map_or(Default::Unknown, Default::Same)
}

fn is(token: &Token, symbol: &str) -> bool {
    matches!(token, Token::Symbol(s) if s == symbol)
}

/// Whether the first bracket ends with the last token.
fn is_bracketed(tokens: &[Token]) -> bool {
    if tokens.len() < 2 || !is(&tokens[0], "(") {
        return false;
    }
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        if is(token, "(") {
            depth += 1;
        } else if is(token, ")") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return at == tokens.len() - 1;
            }
        }
    }
    false
}

/// The current time, in the text form of the column.
fn clock(tokens: &[Token], data_type: &DataType) -> Option<Default> {
    const CLOCKS: [&str; 9] = [
        "now",
        "current_timestamp",
        "transaction_timestamp",
        "statement_timestamp",
        "clock_timestamp",
        "localtimestamp",
        "current_date",
        "current_time",
        "localtime",
    ];
    // Calls, casts and precisions around one clock; ('now'::text)::date is how old servers print CURRENT_DATE.
    let mut clocks = 0;
    for token in tokens {
        match token {
            Token::Word(word) => clocks += usize::from(CLOCKS.iter().any(|c| word.eq_ignore_ascii_case(c))),
            Token::Text(text) if text == "now" => clocks += 1,
            Token::Text(text) if text.eq_ignore_ascii_case("utc") => {}
            Token::Number(_) | Token::Quoted(_) => {}
            Token::Symbol(s) if ["::", "(", ")", ",", "."].contains(&s.as_str()) => {}
            Token::Text(_) | Token::Symbol(_) => return None,
        }
    }
    let known = |word: &str| {
        let types = ["timezone", "text", "date", "time", "timestamp", "with", "without", "zone", "pg_catalog"];
        CLOCKS.iter().chain(&types).any(|k| word.eq_ignore_ascii_case(k))
    };
    if clocks != 1 || !tokens.iter().all(|t| !matches!(t, Token::Word(w) if !known(w))) {
        return None;
    }
    let near = |sql: &str| Some(Default::Near(sql.to_owned(), "SQLite's clock gives whole seconds in UTC".to_owned()));
    match data_type {
        DataType::TimestampTz { .. } => near("CURRENT_TIMESTAMP || '+00'"),
        DataType::Timestamp { .. } => near("CURRENT_TIMESTAMP"),
        DataType::Time { .. } => near("CURRENT_TIME"),
        DataType::TimeTz { .. } => near("CURRENT_TIME || '+00'"),
        DataType::Date => Some(Default::Near("CURRENT_DATE".to_owned(), "SQLite's day changes at midnight UTC".to_owned())),
        _ => None,
    }
}

/// A value as a literal of its storage form.
fn stored_literal(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(v) => Some(i64::from(*v).to_string()),
        Value::Int(v) => Some(v.to_string()),
        Value::Float(v) if v.is_finite() => Some(format!("{v:?}")),
        Value::Float(v) if v.is_nan() => Some(literal("NaN")),
        // SQLite reads a number beyond its range as infinity.
        Value::Float(v) => Some(if *v > 0.0 { "9e999".to_owned() } else { "-9e999".to_owned() }),
        Value::Bytes(bytes) => Some(format!("X'{}'", to_hex(bytes))),
        other => Some(literal(&text::to_text(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(sql: &str) -> Default {
        Default::Same(sql.to_owned())
    }

    #[test]
    fn literals_are_printed_in_their_storage_form() {
        let decimal = DataType::Decimal { precision: Some(10), scale: Some(2) };
        assert_eq!(translate("'it''s'::text", &DataType::TEXT), same("'it''s'"));
        assert_eq!(translate("'-1'::integer", &DataType::Int32), same("-1"));
        assert_eq!(translate("(-1)", &DataType::Int64), same("-1"));
        assert_eq!(translate("0", &decimal), same("'0.00'"));
        assert_eq!(translate("true", &DataType::Bool), same("1"));
        assert_eq!(translate("'{}'::jsonb", &DataType::Jsonb), same("'{}'"));
        assert_eq!(translate("'2020-02-29'::date", &DataType::Date), same("'2020-02-29'"));
        assert_eq!(translate("'{1,2}'::integer[]", &DataType::Other { name: "integer[]".into() }), same("'{1,2}'"));
        assert_eq!(translate("'\\xdead'::bytea", &DataType::Bytes), same("X'dead'"));
        assert_eq!(translate("0.5", &DataType::Float64), same("0.5"));
        assert_eq!(
            translate("'G'::public.mpaa_rating", &DataType::Enum { name: "mpaa_rating".into(), labels: vec!["G".into()] }),
            same("'G'")
        );
    }

    #[test]
    fn clocks_are_said_to_differ_and_sequences_are_left_to_sqlite() {
        let stamp = DataType::TimestampTz { precision: None };
        for sql in ["now()", "CURRENT_TIMESTAMP", "('now'::text)::timestamp with time zone", "CURRENT_TIMESTAMP(3)"] {
            assert!(matches!(translate(sql, &stamp), Default::Near(..)), "{sql}");
        }
        assert_eq!(translate("nextval('public.film_id_seq'::regclass)", &DataType::Int64), Default::None);
        assert_eq!(translate("NULL::character varying", &DataType::TEXT), Default::None);
    }

    #[test]
    fn what_only_the_other_engine_computes_is_unknown() {
        for sql in
            ["gen_random_uuid()", "(now() - '1 day'::interval)", "('a'::text || 'b'::text)", "upper('a'::text)", "my_now()", "'a"]
        {
            assert_eq!(translate(sql, &DataType::TEXT), Default::Unknown, "{sql}");
        }
        assert_eq!(translate("(now() - '1 day'::interval)", &DataType::Timestamp { precision: None }), Default::Unknown);
    }
}
