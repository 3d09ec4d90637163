//! Translates the conditions that mean the same in PostgreSQL and in SQLite's storage of its types.
//!
//! A condition that is not surely the same is not translated: the plan then says so. What is understood: comparisons of columns with
//! literals and with one another, `AND`, `OR`, `NOT`, `IN`, `= ANY (ARRAY[…])`, `<> ALL (ARRAY[…])`, `BETWEEN`, `IS NULL`, and casts that change nothing.
//! Text is compared for equality only, since its order depends on the collation; decimals are compared as doubles where they have at
//! most 15 digits, which doubles hold apart.

use super::tokens::{Token, tokenize};
use crate::sql::{ident, literal};
use migrate_core::schema::TableSchema;
use migrate_core::value::DataType;

/// Translates a condition on the columns of a table; `None` if it is not surely the same in SQLite.
pub(super) fn translate(expression: &str, table: &TableSchema) -> Option<String> {
    let mut parser = Parser { tokens: tokenize(expression)?, at: 0, depth: 0, table };
    let term = parser.any_of()?;
    (parser.at == parser.tokens.len() && term.class == Class::Bool).then_some(term.sql)
}

/// What two sides must share to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Text,
    Bool,
    /// A column that can only be tested for NULL.
    Opaque,
}

#[derive(Debug, Clone)]
struct Term {
    sql: String,
    class: Class,
    /// The quoted column, where its NaN is stored as text and counts as the largest number.
    nan: Option<String>,
    literal: bool,
}

impl Term {
    fn new(sql: String, class: Class) -> Self {
        Term { sql, class, nan: None, literal: false }
    }

    fn literal(sql: String, class: Class) -> Self {
        Term { sql, class, nan: None, literal: true }
    }
}

/// Conditions nested deeper than this are not translated.
const MAX_DEPTH: usize = 100;

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    table: &'a TableSchema,
}

impl Parser<'_> {
    fn symbol(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Symbol(s)) if s == wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w.eq_ignore_ascii_case(wanted));
        self.at += usize::from(found);
        found
    }

    fn any_of(&mut self) -> Option<Term> {
        self.joined("OR", Self::all_of)
    }

    fn all_of(&mut self) -> Option<Term> {
        self.joined("AND", Self::negated)
    }

    fn joined(&mut self, word: &str, next: fn(&mut Self) -> Option<Term>) -> Option<Term> {
        let first = next(self)?;
        if !matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word)) {
            return Some(first);
        }
        let mut parts = vec![first];
        while self.word(word) {
            parts.push(next(self)?);
        }
        let all_conditions = parts.iter().all(|p| p.class == Class::Bool);
        let sql = parts.iter().map(|p| p.sql.as_str()).collect::<Vec<_>>().join(&format!(" {word} "));
        all_conditions.then(|| Term::new(format!("({sql})"), Class::Bool))
    }

    fn negated(&mut self) -> Option<Term> {
        if self.word("NOT") {
            self.depth += 1;
            let inner = (self.depth < MAX_DEPTH).then(|| self.negated()).flatten()?;
            self.depth -= 1;
            return (inner.class == Class::Bool).then(|| Term::new(format!("(NOT {})", inner.sql), Class::Bool));
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Option<Term> {
        let left = self.operand()?;
        if self.word("IS") {
            let not = if self.word("NOT") { "NOT " } else { "" };
            return self.word("NULL").then(|| Term::new(format!("({} IS {not}NULL)", left.sql), Class::Bool));
        }
        let not = self.word("NOT");
        if self.word("BETWEEN") {
            let low = self.operand()?;
            let high = self.word("AND").then(|| self.operand()).flatten()?;
            let fits = left.class == Class::Number && low.class == Class::Number && high.class == Class::Number;
            let not = if not { "NOT " } else { "" };
            return fits.then(|| Term::new(format!("({} {not}BETWEEN {} AND {})", left.sql, low.sql, high.sql), Class::Bool));
        }
        if self.word("IN") {
            let list = self.symbol("(").then(|| self.list(")")).flatten()?;
            return membership(&left, &list, not);
        }
        if not {
            return None;
        }
        let Some(Token::Symbol(operator)) = self.tokens.get(self.at).cloned() else { return Some(left) };
        if !["=", "<>", "!=", "<", "<=", ">", ">="].contains(&operator.as_str()) {
            return Some(left);
        }
        self.at += 1;
        if (operator == "=" && self.word("ANY")) || (operator == "<>" && self.word("ALL")) {
            let list = self.symbol("(").then(|| self.array()).flatten()?;
            return self.symbol(")").then(|| membership(&left, &list, operator == "<>")).flatten();
        }
        let right = self.operand()?;
        let equality = ["=", "<>", "!="].contains(&operator.as_str());
        let fits = left.class == right.class
            && match left.class {
                Class::Number => true,
                Class::Text | Class::Bool => equality,
                Class::Opaque => false,
            };
        // A NaN of two columns at once would need all combinations; such a check is left out.
        if !fits || (left.nan.is_some() && !right.literal) || (right.nan.is_some() && !left.literal) {
            return None;
        }
        let mut sql = format!("{} {operator} {}", left.sql, right.sql);
        let nan_passes = match operator.as_str() {
            ">" | ">=" => left.nan,
            "<" | "<=" => right.nan,
            "<>" | "!=" => left.nan.or(right.nan),
            _ => None,
        };
        if let Some(column) = nan_passes {
            sql = format!("{sql} OR {column} = 'NaN'");
        }
        Some(Term::new(format!("({sql})"), Class::Bool))
    }

    /// `ARRAY[…]`, in brackets or not, with casts of the array or not.
    fn array(&mut self) -> Option<Vec<Term>> {
        let bracket = self.symbol("(");
        let list = (self.word("ARRAY") && self.symbol("[")).then(|| self.list("]")).flatten()?;
        if self.symbol("::") {
            self.type_name()?;
        }
        if bracket && !self.symbol(")") {
            return None;
        }
        if self.symbol("::") {
            self.type_name()?;
        }
        Some(list)
    }

    fn list(&mut self, end: &str) -> Option<Vec<Term>> {
        let mut list = vec![self.operand()?];
        while self.symbol(",") {
            list.push(self.operand()?);
        }
        (self.symbol(end) && list.iter().all(|t| t.literal)).then_some(list)
    }

    fn operand(&mut self) -> Option<Term> {
        let mut term = self.primary()?;
        while self.symbol("::") {
            let name = self.type_name()?;
            term = self.cast(term, &name)?;
        }
        Some(term)
    }

    fn primary(&mut self) -> Option<Term> {
        if self.symbol("(") {
            self.depth += 1;
            let inner = (self.depth < MAX_DEPTH).then(|| self.any_of()).flatten()?;
            self.depth -= 1;
            return self.symbol(")").then_some(inner);
        }
        if self.symbol("-") {
            let Some(Token::Number(number)) = self.tokens.get(self.at).cloned() else { return None };
            self.at += 1;
            return number_literal(&format!("-{number}"));
        }
        let token = self.tokens.get(self.at).cloned()?;
        self.at += 1;
        match token {
            Token::Number(number) => number_literal(&number),
            // PostgreSQL writes backslashes as E'…', which arrives as a word before the text and is no column.
            Token::Text(text) => Some(Term::literal(literal(&text), Class::Text)),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Some(Term::literal("1".into(), Class::Bool)),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Some(Term::literal("0".into(), Class::Bool)),
            Token::Word(name) | Token::Quoted(name) => self.column(&name),
            Token::Symbol(_) => None,
        }
    }

    fn column(&self, name: &str) -> Option<Term> {
        let column = self.table.column(name)?;
        let plain_collation = column.collation.as_deref().is_none_or(|c| ["C", "POSIX", "default"].contains(&c));
        let sql = ident(name);
        Some(match &column.data_type {
            DataType::Bool => Term::new(sql, Class::Bool),
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Float64 => Term::new(sql, Class::Number),
            DataType::Decimal { precision: Some(digits), .. } if *digits <= 15 => {
                Term { sql: format!("CAST({sql} AS REAL)"), class: Class::Number, nan: Some(sql), literal: false }
            }
            DataType::Text { .. } | DataType::Enum { .. } if plain_collation => Term::new(sql, Class::Text),
            // Dates before year 1 and beyond 9999, padded text and the rest do not compare as their stored text does.
            _ => Term::new(sql, Class::Opaque),
        })
    }

    /// The name of a type, lower case, without its schema and modifiers.
    fn type_name(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::Word(word)
                    if !["AND", "OR", "IS", "NOT", "IN", "BETWEEN"].iter().any(|k| word.eq_ignore_ascii_case(k)) =>
                {
                    if !name.is_empty() {
                        name.push(' ');
                    }
                    name.push_str(&word.to_lowercase());
                }
                Token::Quoted(word) => name = word.clone(),
                Token::Symbol(s) if s == "." => name.clear(),
                Token::Word(_) | Token::Text(_) | Token::Number(_) | Token::Symbol(_) => break,
            }
            self.at += 1;
        }
        if self.symbol("(") {
            while !self.symbol(")") {
                self.tokens.get(self.at)?;
                self.at += 1;
            }
        }
        while self.symbol("[") {
            self.symbol("]").then_some(())?;
        }
        (!name.is_empty()).then_some(name)
    }

    /// Drops a cast that changes nothing.
    fn cast(&self, term: Term, name: &str) -> Option<Term> {
        const TEXTS: [&str; 3] = ["text", "character varying", "varchar"];
        const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
        const NUMBERS: [&str; 2] = ["numeric", "double precision"];
        let is_enum = || {
            self.table.columns.iter().any(|c| match &c.data_type {
                DataType::Enum { name: own, .. } => own.rsplit('.').next().is_some_and(|n| n.trim_matches('"') == name),
                _ => false,
            })
        };
        match term.class {
            Class::Text if TEXTS.contains(&name) || (term.literal && is_enum()) => Some(term),
            Class::Text if term.literal && (INTEGERS.contains(&name) || NUMBERS.contains(&name)) => {
                number_literal(term.sql.trim_matches('\''))
            }
            Class::Number if NUMBERS.contains(&name) => Some(term),
            Class::Number if INTEGERS.contains(&name) && !term.literal && term.nan.is_none() => {
                // Integer columns only: a float would be rounded.
                let integer = self.table.columns.iter().any(|c| {
                    ident(&c.name) == term.sql && matches!(c.data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
                });
                integer.then_some(term)
            }
            Class::Number if INTEGERS.contains(&name) && term.literal && term.sql.parse::<i64>().is_ok() => Some(term),
            Class::Bool if name == "boolean" => Some(term),
            Class::Text | Class::Number | Class::Bool | Class::Opaque => None,
        }
    }
}

fn membership(left: &Term, list: &[Term], not: bool) -> Option<Term> {
    if left.class == Class::Opaque || list.iter().any(|t| t.class != left.class) {
        return None;
    }
    let items = list.iter().map(|t| t.sql.as_str()).collect::<Vec<_>>().join(", ");
    let mut sql = format!("{} {}IN ({items})", left.sql, if not { "NOT " } else { "" });
    if let (true, Some(column)) = (not, &left.nan) {
        sql = format!("{sql} OR {column} = 'NaN'");
    }
    Some(Term::new(format!("({sql})"), Class::Bool))
}

/// A number that SQLite reads as PostgreSQL does: at most 15 significant digits, or an integer of 64 bits.
fn number_literal(text: &str) -> Option<Term> {
    let plain = text.strip_prefix('-').unwrap_or(text);
    let digits = plain.bytes().filter(u8::is_ascii_digit).count();
    let decimal =
        digits > 0 && digits <= 15 && plain.bytes().all(|b| b.is_ascii_digit() || b == b'.') && plain.matches('.').count() <= 1;
    (decimal || text.parse::<i64>().is_ok()).then(|| Term::literal(text.to_owned(), Class::Number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::tests::column;
    use migrate_core::schema::TableName;

    fn table() -> TableSchema {
        let mut table = TableSchema::new(TableName::new(Some("public"), "film"));
        table.columns = vec![
            column("price", DataType::Decimal { precision: Some(10), scale: Some(2) }),
            column("any", DataType::Decimal { precision: None, scale: None }),
            column("year", DataType::Int32),
            column("Status", DataType::TEXT),
            column("flag", DataType::Bool),
            column("score", DataType::Float64),
            column("mood", DataType::Enum { name: "public.mood".into(), labels: vec!["sad".into(), "ok".into()] }),
            column("since", DataType::Date),
        ];
        table
    }

    #[test]
    fn conditions_as_postgresql_prints_them_are_translated() {
        let cases = [
            ("((price > (0)::numeric))", "(CAST(\"price\" AS REAL) > 0 OR \"price\" = 'NaN')"),
            ("((year >= 1901) AND (year <= 2155))", "((\"year\" >= 1901) AND (\"year\" <= 2155))"),
            ("(\"Status\" = ANY (ARRAY['a'::text, 'it''s'::text]))", "(\"Status\" IN ('a', 'it''s'))"),
            (
                "((\"Status\")::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
                "(\"Status\" IN ('a', 'b'))",
            ),
            ("(\"Status\" <> ALL (ARRAY['a'::text]))", "(\"Status\" NOT IN ('a'))"),
            ("((year IS NOT NULL) OR (NOT flag))", "((\"year\" IS NOT NULL) OR (NOT \"flag\"))"),
            ("(flag = true)", "(\"flag\" = 1)"),
            ("((score >= '-1'::integer) AND (score <= (1)::double precision))", "((\"score\" >= -1) AND (\"score\" <= 1))"),
            ("(mood = 'sad'::mood)", "(\"mood\" = 'sad')"),
            ("((year)::numeric > 0.5)", "(\"year\" > 0.5)"),
            ("(since IS NULL)", "(\"since\" IS NULL)"),
            ("(year BETWEEN 1 AND 2)", "(\"year\" BETWEEN 1 AND 2)"),
        ];
        for (given, expected) in cases {
            assert_eq!(translate(given, &table()).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn conditions_that_may_mean_something_else_are_not_translated() {
        for given in [
            "(any > (0)::numeric)",
            "(\"Status\" > 'a'::text)",
            "(char_length(\"Status\") > 3)",
            "((year + 1) > 3)",
            "(since > '2020-01-01'::date)",
            "(price = (score)::numeric)",
            "(\"Status\" ~ '^x'::text)",
            "(missing = 1)",
            "(\"Status\" = E'a\\\\b'::text)",
            "year",
            "(year > 1) 2",
            "",
            "((score)::integer = 1)",
        ] {
            assert_eq!(translate(given, &table()), None, "{given}");
        }
        assert_eq!(translate(&format!("{}year = 1{}", "(".repeat(5000), ")".repeat(5000)), &table()), None);
    }
}
