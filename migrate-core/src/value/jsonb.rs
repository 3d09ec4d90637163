//! JSON as PostgreSQL checks it (`json`) and rewrites it (`jsonb`).
//!
//! `jsonb` sorts the keys of an object by their length in bytes and then by their bytes, keeps the last of equal keys, reads
//! numbers as `numeric` (1e5 becomes 100000, 1.50 stays, -0 becomes 0), writes strings with as few escapes as possible, and puts
//! one blank behind `:` and `,`. It has no character U+0000 and no half of a surrogate pair.
//!
//! Both ways are one machine without recursion, so that no document can overflow the stack. What is already as `jsonb` prints it is
//! not copied.

use super::Decimal;
use std::borrow::Cow;

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
pub fn normalize(text: &str) -> Result<Cow<'_, str>> {
    let mut machine = Machine::<true>::new(text);
    machine.run()?;
    if machine.flushed == 0 {
        return Ok(Cow::Borrowed(text));
    }
    machine.flush(text.len());
    Ok(Cow::Owned(machine.out))
}

/// Bytes that end a run of plain characters in a string.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

/// Reads a text and, when it writes, collects what `jsonb` prints: `out`, followed by the text from `flushed` to `at` as it is.
struct Machine<'t, const WRITE: bool> {
    text: &'t str,
    at: usize,
    flushed: usize,
    out: String,
    open: Vec<Open>,
    /// The pairs of all open objects, and those of their keys that had to be decoded.
    pairs: Vec<Pair>,
    keys: String,
}

enum Open {
    Array,
    /// Where the object's pairs, decoded keys and written text start.
    Object {
        pairs: usize,
        keys: usize,
        out: usize,
    },
}

/// Where a pair's key lies, in the text or among the decoded keys, and where the pair is written.
#[derive(Clone, Copy)]
struct Pair {
    key: (usize, usize),
    decoded: bool,
    out: (usize, usize),
}

impl<'t, const WRITE: bool> Machine<'t, WRITE> {
    fn new(text: &'t str) -> Self {
        Machine { text, at: 0, flushed: 0, out: String::new(), open: Vec::new(), pairs: Vec::new(), keys: String::new() }
    }

    fn run(&mut self) -> Result<()> {
        self.blanks("");
        loop {
            if self.value()? {
                // A container was opened that has a first value.
                continue;
            }
            loop {
                self.blanks("");
                let next = self.peek();
                match (self.open.last(), next) {
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return Err("one JSON value and nothing behind it"),
                    (Some(Open::Array), Some(b',')) => {
                        self.at += 1;
                        self.blanks(" ");
                        break;
                    }
                    (Some(Open::Array), Some(b']')) => {
                        self.at += 1;
                        self.open.pop();
                    }
                    (Some(Open::Object { .. }), Some(b',')) => {
                        self.end_pair();
                        self.at += 1;
                        self.blanks(" ");
                        self.key()?;
                        break;
                    }
                    (Some(Open::Object { .. }), Some(b'}')) => {
                        self.end_pair();
                        self.close_object();
                        self.at += 1;
                    }
                    (Some(_), _) => return Err("a comma or the end of a JSON object or array"),
                }
            }
        }
    }

    /// Reads a scalar, an empty container, or the beginning of one up to its first value; returns whether it was the last.
    fn value(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b'"') => self.string(false).map(|_| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal("true").map(|()| false),
            Some(b'f') => self.literal("false").map(|()| false),
            Some(b'n') => self.literal("null").map(|()| false),
            Some(b'[') => {
                self.at += 1;
                self.blanks("");
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(false);
                }
                self.push(Open::Array)?;
                Ok(true)
            }
            Some(b'{') => {
                self.at += 1;
                self.blanks("");
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(false);
                }
                self.push(Open::Object { pairs: self.pairs.len(), keys: self.keys.len(), out: self.position() })?;
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
        let out = (self.position(), 0);
        let (start, decoded) = (self.at + 1, self.keys.len());
        if self.string(true)? {
            self.pairs.push(Pair { key: (decoded, self.keys.len()), decoded: true, out });
        } else if WRITE {
            self.pairs.push(Pair { key: (start, self.at - 1), decoded: false, out });
        }
        self.blanks("");
        if self.peek() != Some(b':') {
            return Err("a colon behind a key of a JSON object");
        }
        self.at += 1;
        self.blanks(" ");
        Ok(())
    }

    fn end_pair(&mut self) {
        let end = self.position();
        if let Some(pair) = self.pairs.last_mut() {
            pair.out.1 = end;
        }
    }

    /// Puts the pairs of the innermost object in order; mostly they are already.
    fn close_object(&mut self) {
        let Some(Open::Object { pairs: first, keys: first_key, out: start }) = self.open.pop() else { return };
        if !WRITE {
            return;
        }
        let (text, keys) = (self.text.as_bytes(), self.keys.as_bytes());
        let key = |pair: &Pair| if pair.decoded { &keys[pair.key.0..pair.key.1] } else { &text[pair.key.0..pair.key.1] };
        let order = |a: &Pair, b: &Pair| {
            let (a, b) = (key(a), key(b));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        };
        if !self.pairs[first..].is_sorted_by(|a, b| order(a, b).is_lt()) {
            let pairs = &mut self.pairs[first..];
            // Of equal keys the later one comes first, and the first is kept.
            pairs.reverse();
            pairs.sort_by(order);
            let mut last: Option<Pair> = None;
            let mut kept = Vec::with_capacity(pairs.len());
            for pair in pairs.iter() {
                if last.is_none_or(|last| order(&last, pair).is_ne()) {
                    kept.push(pair.out);
                    last = Some(*pair);
                }
            }
            self.flush(self.at);
            let body = self.out.split_off(start);
            for (index, (from, to)) in kept.into_iter().enumerate() {
                if index > 0 {
                    self.out.push_str(", ");
                }
                self.out.push_str(&body[from - start..to - start]);
            }
        }
        self.pairs.truncate(first);
        self.keys.truncate(first_key);
    }

    fn literal(&mut self, literal: &'static str) -> Result<()> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return Err("a JSON value");
        }
        self.at += literal.len();
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
        // A plain number prints as it is, but for the sign of a zero.
        let plain = plain && self.at - start <= SAFE_NUMBER && !(negative && leading_zero);
        if WRITE && !plain {
            let number = Decimal::parse(&self.text[start..self.at]).ok_or("a JSON number that numeric can hold")?;
            self.replace(start, &number.to_text());
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let count = self.text.as_bytes()[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// Reads a string. If it is a key with escapes, appends it decoded to `keys` and returns true.
    fn string(&mut self, is_key: bool) -> Result<bool> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        self.at += 1;
        let mut run = self.at;
        let mut decoded = false;
        loop {
            let special = bytes[self.at..].iter().position(|b| SPECIAL[usize::from(*b)]).ok_or("the end of a JSON string")?;
            self.at += special;
            match bytes[self.at] {
                b'"' => break,
                b'\\' => {
                    let escape = self.at;
                    let character = self.escape()?;
                    if WRITE {
                        if is_key {
                            decoded = true;
                            self.keys.push_str(&self.text[run..escape]);
                            self.keys.push(character);
                        }
                        self.respell(escape, character);
                    }
                    run = self.at;
                }
                _ => return Err("a JSON string without control characters"),
            }
        }
        if decoded {
            self.keys.push_str(&self.text[run..self.at]);
        }
        self.at += 1;
        if WRITE && self.at - start > MAX_STRING {
            return Err("a shorter JSON string");
        }
        Ok(decoded)
    }

    /// Reads a backslash and what stands behind it. Without writing, `\u` escapes are checked for their digits only, as `json` does.
    fn escape(&mut self) -> Result<char> {
        self.at += 1;
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
                        if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
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

    /// Writes a character as `jsonb` escapes it, in place of the text from `from` on.
    fn respell(&mut self, from: usize, character: char) {
        let mut buffer = [0; 4];
        let control;
        let spelling = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            _ if character < ' ' => {
                control = format!("\\u{:04x}", u32::from(character));
                &control
            }
            _ => character.encode_utf8(&mut buffer),
        };
        self.replace(from, spelling);
    }

    /// Writes `spelling` in place of the text from `from` to here, unless that is the same.
    #[inline]
    fn replace(&mut self, from: usize, spelling: &str) {
        if WRITE && self.text.as_bytes()[from..self.at] != *spelling.as_bytes() {
            self.flush(from);
            self.out.push_str(spelling);
            self.flushed = self.at;
        }
    }

    /// Writes the text up to `end` as it is.
    fn flush(&mut self, end: usize) {
        if self.flushed == 0 {
            self.out.reserve(self.text.len() + self.text.len() / 8);
        }
        self.out.push_str(&self.text[self.flushed..end]);
        self.flushed = end;
    }

    /// Where what comes next is written.
    #[inline]
    fn position(&self) -> usize {
        self.out.len() + self.at - self.flushed
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Reads any blanks and writes `wanted`.
    #[inline]
    fn blanks(&mut self, wanted: &'static str) {
        let from = self.at;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.replace(from, wanted);
    }
}
