//! Cuts SQL expressions into tokens, enough of them to know names from text.

/// One token of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word: a name, a keyword or a type.
    Word(String),
    /// A quoted name, its quotes taken off.
    Quoted(String),
    /// A string literal, its quotes taken off.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// Anything else: an operator or a bracket.
    Symbol(String),
}

impl Token {
    /// Returns the name that the token may stand for. SQLite takes bare and quoted names alike.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            Token::Text(_) | Token::Number(_) | Token::Symbol(_) => None,
        }
    }
}

/// Operators of more than one character, longest first.
const LONG_SYMBOLS: [&str; 11] = ["->>", "::", "<=", ">=", "<>", "!=", "==", "||", "->", "<<", ">>"];

/// Cuts an expression into tokens, comments left out; `None` if a quote or comment is left open.
pub(super) fn tokenize(sql: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let used = match first {
            c if c.is_whitespace() => c.len_utf8(),
            '-' if rest.starts_with("--") => rest.find('\n').map_or(rest.len(), |n| n + 1),
            '/' if rest.starts_with("/*") => rest.find("*/")? + 2,
            '\'' => {
                let (text, used) = quoted(rest, '\'')?;
                tokens.push(Token::Text(text));
                used
            }
            '"' | '`' => {
                let (name, used) = quoted(rest, first)?;
                tokens.push(Token::Quoted(name));
                used
            }
            // A bracket opens a name unless it follows one, as in ARRAY[…] or a subscript.
            '[' if !matches!(tokens.last(), Some(Token::Word(_) | Token::Quoted(_)) | None) && !after_bracket(&tokens) => {
                let end = rest.find(']')?;
                tokens.push(Token::Quoted(rest[1..end].to_owned()));
                end + 1
            }
            c if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit())) => {
                let used = number(rest);
                tokens.push(Token::Number(rest[..used].to_owned()));
                used
            }
            c if c.is_alphabetic() || c == '_' || !c.is_ascii() => {
                let used =
                    rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii())).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..used].to_owned()));
                used
            }
            c => {
                let symbol = LONG_SYMBOLS.iter().find(|s| rest.starts_with(**s)).map_or(&rest[..c.len_utf8()], |s| *s);
                tokens.push(Token::Symbol(symbol.to_owned()));
                symbol.len()
            }
        };
        rest = &rest[used..];
    }
    Some(tokens)
}

fn after_bracket(tokens: &[Token]) -> bool {
    matches!(tokens.last(), Some(Token::Symbol(s)) if s == "]" || s == "[")
}

/// The content between a quote and its end, doubled quotes undone, and the bytes used.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return Some((content, at + quote.len_utf8()));
        }
    }
    None
}

fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut used = 0;
    while used < bytes.len() {
        let exponent_sign =
            used > 0 && matches!(bytes[used], b'+' | b'-') && matches!(bytes[used - 1], b'e' | b'E') && !text.starts_with("0x");
        if bytes[used].is_ascii_alphanumeric() || bytes[used] == b'.' || exponent_sign {
            used += 1;
        } else {
            break;
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_texts_numbers_and_operators_are_told_apart() {
        let tokens = tokenize("(\"a\"\"b\" >= 1.5e-3) AND x::text = 'it''s' -- end").expect("well formed");
        let expected = [
            Token::Symbol("(".into()),
            Token::Quoted("a\"b".into()),
            Token::Symbol(">=".into()),
            Token::Number("1.5e-3".into()),
            Token::Symbol(")".into()),
            Token::Word("AND".into()),
            Token::Word("x".into()),
            Token::Symbol("::".into()),
            Token::Word("text".into()),
            Token::Symbol("=".into()),
            Token::Text("it's".into()),
        ];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn an_open_quote_gives_nothing() {
        assert_eq!(tokenize("a = 'x"), None);
    }
}
