//! SQLite as the judge of what a column's affinity makes of a value: whenever we say that a column holds a value exactly, storing
//! it and reading it back gives just what we said.
//!
//! Random values come from a seed, which is printed; `MIGRATE_TEST_SEED` repeats a run.

use migrate_core::value::conform::conform;
use migrate_core::value::text::to_text;
use migrate_core::value::{Affinity, DataType, Decimal, Value, canonical};
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{Connection, ToSql};
use std::borrow::Cow;

const COLUMNS: [(Affinity, &str, bool); 12] = [
    (Affinity::Integer, "INTEGER", false),
    (Affinity::Integer, "BIGINT", false),
    (Affinity::Numeric, "NUMERIC", false),
    (Affinity::Numeric, "JSON", false),
    (Affinity::Real, "REAL", false),
    (Affinity::Text, "VARCHAR(3)", false),
    (Affinity::Blob, "", false),
    (Affinity::Blob, "ANY", true),
    (Affinity::StrictInteger, "INTEGER", true),
    (Affinity::StrictReal, "REAL", true),
    (Affinity::StrictText, "TEXT", true),
    (Affinity::StrictBlob, "BLOB", true),
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = match std::env::var("MIGRATE_TEST_SEED") {
            Ok(seed) => seed.parse().expect("MIGRATE_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64),
        };
        println!("MIGRATE_TEST_SEED={seed}");
        Random(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// A number whose size varies over all magnitudes.
    fn spread(&mut self) -> i64 {
        let shift = self.below(64);
        (self.bits() as i64) >> shift
    }

    /// Text that is often a number, or nearly one.
    fn text(&mut self) -> String {
        let parts = [
            "0",
            "1",
            "7",
            "42",
            "00",
            ".",
            "-",
            "+",
            "e",
            "E",
            "e1",
            "e+20",
            ".5",
            ".0",
            " ",
            "\t",
            "\n",
            "\u{b}",
            "x",
            "\0",
            "9223372036854775807",
            "9007199254740993",
            "é",
            "_",
            "\u{a0}",
            "inf",
            "0x1",
        ];
        (0..1 + self.below(4)).map(|_| parts[self.below(parts.len() as u64) as usize]).collect()
    }
}

/// The form in which the adapter binds a value that was not conformed to a dynamic column.
struct Bound<'a>(&'a Value<'static>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(Cell::Null),
            Value::Bool(v) => ToSqlOutput::Owned(Cell::Integer(i64::from(*v))),
            Value::Int(v) => ToSqlOutput::Owned(Cell::Integer(*v)),
            Value::Float(v) => ToSqlOutput::Owned(Cell::Real(*v)),
            Value::Text(v) => ToSqlOutput::Borrowed(ValueRef::Text(v.as_bytes())),
            Value::Bytes(v) => ToSqlOutput::Borrowed(ValueRef::Blob(v)),
            other => ToSqlOutput::Owned(Cell::Text(to_text(other).into_owned())),
        })
    }
}

struct Oracle(Connection);

impl Oracle {
    fn new() -> Self {
        let connection = Connection::open_in_memory().expect("SQLite opens a database in memory");
        for (index, (_, declared, strict)) in COLUMNS.iter().enumerate() {
            let strict = if *strict { "STRICT" } else { "" };
            connection.execute_batch(&format!("CREATE TABLE t{index} (c {declared}) {strict}")).expect("the table is made");
        }
        Oracle(connection)
    }

    /// Stores a value in a column and returns what it reads as; `None` if the column refuses it.
    fn store(&self, column: usize, value: &Value<'static>) -> Option<Value<'static>> {
        let mut insert =
            self.0.prepare_cached(&format!("INSERT INTO t{column} (c) VALUES (?1)")).expect("the statement is right");
        insert.execute([Bound(value)]).ok()?;
        // A SELECT of the column and nothing else, so that no expression's affinity has a part in it.
        let mut select = self.0.prepare_cached(&format!("SELECT c FROM t{column}")).expect("the statement is right");
        let read = select
            .query_row([], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(v) => Value::Int(v),
                    ValueRef::Real(v) => Value::Float(v),
                    ValueRef::Text(v) => Value::Text(Cow::Owned(String::from_utf8(v.to_vec()).expect("the text was UTF-8"))),
                    ValueRef::Blob(v) => Value::Bytes(Cow::Owned(v.to_vec())),
                })
            })
            .expect("the cell is there");
        self.0
            .prepare_cached(&format!("DELETE FROM t{column}"))
            .expect("the statement is right")
            .execute([])
            .expect("it is emptied");
        Some(read)
    }
}

fn bits(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    canonical::encode_value(value, &mut out);
    out
}

fn text(value: &str) -> Value<'static> {
    Value::Text(Cow::Owned(value.to_owned()))
}

fn values(random: &mut Random) -> Vec<Value<'static>> {
    let mut all = vec![
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Date(0),
        Value::Time(0),
        Value::TimestampTz(i64::MAX),
        Value::Uuid([0x11; 16]),
    ];
    all.extend([0, 1, -1, i64::MAX, i64::MIN, i64::MIN + 1, 1 << 53, (1 << 53) + 1].map(Value::Int));
    all.extend(
        [
            0.0,
            -0.0,
            1.0,
            1.5,
            1e14,
            1e15,
            1e16,
            1e18,
            9.3e18,
            -9_223_372_036_854_775_808.0,
            9_223_372_036_854_774_784.0,
            1e20,
            1e300,
            5e-324,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ]
        .map(Value::Float),
    );
    all.extend(
        [
            "",
            "5",
            "-5",
            "007",
            "1.0",
            "1.5",
            "-0",
            "-0.0",
            "1e5",
            "1e+20",
            "1e20",
            " 5",
            "5 ",
            "+5",
            ".5",
            "5.",
            ".",
            "0x10",
            "Infinity",
            "inf",
            "NaN",
            "nan",
            "1e",
            "1e+",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "9007199254740993",
            "5\0",
            "\x005",
            "1e400",
            "1_000",
            "abc",
            "true",
            "0.1",
            "0.30000000000000004",
            "\u{feff}5",
            "５",
        ]
        .map(text),
    );
    all.extend(["5", "1.50", "{}", "\"5\""].map(|v| Value::Json(Cow::Borrowed(v))));
    all.extend(
        ["0", "0.00", "1.50", "2.00", "1e30", "0.1", "12345678901234567890.5", "NaN", "Infinity"]
            .map(|v| Value::Decimal(Decimal::parse(v).expect("a decimal"))),
    );
    all.push(Value::Bytes(Cow::Borrowed(b"5")));
    for _ in 0..3_000 {
        all.push(Value::Int(random.spread()));
        let (any, scaled) =
            (f64::from_bits(random.bits()), random.spread() as f64 / [1.0, 2.0, 10.0, 1e6][random.below(4) as usize]);
        all.extend([Value::Float(any), Value::Float(scaled)]);
        let (unscaled, places) = (random.spread(), random.below(8));
        all.push(Value::Decimal(Decimal::parse(&format!("{unscaled}e-{places}")).expect("a decimal")));
        all.push(text(&random.text()));
        all.push(text(&format!("{unscaled}")));
        all.push(text(&to_text(&Value::Float(scaled))));
    }
    all
}

#[test]
fn what_is_called_exact_reads_back_as_it_was_called() {
    let mut random = Random::new();
    let oracle = Oracle::new();
    let mut held = [0usize; COLUMNS.len()];
    let values = values(&mut random);
    oracle.0.execute_batch("BEGIN").expect("a transaction begins");
    for value in &values {
        for (column, (affinity, declared, _)) in COLUMNS.iter().enumerate() {
            let Ok(conformed) = conform(value.clone(), &DataType::Dynamic { affinity: *affinity }) else { continue };
            held[column] += 1;
            // The adapter binds the conformed value.
            let read = oracle.store(column, &conformed);
            assert_eq!(
                read.as_ref().map(bits),
                Some(bits(&conformed)),
                "{value:?} in {affinity:?} ({declared}): {conformed:?}, read {read:?}"
            );
            // SQLite would make the same of the value itself.
            let alone = oracle.store(column, value);
            let same = match (value, &conformed) {
                // In these SQLite's own digits are too few or spelled otherwise.
                (Value::Float(v), Value::Text(_))
                    if Decimal::from_f64(*v).to_text().bytes().filter(u8::is_ascii_digit).count() > 15 =>
                {
                    true
                }
                // SQLite's own text drops the sign.
                (Value::Float(v), Value::Text(_)) if *v == 0.0 => true,
                // A decimal is bound as text, which becomes a number as SQLite reads it, and stays text for an infinity.
                (Value::Decimal(_), Value::Float(v)) => {
                    v.is_infinite() || alone.as_ref().is_some_and(|v| matches!(v, Value::Float(_)))
                }
                // Text with a point goes through a real on its way to an integer, and loses digits there.
                (Value::Decimal(_), Value::Int(v)) if v.unsigned_abs() > 1 << 53 => true,
                _ => alone.as_ref().map(bits) == Some(bits(&conformed)),
            };
            assert!(same, "{value:?} in {affinity:?} ({declared}): {conformed:?}, SQLite alone makes {alone:?}");
        }
    }
    for ((affinity, declared, strict), held) in COLUMNS.iter().zip(held) {
        println!("{affinity:?} ({declared}{}): {held} of {} values held", if *strict { ", strict" } else { "" }, values.len());
        assert!(held > 1, "{affinity:?}");
    }
}

#[test]
fn what_sqlite_leaves_alone_is_rarely_refused() {
    let mut random = Random::new();
    let oracle = Oracle::new();
    oracle.0.execute_batch("BEGIN").expect("a transaction begins");
    for value in values(&mut random) {
        if matches!(value, Value::Decimal(_) | Value::Json(_)) {
            continue;
        }
        for (column, (affinity, declared, _)) in COLUMNS.iter().enumerate() {
            let kept = oracle.store(column, &value).is_some_and(|read| bits(&read) == bits(&value));
            let conformed = conform(value.clone(), &DataType::Dynamic { affinity: *affinity });
            assert!(!kept || conformed.is_ok(), "{value:?} in {affinity:?} ({declared}): {conformed:?}");
        }
    }
}
