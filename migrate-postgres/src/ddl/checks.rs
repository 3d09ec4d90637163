//! Check constraints of other engines: a small subset means the same in PostgreSQL and is carried over.
//!
//! ```text
//! or        = and { OR and }
//! and       = not { AND not }
//! not       = NOT not | predicate
//! predicate = "(" or ")" | operand ( compare operand | [NOT] IN (literals) | [NOT] BETWEEN literal AND literal | IS [NOT] NULL )
//! operand   = column | literal | length(text column)
//! ```
//!
//! Left out on purpose: LIKE (ignores case in SQLite), the order of texts (a matter of collation), arithmetic (integer division,
//! overflow), functions, and any comparison between types, which SQLite decides by affinity.

use super::tokens::{Dialect, Kind, Token, tokenize};
use crate::sql::{quote_ident, quote_literal};
use migrate_core::value::DataType;

/// A column that a check may name.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    /// The name at the source; compared without regard to case, as SQLite does.
    pub(super) source: &'a str,
    /// The name at the target.
    pub(super) target: &'a str,
    /// The type at the target.
    pub(super) data_type: &'a DataType,
}

/// Translates a condition; `None` if any part of it could mean something else.
pub(super) fn translate(expression: &str, columns: &[Named<'_>]) -> Option<String> {
    let tokens = tokenize(expression, Dialect::Sqlite)?;
    let mut parser = Parser { tokens: &tokens, columns, depth: 0 };
    let condition = parser.or()?;
    parser.tokens.is_empty().then_some(condition)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Text,
    Bool,
    Other,
}

struct Operand {
    sql: String,
    class: Class,
    literal: bool,
}

struct Parser<'a> {
    tokens: &'a [Token],
    columns: &'a [Named<'a>],
    depth: u32,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Option<String> {
        self.depth += 1;
        // Deeper conditions are somebody's generator's; the stack is not theirs.
        if self.depth > 64 {
            return None;
        }
        let mut sql = self.and()?;
        while self.word("OR") {
            sql = format!("({sql} OR {})", self.and()?);
        }
        self.depth -= 1;
        Some(sql)
    }

    fn and(&mut self) -> Option<String> {
        let mut sql = self.not()?;
        while self.word("AND") {
            sql = format!("({sql} AND {})", self.not()?);
        }
        Some(sql)
    }

    fn not(&mut self) -> Option<String> {
        let mut negations = 0;
        while self.word("NOT") {
            negations += 1;
        }
        let sql = self.predicate()?;
        Some(if negations % 2 == 1 { format!("(NOT {sql})") } else { sql })
    }

    fn predicate(&mut self) -> Option<String> {
        if self.symbol("(") {
            // Either a condition or an operand in parentheses; the latter is rare and left to a note.
            let sql = self.or()?;
            return self.symbol(")").then(|| format!("({sql})"));
        }
        let left = self.operand()?;
        if self.word("IS") {
            let not = self.word("NOT");
            return (self.word("NULL") && !left.literal)
                .then(|| format!("({} IS {}NULL)", left.sql, if not { "NOT " } else { "" }));
        }
        let negated = self.word("NOT");
        if self.word("IN") {
            return self.in_list(&left, negated);
        }
        if self.word("BETWEEN") {
            let (low, high) = (self.operand()?, self.word("AND").then_some(())?);
            let () = high;
            let high = self.operand()?;
            let numbers = [&left, &low, &high].iter().all(|o| o.class == Class::Number);
            let not = if negated { "NOT " } else { "" };
            return numbers.then(|| format!("({} {not}BETWEEN {} AND {})", left.sql, low.sql, high.sql));
        }
        if negated {
            return None;
        }
        match self.comparison() {
            Some(operator) => {
                let right = self.operand()?;
                compare(&left, operator, &right)
            }
            None => (left.class == Class::Bool && !left.literal).then_some(left.sql),
        }
    }

    fn in_list(&mut self, left: &Operand, negated: bool) -> Option<String> {
        if !self.symbol("(") || left.literal {
            return None;
        }
        let mut items = Vec::new();
        loop {
            let item = self.operand()?;
            if !item.literal {
                return None;
            }
            items.push(coerce(&item, left.class)?);
            if self.symbol(")") {
                break;
            }
            if !self.symbol(",") {
                return None;
            }
        }
        Some(format!("({} {}IN ({}))", left.sql, if negated { "NOT " } else { "" }, items.join(", ")))
    }

    fn operand(&mut self) -> Option<Operand> {
        let token = self.next()?;
        match &token.kind {
            Kind::Number(number) => literal_number(number, ""),
            Kind::Symbol("-") => match &self.next()?.kind {
                Kind::Number(number) => literal_number(number, "-"),
                _ => None,
            },
            Kind::Text(text) => {
                (!text.contains('\0')).then(|| Operand { sql: quote_literal(text), class: Class::Text, literal: true })
            }
            Kind::Word(word) if self.peek_symbol("(") => {
                if !word.eq_ignore_ascii_case("length") {
                    return None;
                }
                self.next()?;
                let argument = self.operand()?;
                let closed = self.symbol(")");
                (closed && argument.class == Class::Text && !argument.literal).then(|| Operand {
                    sql: format!("pg_catalog.length({})", argument.sql),
                    class: Class::Number,
                    literal: false,
                })
            }
            Kind::Word(word) => match self.column(word) {
                Some(column) => Some(column),
                None if word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false") => {
                    Some(Operand { sql: word.to_lowercase(), class: Class::Bool, literal: true })
                }
                None => None,
            },
            // Double quotes that name no column would be a string to SQLite, and are more likely a slip.
            Kind::Quoted(name) => self.column(name),
            Kind::Blob | Kind::Symbol(_) | Kind::Other(_) => None,
        }
    }

    fn column(&self, name: &str) -> Option<Operand> {
        let column = self.columns.iter().find(|c| c.source.eq_ignore_ascii_case(name))?;
        Some(Operand { sql: quote_ident(column.target), class: class_of(column.data_type), literal: false })
    }

    fn comparison(&mut self) -> Option<&'static str> {
        let Some(Kind::Symbol(symbol)) = self.tokens.first().map(|t| &t.kind) else { return None };
        let operator = match *symbol {
            "=" | "==" => "=",
            "<>" | "!=" => "<>",
            "<" => "<",
            "<=" => "<=",
            ">" => ">",
            ">=" => ">=",
            _ => return None,
        };
        self.next()?;
        Some(operator)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.tokens.first().is_some_and(|t| t.is_word(word));
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn peek_symbol(&self, symbol: &str) -> bool {
        self.tokens.first().is_some_and(|t| t.is_symbol(symbol))
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.peek_symbol(symbol);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }
}

fn literal_number(number: &str, sign: &str) -> Option<Operand> {
    let plain = number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    (plain && number.parse::<f64>().is_ok_and(f64::is_finite)).then(|| Operand {
        sql: format!("{sign}{number}"),
        class: Class::Number,
        literal: true,
    })
}

fn class_of(data_type: &DataType) -> Class {
    match data_type {
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal { .. } => Class::Number,
        DataType::Text { .. } => Class::Text,
        DataType::Bool => Class::Bool,
        _ => Class::Other,
    }
}

fn compare(left: &Operand, operator: &str, right: &Operand) -> Option<String> {
    if left.literal && right.literal {
        return None;
    }
    let class = if left.literal { right.class } else { left.class };
    let ordered = !matches!(operator, "=" | "<>");
    if class == Class::Other || (ordered && class != Class::Number) {
        return None;
    }
    Some(format!("({} {operator} {})", coerce(left, class)?, coerce(right, class)?))
}

/// A literal as the class needs it: 0 and 1 stand for truth values in SQLite.
fn coerce(operand: &Operand, class: Class) -> Option<String> {
    match (operand.class, class) {
        (given, wanted) if given == wanted && wanted != Class::Other => Some(operand.sql.clone()),
        (Class::Number, Class::Bool) if operand.literal => match operand.sql.as_str() {
            "0" => Some("false".to_owned()),
            "1" => Some("true".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str) -> Option<String> {
        let columns = [
            Named { source: "Price", target: "Price", data_type: &DataType::Float64 },
            Named { source: "kind", target: "kind", data_type: &DataType::TEXT },
            Named { source: "on", target: "on", data_type: &DataType::Bool },
            Named { source: "day", target: "day", data_type: &DataType::Date },
        ];
        translate(expression, &columns)
    }

    #[test]
    fn conditions_that_mean_the_same_are_carried_over() {
        let cases = [
            ("price >= 0", "(\"Price\" >= 0)"),
            ("kind IN ('a', 'it''s')", "(\"kind\" IN ('a', 'it''s'))"),
            ("price BETWEEN -1 AND 1.5 OR price IS NULL", "((\"Price\" BETWEEN -1 AND 1.5) OR (\"Price\" IS NULL))"),
            ("NOT ([on] == 1 AND length(kind) <= 5)", "(NOT (((\"on\" = true) AND (pg_catalog.length(\"kind\") <= 5))))"),
            ("kind != 'x'", "(\"kind\" <> 'x')"),
            ("`on` IN (0,1)", "(\"on\" IN (false, true))"),
            ("day IS NOT NULL", "(\"day\" IS NOT NULL)"),
        ];
        for (sqlite, postgres) in cases {
            assert_eq!(check(sqlite).as_deref(), Some(postgres), "{sqlite}");
        }
    }

    #[test]
    fn anything_else_is_left_to_a_note() {
        let cases = [
            "kind LIKE 'a%'",
            "kind > 'a'",
            "price >= '0'",
            "kind = 1",
            "day > '2020-01-01'",
            "price + 1 > 0",
            "json_valid(kind)",
            "price IN ()",
            "other = 1",
            "\"x\" = kind",
            "price >= 0 extra",
            "price >= 0x10",
            "",
            "1 = 1",
            "(price",
        ];
        for expression in cases {
            assert_eq!(check(expression), None, "{expression}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_crash() {
        assert_eq!(check(&format!("{}price > 0{}", "(".repeat(100_000), ")".repeat(100_000))), None);
    }
}
