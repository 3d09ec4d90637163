//! Expressions: a value that the source makes of each row, in its own SQL with named, bound parameters.

use crate::error::{Error, ErrorKind, Result};
use crate::filter::{Filter, Parameter, split};
use std::collections::BTreeMap;
use std::fmt;

/// What errors call it.
const WHAT: &str = "expression";

/// An expression over one row, in the source's SQL, with parameters written `:name`.
///
/// ```
/// use migrate_core::expression::Expression;
/// use std::collections::BTreeMap;
///
/// let name = Expression::parse("first_name || ' ' || last_name", &BTreeMap::new())?;
/// assert_eq!(name.render(|_, _| String::new()), "(first_name || ' ' || last_name\n)");
/// # Ok::<(), migrate_core::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Expression(Filter);

impl Expression {
    /// Parses an expression and attaches the parameters that it names; what is left alone is as in [`Filter::parse`].
    ///
    /// This is the first look only: the source has the last word, see [`crate::Source::describe`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a parameter has no value, a quote or comment is left open, parentheses do not match, or it says more than one
    /// expression can.
    pub fn parse(sql: &str, parameters: &BTreeMap<String, Parameter>) -> Result<Self> {
        Expression::check(sql)?;
        Filter::parse_as(WHAT, sql, parameters).map(Expression)
    }

    /// Checks what can be told without the source.
    pub(crate) fn check(sql: &str) -> Result<()> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, message));
        let (mut open, mut closed_early, mut ended) = (0_usize, false, false);
        split(WHAT, sql, &mut |byte| match byte {
            b'(' => open += 1,
            b')' => match open.checked_sub(1) {
                Some(left) => open = left,
                None => closed_early = true,
            },
            b';' => ended = true,
            _ => {}
        })?;
        if sql.trim().is_empty() {
            return wrong("the expression is empty");
        }
        if sql.contains('\0') {
            return wrong("the expression holds a zero byte");
        }
        if ended {
            return wrong("the expression holds a semicolon, and can be no more than one expression");
        }
        if closed_early {
            return wrong("the expression has a closing ) without its opening one");
        }
        if open > 0 {
            return wrong("the expression has an opening ( without its closing one");
        }
        Ok(())
    }

    /// Returns the names of the parameters in an expression.
    pub(crate) fn names(sql: &str) -> Result<Vec<String>> {
        Filter::names(WHAT, sql)
    }

    /// Returns its parts and parameters, in the form in which a condition has them.
    pub fn as_filter(&self) -> &Filter {
        &self.0
    }

    /// Renders the expression in parentheses, with `placeholder` giving the engine's spelling of each parameter.
    pub fn render(&self, placeholder: impl FnMut(&str, &Parameter) -> String) -> String {
        // The line break ends a comment that it may end with.
        format!("({}\n)", self.0.render(placeholder))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(sql: &str) -> Result<Expression> {
        Expression::parse(sql, &BTreeMap::from([("n".to_owned(), Parameter::Int(1))]))
    }

    #[test]
    fn what_is_no_single_expression_is_refused_and_what_is_quoted_is_left_alone() {
        for (sql, says) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("a; DROP TABLE t", "semicolon"),
            ("a) FROM t, (SELECT 1", "closing )"),
            ("lower(a", "opening ("),
            ("lower(a))", "closing )"),
            ("a /* b", "opening */"),
            ("'a", "opening '"),
            ("a\0", "zero byte"),
            (":m", ":m"),
        ] {
            let error = parse(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(says) && error.to_string().contains("expression"), "{sql}: {error}");
        }
        for sql in ["lower(a) -- ;)", "');' || a", "\"a;)\" /* ) */", "(a + :n) * (b)", "$$)$$"] {
            assert!(parse(sql).is_ok(), "{sql}");
        }
    }

    #[test]
    fn a_comment_at_its_end_swallows_nothing_and_parameters_are_no_part_of_its_text() {
        let rendered = parse("a + :n -- more").expect("an expression").render(|name, _| format!("${name}"));
        assert_eq!(rendered, "(a + $n -- more\n)");
    }
}
