//! Tables, rows and values that the cases use.

use crate::memory::table;
use crate::schema::{ColumnSchema, ForeignKey, TableName, TableSchema, UniqueKey};
use crate::value::text::parse;
use crate::value::{DataType, Row, Value};

/// Text of one's own.
pub(super) fn text(text: impl Into<String>) -> Value<'static> {
    Value::Text(text.into().into())
}

/// A table `items (id, name, amount)` with the key `id`.
pub(super) fn items() -> TableSchema {
    table("items", &[("id", DataType::Int64), ("name", DataType::TEXT), ("amount", DataType::Float64)], &["id"])
}

/// A row of [`items`], always the same for the same number; every third has a NULL, every fourth an empty name.
pub(super) fn item(id: i64) -> Row {
    let name = if id % 3 == 0 { Value::Null } else { text(if id % 4 == 0 { String::new() } else { format!("item {id} ü") }) };
    vec![Value::Int(id), name, Value::Float(id as f64 / 8.0)]
}

/// So many rows of [`items`], from 1.
pub(super) fn item_rows(count: i64) -> Vec<Row> {
    (1..=count).map(item).collect()
}

/// A table with a name and columns that must be quoted, and its rows.
pub(super) fn odd() -> (TableSchema, Vec<Row>) {
    let columns = [
        ("2B", DataType::Int64),
        ("year.key", DataType::TEXT),
        ("select", DataType::TEXT),
        ("it's \"quoted\"", DataType::TEXT),
        ("Größe 東京 $1 %s ? :x", DataType::Int64),
    ];
    let schema = table("Order \"Details\" of O'Neil; é", &columns, &["2B", "year.key"]);
    let rows = (1..=5)
        .map(|n| vec![Value::Int(n), text(format!("k{n}")), text("from"), text(format!("'{n}' \"\\")), Value::Int(-n)])
        .collect();
    (schema, rows)
}

/// A table with keys of these types, its rows being these keys and a number.
pub(super) fn keyed(key_types: &[DataType], keys: &[Vec<Value<'static>>]) -> (TableSchema, Vec<Row>) {
    let names = ["a", "b", "c"];
    let mut columns: Vec<(&str, DataType)> = names.iter().copied().zip(key_types.iter().cloned()).collect();
    columns.push(("n", DataType::Int32));
    let schema = table("keyed", &columns, &names[..key_types.len()]);
    let numbered = keys.iter().zip(0..).map(|(key, n)| key.iter().cloned().chain([Value::Int(n)]).collect());
    (schema, numbered.collect())
}

/// Tables `parents (id, code unique)` and `children (id, parent → parents)`.
pub(super) fn family() -> [TableSchema; 2] {
    let mut parents = table("parents", &[("id", DataType::Int64), ("code", DataType::TEXT)], &["id"]);
    parents.unique_keys.push(UniqueKey { name: Some("parents_code_key".to_owned()), ..UniqueKey::new(["code"]) });
    let mut children = table("children", &[("id", DataType::Int64), ("parent", DataType::Int64)], &["id"]);
    children.foreign_keys.push(ForeignKey {
        name: Some("children_parent_fkey".to_owned()),
        ..ForeignKey::new(["parent"], TableName::new(None, "parents"), ["id"])
    });
    [parents, children]
}

/// A column that is not part of a key.
pub(super) fn column(name: &str, data_type: DataType) -> ColumnSchema {
    table("t", &[(name, data_type)], &[]).columns.remove(0)
}

/// Values of every type that travels between engines, in the form that a column of the type holds; awkward ones among them.
pub(super) fn values() -> Vec<(DataType, Vec<Value<'static>>)> {
    let micros = None;
    let chars: String =
        ['a', 'ä', 'ß', '€', '東', '\u{fffd}', '\u{10ffff}', '🚀', '\u{1}', '\u{7f}', '\u{a0}', '\u{feff}'].iter().collect();
    let texts = |more: &[&str]| -> Vec<Value<'static>> {
        let plain = ["", " ", "a", "A", "NULL", "\\N", "\\", "'", "\"", "it's", "a\tb\nc\r\n", "{}", "0", "1.0", "e\u{301}"];
        plain.iter().chain(more).map(|t| text(*t)).collect()
    };
    let parsed =
        |data_type: &DataType, all: &[&str]| -> Vec<Value<'static>> { all.iter().filter_map(|t| parse(t, data_type)).collect() };
    let number = DataType::Decimal { precision: None, scale: None };
    let money = DataType::Decimal { precision: Some(12), scale: Some(2) };
    let (long, fraction) = (format!("{}.{}", "9".repeat(300), "1".repeat(200)), format!("0.{}1", "0".repeat(60)));
    let numbers = [
        "0",
        "1",
        "-1",
        "1.0",
        "1.00",
        "-0.5",
        "10000",
        "99990000",
        "0.0001",
        "12345678901234567890.123456789",
        &long,
        &fraction,
        "NaN",
    ];
    vec![
        (DataType::Bool, vec![Value::Bool(true), Value::Bool(false)]),
        (DataType::Int16, [0, 1, -1, i16::MIN, i16::MAX].map(|v| Value::Int(v.into())).to_vec()),
        (DataType::Int32, [0, 1, -1, i32::MIN, i32::MAX].map(|v| Value::Int(v.into())).to_vec()),
        (DataType::Int64, [0, 1, -1, i64::MIN, i64::MAX, (1 << 53) + 1].map(Value::Int).to_vec()),
        (
            DataType::Float32,
            [0.0, -0.0, 0.1, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
                .map(|v| Value::Float(v.into()))
                .to_vec(),
        ),
        (
            DataType::Float64,
            [
                0.0,
                -0.0,
                1.0,
                0.1,
                0.1 + 0.2,
                f64::MAX,
                f64::MIN_POSITIVE,
                5e-324,
                1e15,
                9007199254740993.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
            ]
            .map(Value::Float)
            .to_vec(),
        ),
        (money.clone(), parsed(&money, &["0.00", "1.00", "-1.50", "9999999999.99", "-0.01"])),
        (number.clone(), parsed(&number, &numbers)),
        (DataType::TEXT, texts(&[&chars])),
        (DataType::Text { max_chars: Some(20) }, texts(&["äöüäöüäöüäöüäöüäöüäö"])),
        (DataType::Char { chars: 5 }, ["     ", "a    ", "ab cd", "äöü東京"].map(text).to_vec()),
        (
            DataType::Bytes,
            vec![vec![], vec![0], vec![0xff, 0, b'\\', b'x'], (0..=255).collect()]
                .into_iter()
                .map(|b: Vec<u8>| Value::Bytes(b.into()))
                .collect(),
        ),
        (DataType::Date, [0, -1, 8_000, -730_119, -800_000, 2_921_939].map(Value::Date).to_vec()),
        (DataType::Time { precision: micros }, [0, 1, 86_399_999_999, 86_400_000_000].map(Value::Time).to_vec()),
        (
            DataType::TimeTz { precision: micros },
            vec![Value::TimeTz(0, 0), Value::TimeTz(1, -19_800), Value::TimeTz(86_399_999_999, 43_200)],
        ),
        (
            DataType::Timestamp { precision: micros },
            [0, -1, 1, 123_456, -63_082_281_600_000_001, 252_455_616_000_000_000].map(Value::Timestamp).to_vec(),
        ),
        (
            DataType::TimestampTz { precision: micros },
            [0, -1, 1, 999_999, i64::MIN, i64::MAX, -63_082_281_600_000_001].map(Value::TimestampTz).to_vec(),
        ),
        (
            DataType::Interval,
            vec![
                Value::Interval { months: 0, days: 0, micros: 0 },
                Value::Interval { months: 1, days: -2, micros: 3 },
                Value::Interval { months: -14, days: 30, micros: -3_600_000_001 },
            ],
        ),
        (DataType::Uuid, vec![Value::Uuid([0; 16]), Value::Uuid([0xff; 16]), Value::Uuid(*b"0123456789abcdef")]),
        (
            DataType::Json,
            [" {\"b\": 1, \"a\": [1.0, null], \"a\": 2} ", "[]", "\"\\u00e9\"", "null", "9007199254740993"]
                .map(|t| Value::Json(t.into()))
                .to_vec(),
        ),
        (
            DataType::Jsonb,
            ["{\"a\": 2, \"bb\": [1.0, null]}", "[]", "\"é\"", "null", "12345678901234567890.10"]
                .map(|t| Value::Jsonb(t.into()))
                .to_vec(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::check::canonical_bytes;
    use crate::value::conform::conform;

    #[test]
    fn every_sample_is_in_the_form_that_its_column_holds() {
        for (data_type, values) in values() {
            assert!(values.len() > 1, "{data_type} has too few values");
            for value in values {
                let conformed = conform(value.clone(), &data_type).unwrap_or_else(|e| panic!("{value:?} as {data_type}: {e}"));
                assert_eq!(canonical_bytes(&[conformed]), canonical_bytes(&[value]), "{data_type}");
            }
        }
    }
}
