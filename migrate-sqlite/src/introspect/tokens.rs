//! SQLite's tokens: enough of them to take a `CREATE` statement apart.

/// One token with its place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'s> {
    /// The text as written, quotes included.
    pub(super) text: &'s str,
    /// What it is.
    pub(super) kind: TokenKind,
    /// Where it starts, in bytes.
    pub(super) start: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A bare word or number.
    Word,
    /// Text in one of the four kinds of quotes; see [`Token::name`].
    Quoted,
    /// A parenthesis, a comma, or any other sign.
    Sign,
}

impl<'s> Token<'s> {
    /// Returns where the token ends, in bytes.
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Returns whether this is a bare keyword, in any case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Returns whether this is a sign.
    pub(super) fn is_sign(&self, sign: &str) -> bool {
        self.kind == TokenKind::Sign && self.text == sign
    }

    /// Returns the name that a word or quoted text stands for.
    pub(super) fn name(&self) -> String {
        match (self.kind, self.text.chars().next()) {
            (TokenKind::Quoted, Some('[')) => self.text[1..self.text.len() - 1].to_owned(),
            (TokenKind::Quoted, Some(quote)) => {
                let doubled: String = [quote, quote].iter().collect();
                self.text[1..self.text.len() - 1].replace(&doubled, &quote.to_string())
            }
            _ => self.text.to_owned(),
        }
    }
}

/// Splits a statement into tokens; comments and blanks are left out. An open quote or comment ends with the text.
pub(super) fn tokens(sql: &str) -> Vec<Token<'_>> {
    let bytes = sql.as_bytes();
    let (mut found, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let start = i;
        let kind = match bytes[i] {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => {
                i += 1;
                continue;
            }
            b'-' if bytes.get(i + 1) == Some(&b'-') => {
                i = sql[i..].find('\n').map_or(bytes.len(), |n| i + n + 1);
                continue;
            }
            b'/' if bytes.get(i + 1) == Some(&b'*') => {
                i = sql[i + 2..].find("*/").map_or(bytes.len(), |n| i + 2 + n + 2);
                continue;
            }
            quote @ (b'\'' | b'"' | b'`') => match quoted_end(bytes, i, quote) {
                Some(end) => {
                    i = end;
                    TokenKind::Quoted
                }
                None => break,
            },
            b'[' => match sql[i..].find(']') {
                Some(n) => {
                    i += n + 1;
                    TokenKind::Quoted
                }
                None => break,
            },
            first if is_word(first) => {
                while i < bytes.len() && (is_word(bytes[i]) || (first.is_ascii_digit() && number_goes_on(bytes, i))) {
                    i += 1;
                }
                TokenKind::Word
            }
            _ => {
                i += 1;
                TokenKind::Sign
            }
        };
        found.push(Token { text: &sql[start..i], kind, start });
    }
    found
}

/// Letters, digits, `_`, `$` and every byte of a character beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Whether the sign at `i` belongs to a number such as `1.5e-3`.
fn number_goes_on(bytes: &[u8], i: usize) -> bool {
    bytes[i] == b'.' || (matches!(bytes[i], b'+' | b'-') && matches!(bytes[i - 1], b'e' | b'E'))
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut i = start + 1;
    while i < bytes.len() {
        if bytes[i] == quote {
            if bytes.get(i + 1) != Some(&quote) {
                return Some(i + 1);
            }
            i += 1;
        }
        i += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_and_comments_are_told_apart() {
        let sql = "a/* , */\"b\"\"c\" [d e]`f``g` 'it''s' -- (\n1.5e-3,(x)";
        let names: Vec<String> = tokens(sql).iter().map(Token::name).collect();
        assert_eq!(names, ["a", "b\"c", "d e", "f`g", "it's", "1.5e-3", ",", "(", "x", ")"]);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(sql in "\\PC*") {
            for token in tokens(&sql) {
                prop_assert_eq!(&sql[token.start..token.end()], token.text);
                let _ = token.name();
            }
        }
    }
}
