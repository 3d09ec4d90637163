//! Defaults of other engines: literals and the current time carry over, expressions do not.

use super::tokens::{Dialect, Kind, Token, tokenize};
use crate::sql::quote_literal;
use migrate_core::value::{DataType, text};

/// What becomes of a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Default {
    /// It means no default.
    None,
    /// It carries over as this expression.
    Carried(String),
    /// It cannot be carried over.
    Lost,
}

/// Translates a SQLite default for a column of a PostgreSQL type.
pub(super) fn translate(default: &str, data_type: &DataType) -> Default {
    let Some(tokens) = tokenize(default, Dialect::Sqlite) else { return Default::Lost };
    let mut tokens = tokens.as_slice();
    while let [open, inner @ .., close] = tokens {
        if !(open.is_symbol("(") && close.is_symbol(")") && inner.iter().all(|t| !t.is_symbol("(") && !t.is_symbol(")"))) {
            break;
        }
        tokens = inner;
    }
    match tokens {
        [Token { kind: Kind::Text(value), .. }] => literal(value, data_type, true),
        // A word in double quotes that names no column is a string to SQLite; a default can name none.
        [Token { kind: Kind::Quoted(value), .. }] => literal(value, data_type, true),
        [Token { kind: Kind::Number(value), .. }] => literal(value, data_type, false),
        [sign, Token { kind: Kind::Number(value), .. }] if sign.is_symbol("-") => literal(&format!("-{value}"), data_type, false),
        [sign, Token { kind: Kind::Number(value), .. }] if sign.is_symbol("+") => literal(value, data_type, false),
        [Token { kind: Kind::Blob, .. }] => blob(default, data_type),
        [word] if word.is_word("NULL") => Default::None,
        [word] if word.is_word("TRUE") => literal("1", data_type, false),
        [word] if word.is_word("FALSE") => literal("0", data_type, false),
        [word] if word.is_word("CURRENT_TIMESTAMP") => now(data_type, "YYYY-MM-DD HH24:MI:SS"),
        [word] if word.is_word("CURRENT_DATE") => now(data_type, "YYYY-MM-DD"),
        [word] if word.is_word("CURRENT_TIME") => now(data_type, "HH24:MI:SS"),
        _ => Default::Lost,
    }
}

fn literal(value: &str, data_type: &DataType, quoted: bool) -> Default {
    let fits = |holds: bool, sql: String| if holds { Default::Carried(sql) } else { Default::Lost };
    match data_type {
        DataType::Bool => match value {
            "1" => Default::Carried("true".to_owned()),
            "0" => Default::Carried("false".to_owned()),
            _ if quoted && (value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("t")) => {
                Default::Carried("true".to_owned())
            }
            _ if quoted && (value.eq_ignore_ascii_case("false") || value.eq_ignore_ascii_case("f")) => {
                Default::Carried("false".to_owned())
            }
            _ => Default::Lost,
        },
        DataType::Int16 => fits(value.parse::<i16>().is_ok(), value.to_owned()),
        DataType::Int32 => fits(value.parse::<i32>().is_ok(), value.to_owned()),
        DataType::Int64 => fits(value.parse::<i64>().is_ok(), value.to_owned()),
        DataType::Float32 | DataType::Float64 => {
            fits(is_decimal(value) && value.parse::<f64>().is_ok_and(f64::is_finite), value.to_owned())
        }
        DataType::Decimal { precision, scale } => {
            fits(is_decimal(value) && fits_decimal(value, *precision, *scale), value.to_owned())
        }
        DataType::Text { max_chars } => {
            let short = max_chars.is_none_or(|n| value.chars().count() <= n as usize);
            // A number in a text column is stored as SQLite prints it, which for a whole number is how it is written.
            fits(short && !value.contains('\0') && (quoted || value.parse::<i64>().is_ok()), quote_literal(value))
        }
        DataType::Char { chars } => fits(quoted && value.chars().count() <= *chars as usize, quote_literal(value)),
        DataType::Date
        | DataType::Time { .. }
        | DataType::TimeTz { .. }
        | DataType::Timestamp { .. }
        | DataType::TimestampTz { .. }
        | DataType::Interval
        | DataType::Uuid
        | DataType::Json
        | DataType::Jsonb => fits(quoted && text::parse(value, data_type).is_some(), quote_literal(value)),
        _ => Default::Lost,
    }
}

fn is_decimal(value: &str) -> bool {
    value.chars().any(|c| c.is_ascii_digit())
        && value.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'))
}

/// Whether a plain decimal literal keeps all its digits in a `numeric(p,s)`.
fn fits_decimal(value: &str, precision: Option<u32>, scale: Option<i32>) -> bool {
    let Some(precision) = precision else { return true };
    if value.contains(['e', 'E']) {
        return false;
    }
    let scale = scale.unwrap_or(0).max(0) as usize;
    let (whole, fraction) =
        value.trim_start_matches(['-', '+']).split_once('.').unwrap_or((value.trim_start_matches(['-', '+']), ""));
    fraction.trim_end_matches('0').len() <= scale && whole.trim_start_matches('0').len() + scale <= precision as usize
}

fn blob(default: &str, data_type: &DataType) -> Default {
    let digits: String = default.chars().skip_while(|c| *c != '\'').filter(|c| *c != '\'').take_while(|c| *c != ')').collect();
    let digits = digits.trim();
    if *data_type == DataType::Bytes && digits.len().is_multiple_of(2) && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return Default::Carried(format!("{}::pg_catalog.bytea", quote_literal(&format!("\\x{digits}")).trim_start()));
    }
    Default::Lost
}

/// SQLite's current time is UTC to the second, as text; a column of a time type gets the same moment in its own form.
fn now(data_type: &DataType, form: &str) -> Default {
    let utc = "(CURRENT_TIMESTAMP AT TIME ZONE 'UTC')";
    let date = form == "YYYY-MM-DD";
    let time = form == "HH24:MI:SS";
    Default::Carried(match data_type {
        DataType::Text { max_chars } if max_chars.is_none_or(|n| n >= 19) => {
            format!("pg_catalog.to_char({utc}, '{form}')")
        }
        DataType::TimestampTz { .. } if !date && !time => "CURRENT_TIMESTAMP".to_owned(),
        DataType::Timestamp { .. } if !date && !time => utc.to_owned(),
        DataType::Date if !time => format!("{utc}::pg_catalog.date"),
        DataType::Time { .. } if time => format!("{utc}::pg_catalog.time"),
        _ => return Default::Lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_that_fit_the_column_are_carried_over() {
        let carried = |sql: &str| Default::Carried(sql.to_owned());
        assert_eq!(translate("0", &DataType::Bool), carried("false"));
        assert_eq!(translate("(-5)", &DataType::Int32), carried("-5"));
        assert_eq!(translate("'it''s'", &DataType::TEXT), carried("'it''s'"));
        assert_eq!(translate("\"plain\"", &DataType::TEXT), carried("'plain'"));
        assert_eq!(translate("NULL", &DataType::TEXT), Default::None);
        assert_eq!(translate("1.50", &DataType::Decimal { precision: Some(4), scale: Some(2) }), carried("1.50"));
        assert_eq!(translate("x'00fF'", &DataType::Bytes), carried("E'\\\\x00fF'::pg_catalog.bytea"));
        assert_eq!(translate("CURRENT_TIMESTAMP", &DataType::TimestampTz { precision: None }), carried("CURRENT_TIMESTAMP"));
    }

    #[test]
    fn what_would_change_its_meaning_is_not() {
        let cases = [
            ("40000", DataType::Int16),
            ("1.5", DataType::Int64),
            ("1.555", DataType::Decimal { precision: Some(4), scale: Some(2) }),
            ("'abc'", DataType::Text { max_chars: Some(2) }),
            ("1.50", DataType::TEXT),
            ("(datetime('now'))", DataType::TEXT),
            ("'x'", DataType::Int64),
            ("'open", DataType::TEXT),
            ("0x10", DataType::Int64),
        ];
        for (default, data_type) in cases {
            assert_eq!(translate(default, &data_type), Default::Lost, "{default} for {data_type}");
        }
    }
}
