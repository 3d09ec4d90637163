//! The rows that are copied: wide `events` and narrow `readings`, always the same ones.
//!
//! The wide rows have what real ones have: ids with gaps, text outside of ASCII, line ends, quotes and backslashes, a tenth of the
//! bodies NULL beside empty ones, exact amounts, doubles with all their bits, JSON and microseconds.

use crate::random::Random;
use crate::timestamp::iso;
use std::fmt::Write;

/// A row of the wide table. Moments are microseconds since 2019.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: i64,
    pub(crate) xmlid: String,
    pub(crate) user_id: i64,
    pub(crate) project_id: i64,
    pub(crate) kind: &'static str,
    pub(crate) title: String,
    pub(crate) body: Option<String>,
    pub(crate) cents: i64,
    pub(crate) score: f64,
    pub(crate) is_active: bool,
    pub(crate) tags: String,
    pub(crate) meta: String,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// A row of the narrow table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    pub(crate) id: i64,
    pub(crate) sensor_id: i64,
    pub(crate) ts: i64,
    pub(crate) value: f64,
}

const KINDS: [&str; 6] = ["create", "update", "comment", "assign", "close", "reopen"];
const AGENTS: [&str; 5] = ["web", "ios", "android", "api", "cron"];
const PLAIN: [&str; 40] = [
    "invoice",
    "order",
    "ticket",
    "release",
    "meeting",
    "customer",
    "payment",
    "server",
    "network",
    "backup",
    "report",
    "review",
    "branch",
    "deploy",
    "sensor",
    "holiday",
    "contract",
    "delivery",
    "estimate",
    "approval",
    "schedule",
    "inventory",
    "purchase",
    "training",
    "document",
    "password",
    "monitor",
    "upgrade",
    "project",
    "budget",
    "travel",
    "workshop",
    "feedback",
    "shipment",
    "client",
    "planning",
    "interview",
    "storage",
    "database",
    "time",
];
const FOREIGN: [&str; 15] = [
    "crème",
    "Köln",
    "señor",
    "Łódź",
    "čaj",
    "garçon",
    "大阪",
    "книга",
    "спасибо",
    "Αθήνα",
    "coração",
    "🎉",
    "Åse",
    "서울",
    "☂ rain",
];

fn words(random: &mut Random, length: usize, foreign: f64) -> String {
    let mut text = String::new();
    while text.chars().count() < length {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(if random.unit() < foreign { random.pick(&FOREIGN) } else { random.pick(&PLAIN) });
    }
    text
}

fn body(random: &mut Random) -> String {
    let length = 60 + random.below(61) as usize;
    let text = words(random, length, 0.01);
    match random.below(100) {
        0..10 => text.replacen(' ', "\n", 2),
        10..14 => text.replacen(' ', "\", '", 1),
        14..16 => text.replacen(' ', "\\n\\", 1),
        16..18 => text.replacen(' ', "\t", 1),
        _ => text,
    }
}

/// Makes the rows of the wide table, in the order of their ids.
#[derive(Debug)]
pub(crate) struct Events {
    random: Random,
    count: u64,
    done: u64,
    id: i64,
    titles: [Vec<String>; 2],
    bodies: [Vec<String>; 2],
    tags: Vec<String>,
    addresses: Vec<String>,
}

impl Events {
    pub(crate) fn new(count: u64) -> Self {
        let mut random = Random::new(0x6576_656e_7473);
        let mut many =
            |n: usize, make: &mut dyn FnMut(&mut Random) -> String| (0..n).map(|_| make(&mut random)).collect::<Vec<_>>();
        let titles = [many(20_000, &mut |r| words(r, 20, 0.02)), many(20_000, &mut |r| words(r, 17, 0.03))];
        let bodies = [many(30_000, &mut body), many(30_000, &mut body)];
        let tags = many(3_000, &mut |r| {
            let tags: Vec<String> = (0..r.below(5)).map(|_| format!("\"{}\"", r.pick(&PLAIN))).collect();
            format!("[{}]", tags.join(","))
        });
        let addresses = many(5_000, &mut |r| format!("10.{}.{}.{}", r.bits(8), r.bits(8), r.bits(8)));
        Events { random: Random::new(1), count, done: 0, id: 0, titles, bodies, tags, addresses }
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if self.done == self.count {
            return None;
        }
        let r = &mut self.random;
        self.id += if r.bits(4) > 0 { 1 } else { 1 + r.bits(3) as i64 };
        let created_at = self.done as i64 * 180_000_000 + r.bits(27) as i64;
        let updated_at = created_at + if r.bits(2) == 0 { r.bits(40) as i64 } else { 0 };
        self.done += 1;
        let from = |r: &mut Random, pool: &[String]| pool[r.below(pool.len() as u64) as usize].clone();
        let body = match r.below(1_000) {
            0..100 => None,
            100..107 => Some(String::new()),
            _ => Some(from(r, &self.bodies[0]) + " " + &from(r, &self.bodies[1])),
        };
        Some(Event {
            id: self.id,
            xmlid: format!("__export__.event_{}_{:08x}", self.id, r.bits(32)),
            user_id: 1 + r.bits(16).min(r.bits(16)) as i64 % 50_000,
            project_id: 1 + r.bits(11) as i64,
            kind: KINDS[(r.below(6).min(r.below(6))) as usize],
            title: from(r, &self.titles[0]) + " " + &from(r, &self.titles[1]),
            body,
            cents: (r.unit().powi(3) * 10_000_000.0).round() as i64,
            score: r.normal() * 100.0,
            is_active: r.bits(3) != 0,
            tags: from(r, &self.tags),
            // As PostgreSQL prints jsonb, so that both sources hold the same text.
            meta: format!(
                "{{\"ip\": \"{}\", \"src\": \"{}\", \"ver\": {}, \"flag\": {}, \"trace\": \"{:016x}\"}}",
                from(r, &self.addresses),
                r.pick(&AGENTS),
                r.bits(6),
                r.bits(1) == 1,
                r.bits(64)
            ),
            created_at,
            updated_at,
        })
    }
}

/// Makes the rows of the narrow table, in the order of their ids.
pub(crate) fn readings(count: u64) -> impl Iterator<Item = Reading> {
    let mut random = Random::new(2);
    (0..count as i64).map(move |n| {
        let sensor = n % 500;
        let steady = random.bits(1) == 1;
        let noise = random.unit();
        let value = if steady { ((20.0 + 5.0 * noise + sensor as f64 * 0.01) * 1e4).round() / 1e4 } else { noise * 100.0 };
        Reading { id: n + 1, sensor_id: sensor + 1, ts: n / 500 * 15_000_000, value }
    })
}

/// The wide table in PostgreSQL, without its keys.
pub(crate) const EVENTS_POSTGRES: &str = "CREATE TABLE events (id bigint NOT NULL, xmlid text NOT NULL, user_id bigint NOT NULL, \
    project_id int NOT NULL, kind text NOT NULL, title text NOT NULL, body text, amount numeric(12,2) NOT NULL, \
    score double precision NOT NULL, is_active boolean NOT NULL, tags text NOT NULL, meta jsonb NOT NULL, \
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)";
/// Its keys.
pub(crate) const EVENTS_KEYS: &str =
    "ALTER TABLE events ADD PRIMARY KEY (id); ALTER TABLE events ADD CONSTRAINT events_xmlid_key UNIQUE (xmlid)";
/// The narrow table in PostgreSQL, without its key.
pub(crate) const READINGS_POSTGRES: &str = "CREATE TABLE readings (id bigint NOT NULL, sensor_id int NOT NULL, ts timestamptz NOT NULL, value double precision NOT NULL)";
/// Its key.
pub(crate) const READINGS_KEYS: &str = "ALTER TABLE readings ADD PRIMARY KEY (id)";
/// The wide table in SQLite, keys included.
pub(crate) const EVENTS_SQLITE: &str = "CREATE TABLE events (id INTEGER PRIMARY KEY, xmlid TEXT NOT NULL UNIQUE, \
    user_id INTEGER NOT NULL, project_id INTEGER NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, body TEXT, \
    amount NUMERIC(12,2) NOT NULL, score REAL NOT NULL, is_active INTEGER NOT NULL, tags TEXT NOT NULL, meta TEXT NOT NULL, \
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL)";

impl Event {
    /// Appends the row as a line of text COPY.
    pub(crate) fn copy_line(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{}\t{}\t{}\t{}\t{}\t", self.id, self.xmlid, self.user_id, self.project_id, self.kind);
        escape(&self.title, out);
        out.push('\t');
        match &self.body {
            Some(body) => escape(body, out),
            None => out.push_str("\\N"),
        }
        let _ = write!(out, "\t{}\t{:?}\t{}\t", decimal(self.cents), self.score, if self.is_active { 't' } else { 'f' });
        escape(&self.tags, out);
        out.push('\t');
        escape(&self.meta, out);
        let _ = writeln!(out, "\t{}\t{}", iso(self.created_at), iso(self.updated_at));
    }
}

impl Reading {
    /// Appends the row as a line of text COPY.
    pub(crate) fn copy_line(&self, out: &mut String) {
        let _ = writeln!(out, "{}\t{}\t{}\t{:?}", self.id, self.sensor_id, iso(self.ts), self.value);
    }
}

/// Prints an amount with its two digits after the point.
pub(crate) fn decimal(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Appends a text as text COPY spells it.
pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_always_the_same_and_of_the_promised_proportions() {
        let all: Vec<Event> = Events::new(20_000).collect();
        assert_eq!(all, Events::new(20_000).collect::<Vec<_>>());
        assert!(all.windows(2).all(|w| w[0].id < w[1].id));
        let share = |test: &dyn Fn(&Event) -> bool| all.iter().filter(|e| test(e)).count() as f64 / all.len() as f64;
        assert!((0.09..0.11).contains(&share(&|e| e.body.is_none())));
        assert!((0.004..0.01).contains(&share(&|e| e.body.as_deref() == Some(""))));
        assert!(share(&|e| !e.title.is_ascii()) > 0.05);
        let bytes: usize = all
            .iter()
            .map(|e| {
                let mut line = String::new();
                e.copy_line(&mut line);
                line.len()
            })
            .sum();
        assert!((380..560).contains(&(bytes / all.len())), "{} bytes per row", bytes / all.len());
    }
}
