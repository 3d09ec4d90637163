//! JSON as PostgreSQL checks it (`json`) and rewrites it (`jsonb`).
//!
//! `jsonb` sorts the keys of an object by their length in bytes and then by their bytes, keeps the last of equal keys, reads
//! numbers as `numeric` (1e5 becomes 100000, 1.50 stays, -0 becomes 0), writes strings with as few escapes as possible, and puts
//! one blank behind `:` and `,`. It has no character U+0000 and no half of a surrogate pair.
//!
//! Both ways are one machine without recursion, so that no document can overflow the stack.

use super::Decimal;

/// A string is at most this long in `jsonb`.
const MAX_STRING: usize = 0x0fff_ffff;
/// Deeper documents are refused: PostgreSQL's own limit depends on its stack and lies a little above.
const MAX_DEPTH: usize = 10_000;
/// Numbers up to this many characters certainly fit `numeric`.
const SAFE_NUMBER: usize = 16_000;

type Result<T> = std::result::Result<T, &'static str>;

/// Returns whether the text is JSON as PostgreSQL's `json` type takes it.
pub fn is_json(text: &str) -> bool {
    Machine::<false>::new(text).run().is_ok()
}

/// Returns the text that PostgreSQL prints for this text as `jsonb`.
///
/// # Errors
/// What was expected, if the text is no JSON or `jsonb` cannot hold it. The message never holds the text.
pub fn normalize(text: &str) -> Result<String> {
    let mut machine = Machine::<true>::new(text);
    machine.out.reserve(text.len() + text.len() / 8);
    machine.run()?;
    Ok(machine.out)
}

struct Machine<'t, const WRITE: bool> {
    text: &'t str,
    at: usize,
    out: String,
    open: Vec<Open>,
    /// The pairs of all open objects, and their decoded keys.
    pairs: Vec<Pair>,
    keys: String,
}

enum Open {
    Array,
    /// Where the object's pairs, keys and text start.
    Object {
        pairs: usize,
        keys: usize,
        out: usize,
    },
}

/// Where a pair's decoded key and its text lie; the text's end is known when the value has been read.
#[derive(Clone, Copy)]
struct Pair {
    key: (usize, usize),
    out: (usize, usize),
}

impl<'t, const WRITE: bool> Machine<'t, WRITE> {
    fn new(text: &'t str) -> Self {
        Machine { text, at: 0, out: String::new(), open: Vec::new(), pairs: Vec::new(), keys: String::new() }
    }

    fn run(&mut self) -> Result<()> {
        self.skip_blanks();
        loop {
            if self.value()? {
                // A container was opened that has a first value.
                continue;
            }
            loop {
                self.skip_blanks();
                let next = self.peek();
                match (self.open.last(), next) {
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return Err("one JSON value and nothing behind it"),
                    (Some(Open::Array), Some(b',')) => {
                        self.at += 1;
                        self.write(", ");
                        self.skip_blanks();
                        break;
                    }
                    (Some(Open::Array), Some(b']')) => {
                        self.at += 1;
                        self.write("]");
                        self.open.pop();
                    }
                    (Some(Open::Object { .. }), Some(b',')) => {
                        self.at += 1;
                        self.end_pair();
                        self.write(", ");
                        self.skip_blanks();
                        self.key()?;
                        break;
                    }
                    (Some(Open::Object { .. }), Some(b'}')) => {
                        self.at += 1;
                        self.end_pair();
                        self.close_object();
                    }
                    (Some(_), _) => return Err("a comma or the end of a JSON object or array"),
                }
            }
        }
    }

    /// Reads a scalar, an empty container, or the beginning of one up to its first value; returns whether it was the last.
    fn value(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b'"') => self.string(None).map(|()| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal("true").map(|()| false),
            Some(b'f') => self.literal("false").map(|()| false),
            Some(b'n') => self.literal("null").map(|()| false),
            Some(b'[') => {
                self.at += 1;
                self.skip_blanks();
                if self.peek() == Some(b']') {
                    self.at += 1;
                    self.write("[]");
                    return Ok(false);
                }
                self.write("[");
                self.push(Open::Array)?;
                Ok(true)
            }
            Some(b'{') => {
                self.at += 1;
                self.skip_blanks();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    self.write("{}");
                    return Ok(false);
                }
                self.write("{");
                self.push(Open::Object { pairs: self.pairs.len(), keys: self.keys.len(), out: self.out.len() })?;
                self.key()?;
                Ok(true)
            }
            _ => Err("a JSON value"),
        }
    }

    fn push(&mut self, open: Open) -> Result<()> {
        if WRITE && self.open.len() >= MAX_DEPTH {
            return Err("JSON that is nested less deeply");
        }
        self.open.push(open);
        Ok(())
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<()> {
        if self.peek() != Some(b'"') {
            return Err("a key of a JSON object");
        }
        let out = self.out.len();
        let start = self.keys.len();
        let mut keys = std::mem::take(&mut self.keys);
        let read = self.string(Some(&mut keys));
        self.keys = keys;
        read?;
        self.pairs.push(Pair { key: (start, self.keys.len()), out: (out, 0) });
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err("a colon behind a key of a JSON object");
        }
        self.at += 1;
        self.write(": ");
        self.skip_blanks();
        Ok(())
    }

    fn end_pair(&mut self) {
        let end = self.out.len();
        if let Some(pair) = self.pairs.last_mut() {
            pair.out.1 = end;
        }
    }

    /// Puts the pairs of the innermost object in order; mostly they are already.
    fn close_object(&mut self) {
        let Some(Open::Object { pairs: first, keys: first_key, out: start }) = self.open.pop() else { return };
        if WRITE {
            let keys = &self.keys;
            let order = |a: &Pair, b: &Pair| {
                let (a, b) = (&keys.as_bytes()[a.key.0..a.key.1], &keys.as_bytes()[b.key.0..b.key.1]);
                a.len().cmp(&b.len()).then_with(|| a.cmp(b))
            };
            let pairs = &mut self.pairs[first..];
            if !pairs.is_sorted_by(|a, b| order(a, b).is_lt()) {
                let body = self.out.split_off(start);
                // Of equal keys the later one comes first, and the first is kept.
                pairs.reverse();
                pairs.sort_by(order);
                let mut last: Option<&Pair> = None;
                for pair in pairs.iter() {
                    if last.is_some_and(|last| order(last, pair).is_eq()) {
                        continue;
                    }
                    if last.is_some() {
                        self.out.push_str(", ");
                    }
                    self.out.push_str(&body[pair.out.0 - start..pair.out.1 - start]);
                    last = Some(pair);
                }
            }
        }
        self.pairs.truncate(first);
        self.keys.truncate(first_key);
        self.write("}");
    }

    fn literal(&mut self, literal: &'static str) -> Result<()> {
        if !self.text[self.at..].starts_with(literal) {
            return Err("a JSON value");
        }
        self.at += literal.len();
        self.write(literal);
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let integer = self.digits();
        if integer == 0 || (leading_zero && integer > 1) {
            return Err("a JSON number");
        }
        let mut plain = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err("a JSON number");
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            plain = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err("a JSON number");
            }
        }
        if !WRITE {
            return Ok(());
        }
        let number = &self.text[start..self.at];
        if plain && number.len() <= SAFE_NUMBER {
            let zero = negative && !number.bytes().any(|b| matches!(b, b'1'..=b'9'));
            self.out.push_str(if zero { &number[1..] } else { number });
        } else {
            Decimal::parse(number).ok_or("a JSON number that numeric can hold")?.push_text(&mut self.out);
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let count = self.text.as_bytes()[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// Reads a string, writes it, and appends it decoded to `decoded`.
    fn string(&mut self, mut decoded: Option<&mut String>) -> Result<()> {
        let start = self.out.len();
        self.at += 1;
        self.write("\"");
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let run = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).ok_or("the end of a JSON string")?;
            let text = self.text;
            let run = &text[self.at..self.at + run];
            self.at += run.len();
            self.write(run);
            if let (true, Some(decoded)) = (WRITE, decoded.as_deref_mut()) {
                decoded.push_str(run);
            }
            self.at += 1;
            match text.as_bytes()[self.at - 1] {
                b'"' => break,
                b'\\' => {
                    let character = self.escape()?;
                    if let (true, Some(decoded)) = (WRITE, decoded.as_deref_mut()) {
                        decoded.push(character);
                    }
                    self.write_escaped(character);
                }
                _ => return Err("a JSON string without control characters"),
            }
        }
        self.write("\"");
        if self.out.len() - start > MAX_STRING && WRITE {
            return Err("a shorter JSON string");
        }
        Ok(())
    }

    /// Reads what stands behind a backslash. Without writing, `\u` escapes are checked for their digits only, as `json` does.
    fn escape(&mut self) -> Result<char> {
        let escape = self.peek().ok_or("the end of a JSON string")?;
        self.at += 1;
        Ok(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if !WRITE {
                    return Ok(' ');
                }
                let code = match first {
                    0 => return Err("JSON without the character U+0000"),
                    0xd800..=0xdbff => {
                        if !self.text[self.at..].starts_with("\\u") {
                            return Err("JSON without half of a surrogate pair");
                        }
                        self.at += 2;
                        let second = self.hex()?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err("JSON without half of a surrogate pair");
                        }
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    code => code,
                };
                char::from_u32(code).ok_or("JSON without half of a surrogate pair")?
            }
            _ => return Err("an escape that JSON has"),
        })
    }

    fn hex(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or("four hexadecimal digits behind \\u")?;
        self.at += 4;
        digits
            .iter()
            .try_fold(0, |n, digit| Some(n * 16 + char::from(*digit).to_digit(16)?))
            .ok_or("four hexadecimal digits behind \\u")
    }

    fn write_escaped(&mut self, character: char) {
        match character {
            '"' => self.write("\\\""),
            '\\' => self.write("\\\\"),
            '\u{8}' => self.write("\\b"),
            '\u{c}' => self.write("\\f"),
            '\n' => self.write("\\n"),
            '\r' => self.write("\\r"),
            '\t' => self.write("\\t"),
            control if control < ' ' => self.write(&format!("\\u{:04x}", u32::from(control))),
            other => self.write(other.encode_utf8(&mut [0; 4])),
        }
    }

    #[inline]
    fn write(&mut self, text: &str) {
        if WRITE {
            self.out.push_str(text);
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
}
