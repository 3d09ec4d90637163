//! Splits SQL expressions into tokens, as far as is needed to see which names they mention.

/// How a dialect quotes names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Double quotes, dollar quotes and `E''` strings; brackets are subscripts.
    Postgres,
    /// Double quotes, backticks or brackets; no escapes in strings.
    Sqlite,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted name or keyword, as written.
    Word(String),
    /// A quoted name, unquoted.
    Quoted(String),
    /// A string literal's content.
    Text(String),
    /// A blob literal, as written.
    Blob,
    /// A number, as written.
    Number(String),
    /// An operator or punctuation.
    Symbol(&'static str),
    /// Any other character.
    Other(char),
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// Whether this is the unquoted keyword, in any case.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(w) if w.eq_ignore_ascii_case(word))
    }

    /// Whether this is the symbol.
    pub(super) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.kind, Kind::Symbol(s) if s == symbol)
    }

    /// The name that a PostgreSQL token stands for, unquoted ones folded to lower case.
    pub(super) fn name(&self) -> Option<String> {
        match &self.kind {
            Kind::Word(word) => Some(word.to_lowercase()),
            Kind::Quoted(name) => Some(name.clone()),
            Kind::Text(_) | Kind::Blob | Kind::Number(_) | Kind::Symbol(_) | Kind::Other(_) => None,
        }
    }
}

const SYMBOLS: [&str; 22] =
    ["::", "<>", "<=", ">=", "!=", "==", "||", "(", ")", ",", ".", "=", "<", ">", "+", "-", "*", "/", "%", "[", "]", ";"];

/// Splits SQL into tokens, comments left out; `None` if a quote or comment is left open.
pub(super) fn tokenize(sql: &str, dialect: Dialect) -> Option<Vec<Token>> {
    let bytes = sql.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &sql[at..];
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with("/*") {
            at += rest.find("*/")? + 2;
            continue;
        }
        let (kind, length) = next(rest, first, dialect)?;
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    Some(tokens)
}

fn next(rest: &str, first: char, dialect: Dialect) -> Option<(Kind, usize)> {
    let sqlite = dialect == Dialect::Sqlite;
    match first {
        '\'' => {
            let (text, length) = quoted(rest, '\'')?;
            return Some((Kind::Text(text), length));
        }
        '"' => {
            let (name, length) = quoted(rest, '"')?;
            return Some((Kind::Quoted(name), length));
        }
        '`' if sqlite => {
            let (name, length) = quoted(rest, '`')?;
            return Some((Kind::Quoted(name), length));
        }
        '[' if sqlite => {
            let end = rest.find(']')?;
            return Some((Kind::Quoted(rest[1..end].to_owned()), end + 1));
        }
        'x' | 'X' if rest[1..].starts_with('\'') => {
            let (_, length) = quoted(&rest[1..], '\'')?;
            return Some((Kind::Blob, length + 1));
        }
        'e' | 'E' if !sqlite && rest[1..].starts_with('\'') => {
            let (text, length) = escaped(&rest[1..])?;
            return Some((Kind::Text(text), length + 1));
        }
        '$' if !sqlite => {
            if let Some(found) = dollar_quoted(rest) {
                return found;
            }
        }
        _ => {}
    }
    let fraction = first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit());
    if first.is_ascii_digit() || fraction {
        let length = number_length(rest);
        return Some((Kind::Number(rest[..length].to_owned()), length));
    }
    if first.is_alphabetic() || first == '_' || !first.is_ascii() {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
        let length = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
        return Some((Kind::Word(rest[..length].to_owned()), length));
    }
    match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
        Some(symbol) => Some((Kind::Symbol(symbol), symbol.len())),
        None => Some((Kind::Other(first), first.len_utf8())),
    }
}

/// Reads a quoted piece whose quote is doubled inside; returns the content and the length with both quotes.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != quote {
            content.push(c);
        } else if characters.peek().is_some_and(|(_, next)| *next == quote) {
            content.push(c);
            characters.next();
        } else {
            return Some((content, at + 1));
        }
    }
    None
}

/// Reads the `'…'` of an `E'…'` string. Escapes stay as they are written: nothing looks into such strings.
fn escaped(rest: &str) -> Option<(String, usize)> {
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => {
                characters.next();
            }
            '\'' if characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                characters.next();
            }
            '\'' => return Some((rest[1..at].to_owned(), at + 1)),
            _ => {}
        }
    }
    None
}

/// `None` if this is no dollar quote, `Some(None)` if it is left open.
fn dollar_quoted(rest: &str) -> Option<Option<(Kind, usize)>> {
    let end = rest[1..].find('$')? + 2;
    let tag = &rest[..end];
    if !tag[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_') || tag[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(rest[end..].find(tag).map(|length| (Kind::Text(rest[end..end + length].to_owned()), 2 * end + length)))
}

fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut length = 0;
    while length < bytes.len() {
        let c = bytes[length];
        let sign = matches!(c, b'+' | b'-') && length > 0 && matches!(bytes[length - 1], b'e' | b'E') && !rest.starts_with("0x");
        if !(c.is_ascii_alphanumeric() || c == b'.' || c == b'_' || sign) {
            break;
        }
        length += 1;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str, dialect: Dialect) -> Vec<Kind> {
        tokenize(sql, dialect).unwrap().into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn names_literals_and_operators_are_told_apart() {
        let word = |w: &str| Kind::Word(w.to_owned());
        assert_eq!(
            kinds("a>= -1.5e-3 /* b */ AND \"C\"\"d\" <> 'it''s' -- end", Dialect::Sqlite),
            vec![
                word("a"),
                Kind::Symbol(">="),
                Kind::Symbol("-"),
                Kind::Number("1.5e-3".to_owned()),
                word("AND"),
                Kind::Quoted("C\"d".to_owned()),
                Kind::Symbol("<>"),
                Kind::Text("it's".to_owned()),
            ]
        );
        assert_eq!(kinds("[a b]", Dialect::Sqlite), vec![Kind::Quoted("a b".to_owned())]);
        assert_eq!(kinds("a[1]", Dialect::Postgres).len(), 4);
        assert_eq!(kinds("$x$a'b$x$", Dialect::Postgres), vec![Kind::Text("a'b".to_owned())]);
        assert_eq!(kinds("E'a\\'b'::text", Dialect::Postgres).len(), 3);
        assert_eq!(kinds("x'00'", Dialect::Sqlite), vec![Kind::Blob]);
    }

    #[test]
    fn open_quotes_are_noticed() {
        for sql in ["'a", "\"a", "/* a", "$x$ a", "E'a\\'"] {
            assert_eq!(tokenize(sql, Dialect::Postgres), None, "{sql}");
        }
    }
}
