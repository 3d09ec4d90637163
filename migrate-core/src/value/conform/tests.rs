//! Every rule of `docs/types.md`, row by row.

use super::*;
use crate::value::{Decimal, canonical};
use std::borrow::Cow;

mod documented;
mod properties;

use properties::targets;

const DECIMAL: DataType = DataType::Decimal { precision: None, scale: None };
const MONEY: DataType = DataType::Decimal { precision: Some(12), scale: Some(2) };
const DATE: DataType = DataType::Date;
const TIMESTAMP: DataType = DataType::Timestamp { precision: None };
const TIMESTAMP_TZ: DataType = DataType::TimestampTz { precision: None };
const TIME: DataType = DataType::Time { precision: None };
const TIME_TZ: DataType = DataType::TimeTz { precision: None };
const DAY: i64 = 86_400_000_000;

fn text(v: &str) -> Value<'static> {
    Value::Text(Cow::Owned(v.to_owned()))
}

fn dec(v: &str) -> Value<'static> {
    Value::Decimal(Decimal::parse(v).unwrap())
}

fn json(v: &str) -> Value<'static> {
    Value::Json(Cow::Owned(v.to_owned()))
}

fn jsonb(v: &str) -> Value<'static> {
    Value::Jsonb(Cow::Owned(v.to_owned()))
}

fn typed(v: &str) -> Value<'static> {
    Value::Typed(Cow::Owned(v.to_owned()))
}

fn other(name: &str) -> DataType {
    DataType::Other { name: name.to_owned() }
}

fn dynamic(affinity: Affinity) -> DataType {
    DataType::Dynamic { affinity }
}

fn mood() -> DataType {
    DataType::Enum { name: "mood".into(), labels: vec!["sad".into(), "1".into()] }
}

fn bits(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    canonical::encode_value(value, &mut out);
    out
}

#[track_caller]
fn becomes(value: Value<'static>, target: &DataType, expected: Value<'static>) {
    let got = conform(value.clone(), target).unwrap_or_else(|r| panic!("{value:?} into {target}: {r}"));
    assert_eq!(bits(&got), bits(&expected), "{value:?} into {target}: {got:?}");
    let again = conform(got, target).unwrap_or_else(|r| panic!("{value:?} into {target} again: {r}"));
    assert_eq!(bits(&again), bits(&expected), "{value:?} into {target} twice: {again:?}");
}

#[track_caller]
fn stays(value: Value<'static>, target: &DataType) {
    becomes(value.clone(), target, value);
}

#[track_caller]
fn refused(value: Value<'static>, target: &DataType) {
    if let Ok(got) = conform(value.clone(), target) {
        panic!("{value:?} into {target} became {got:?}");
    }
}

#[test]
fn integers_are_range_checked_and_turn_into_what_holds_them() {
    stays(Value::Int(i64::MIN), &DataType::Int64);
    stays(Value::Int(2_147_483_647), &DataType::Int32);
    refused(Value::Int(2_147_483_648), &DataType::Int32);
    stays(Value::Int(-32_768), &DataType::Int16);
    refused(Value::Int(-32_769), &DataType::Int16);
    becomes(Value::Int(1), &DataType::Bool, Value::Bool(true));
    becomes(Value::Int(0), &DataType::Bool, Value::Bool(false));
    refused(Value::Int(2), &DataType::Bool);
    refused(Value::Int(-1), &DataType::Bool);
    becomes(Value::Int(1 << 53), &DataType::Float64, Value::Float(9_007_199_254_740_992.0));
    refused(Value::Int((1 << 53) + 1), &DataType::Float64);
    becomes(Value::Int(1 << 60), &DataType::Float64, Value::Float(1_152_921_504_606_846_976.0));
    refused(Value::Int(i64::MAX), &DataType::Float64);
    becomes(Value::Int(1 << 24), &DataType::Float32, Value::Float(16_777_216.0));
    refused(Value::Int((1 << 24) + 1), &DataType::Float32);
    becomes(Value::Int(7), &MONEY, dec("7.00"));
    becomes(Value::Int(7), &DECIMAL, dec("7"));
    refused(Value::Int(10_000_000_000), &MONEY);
    becomes(Value::Int(1_200), &DataType::Decimal { precision: Some(3), scale: Some(-2) }, dec("1200"));
    becomes(Value::Int(-7), &DataType::TEXT, text("-7"));
    becomes(Value::Int(7), &DataType::Char { chars: 3 }, text("7  "));
    refused(Value::Int(1_000), &DataType::Text { max_chars: Some(3) });
    becomes(Value::Int(i64::MAX), &DataType::Json, json("9223372036854775807"));
    becomes(Value::Int(i64::MAX), &DataType::Jsonb, jsonb("9223372036854775807"));
    becomes(Value::Int(1), &mood(), text("1"));
    refused(Value::Int(2), &mood());
    becomes(Value::Int(7), &other("oid"), typed("7"));
    refused(Value::Int(7), &other("money"));
    refused(Value::Int(101), &other("bit(3)"));
    for target in [DATE, TIME, TIMESTAMP, TIMESTAMP_TZ, DataType::Uuid, DataType::Bytes, DataType::Interval] {
        refused(Value::Int(0), &target);
    }
}

#[test]
fn truth_values_are_0_and_1() {
    becomes(Value::Bool(true), &DataType::Int16, Value::Int(1));
    becomes(Value::Bool(false), &DataType::Int64, Value::Int(0));
    becomes(Value::Bool(true), &DataType::TEXT, text("true"));
    becomes(Value::Bool(true), &DataType::Jsonb, jsonb("true"));
    refused(Value::Bool(true), &DataType::Float64);
    refused(Value::Bool(true), &MONEY);
    for (spelling, value) in
        [("t", true), ("T", true), ("true", true), ("TRUE", true), ("1", true), ("f", false), ("False", false), ("0", false)]
    {
        becomes(text(spelling), &DataType::Bool, Value::Bool(value));
    }
    for spelling in ["", "yes", "on", "2", " t", "truee", "01"] {
        refused(text(spelling), &DataType::Bool);
    }
    refused(Value::Float(1.0), &DataType::Bool);
    refused(dec("1"), &DataType::Bool);
}

#[test]
fn floats_stand_for_their_shortest_decimal() {
    stays(Value::Float(f64::NAN), &DataType::Float64);
    stays(Value::Float(-0.0), &DataType::Float64);
    stays(Value::Float(f64::from(0.1f32)), &DataType::Float32);
    stays(Value::Float(-0.0), &DataType::Float32);
    stays(Value::Float(f64::INFINITY), &DataType::Float32);
    refused(Value::Float(0.1), &DataType::Float32);
    refused(Value::Float(1e300), &DataType::Float32);
    becomes(Value::Float(5.0), &DataType::Int32, Value::Int(5));
    refused(Value::Float(5.5), &DataType::Int32);
    refused(Value::Float(-0.0), &DataType::Int32);
    refused(Value::Float(3e9), &DataType::Int32);
    refused(Value::Float(9_223_372_036_854_775_808.0), &DataType::Int64);
    becomes(Value::Float(-9_223_372_036_854_775_808.0), &DataType::Int64, Value::Int(i64::MIN));
    refused(Value::Float(f64::NAN), &DataType::Int64);
    becomes(Value::Float(12.5), &MONEY, dec("12.50"));
    becomes(Value::Float(0.1), &DECIMAL, dec("0.1"));
    refused(Value::Float(0.1 + 0.2), &MONEY);
    refused(Value::Float(-0.0), &MONEY);
    becomes(Value::Float(f64::NAN), &MONEY, dec("NaN"));
    refused(Value::Float(f64::INFINITY), &MONEY);
    becomes(Value::Float(f64::INFINITY), &DECIMAL, dec("Infinity"));
    becomes(Value::Float(0.1), &DataType::TEXT, text("0.1"));
    becomes(Value::Float(1e20), &DataType::TEXT, text("1e+20"));
    becomes(Value::Float(1.5), &DataType::Json, json("1.5"));
    becomes(Value::Float(1e20), &DataType::Jsonb, jsonb("100000000000000000000"));
    refused(Value::Float(-0.0), &DataType::Jsonb);
    refused(Value::Float(f64::NAN), &DataType::Json);
    refused(Value::Float(f64::INFINITY), &DataType::Jsonb);
    refused(Value::Float(1.0), &mood());
    refused(Value::Float(1.0), &other("money"));
    refused(Value::Float(1.0), &TIMESTAMP);
}

#[test]
fn decimals_keep_their_scale_or_take_the_columns() {
    stays(dec("1.50"), &DECIMAL);
    becomes(dec("1.5"), &MONEY, dec("1.50"));
    becomes(dec("1.500"), &MONEY, dec("1.50"));
    refused(dec("1.505"), &MONEY);
    refused(dec("12345678901"), &MONEY);
    stays(dec("NaN"), &MONEY);
    refused(dec("-Infinity"), &MONEY);
    becomes(dec("2.00"), &DataType::Int16, Value::Int(2));
    refused(dec("2.01"), &DataType::Int16);
    refused(dec("32768"), &DataType::Int16);
    becomes(dec("1.50"), &DataType::Float64, Value::Float(1.5));
    becomes(dec("0.1"), &DataType::Float32, Value::Float(f64::from(0.1f32)));
    refused(dec("12345678901234567890.5"), &DataType::Float64);
    refused(dec("1e400"), &DataType::Float64);
    becomes(dec("Infinity"), &DataType::Float64, Value::Float(f64::INFINITY));
    becomes(dec("1.50"), &DataType::TEXT, text("1.50"));
    becomes(dec("1.50"), &DataType::Json, json("1.50"));
    becomes(dec("1.50"), &DataType::Jsonb, jsonb("1.50"));
    refused(dec("NaN"), &DataType::Jsonb);
    refused(dec("1.50"), &other("money"));
}

#[test]
fn text_becomes_a_number_only_in_the_spelling_of_one() {
    becomes(text("-5"), &DataType::Int32, Value::Int(-5));
    becomes(text("1.5"), &MONEY, dec("1.50"));
    becomes(text("1.50"), &DECIMAL, dec("1.50"));
    becomes(text("NaN"), &DECIMAL, dec("NaN"));
    becomes(text("1.50"), &DataType::Float64, Value::Float(1.5));
    becomes(text("1e+20"), &DataType::Float64, Value::Float(1e20));
    becomes(text("-0"), &DataType::Float64, Value::Float(-0.0));
    becomes(text("NaN"), &DataType::Float64, Value::Float(f64::NAN));
    for spelling in ["", " 5", "5 ", "+5", "05", "5.0", "5e0", "0x5", "1_000", "-0", "2147483648", "five", "5\0"] {
        refused(text(spelling), &DataType::Int32);
    }
    for spelling in ["", "1.505", "+1", ".5", "5.", "1e1", "01.5", " 1", "$1", "Infinity", "1,5"] {
        refused(text(spelling), &MONEY);
    }
    for spelling in ["", "nan", "1e400", "1e-400", "0.12345678901234567890", "0x1p3", "1 "] {
        refused(text(spelling), &DataType::Float64);
    }
}

#[test]
fn text_is_kept_to_the_letter_within_its_length() {
    stays(text(""), &DataType::TEXT);
    stays(text("ünï😀"), &DataType::Text { max_chars: Some(4) });
    refused(text("ünï😀!"), &DataType::Text { max_chars: Some(4) });
    refused(text("abc  "), &DataType::Text { max_chars: Some(4) });
    stays(text("ab  "), &DataType::Char { chars: 4 });
    becomes(text("ab"), &DataType::Char { chars: 4 }, text("ab  "));
    becomes(text("ab    "), &DataType::Char { chars: 4 }, text("ab  "));
    becomes(text(""), &DataType::Char { chars: 2 }, text("  "));
    refused(text("abcde"), &DataType::Char { chars: 4 });
    stays(text("sad"), &mood());
    refused(text("SAD"), &mood());
    refused(text(""), &mood());
    for target in [
        DataType::TEXT,
        DataType::Text { max_chars: Some(9) },
        DataType::Char { chars: 9 },
        DataType::Json,
        other("inet"),
        other("citext"),
    ] {
        refused(text("a\0b"), &target);
        refused(text("\"a\0b\""), &target);
    }
    refused(text("00"), &DataType::Bytes);
    refused(text("\\x00"), &DataType::Bytes);
    refused(Value::Bytes(Cow::Borrowed(b"abc")), &DataType::TEXT);
    refused(Value::Bytes(Cow::Borrowed(&[0; 16])), &DataType::Uuid);
    refused(Value::Bytes(Cow::Borrowed(b"1")), &DataType::Jsonb);
    stays(Value::Bytes(Cow::Borrowed(&[])), &DataType::Bytes);
    for value in [
        Value::Date(0),
        Value::Time(1),
        Value::TimeTz(1, 3_600),
        Value::Timestamp(1),
        Value::TimestampTz(1),
        Value::Interval { months: 1, days: -1, micros: 1 },
        Value::Uuid([1; 16]),
        json("[ 1]"),
        jsonb("[1]"),
        typed("{1,2}"),
    ] {
        let printed = crate::value::text::to_text(&value).into_owned();
        becomes(value, &DataType::TEXT, text(&printed));
    }
}

#[test]
fn types_that_travel_as_text_take_text() {
    becomes(text("10.0.0.0/8"), &other("inet"), typed("10.0.0.0/8"));
    stays(typed("{1,2}"), &other("int4[]"));
    becomes(text("$1,234.50"), &other("money"), typed("$1,234.50"));
    becomes(text("-$0.50"), &other("pg_catalog.money"), typed("-$0.50"));
    for spelling in ["1234.505", "1.5", "$1", "$1234.50", "$1,23.00", "$.50"] {
        refused(text(spelling), &other("money"));
    }
    becomes(Value::Int(7), &other("public.citext"), typed("7"));
    becomes(json("{}"), &other("\"citext\""), typed("{}"));
    refused(json("{}"), &other("hstore"));
    refused(Value::Date(0), &other("daterange"));
    for target in
        [DataType::Int32, DataType::Bool, MONEY, DATE, DataType::Json, DataType::Uuid, DataType::Bytes, DataType::Interval]
    {
        refused(typed("1"), &target);
    }
}

#[test]
fn moments_never_gain_or_lose_a_zone() {
    for (value, target) in [
        (Value::Timestamp(0), TIMESTAMP_TZ),
        (Value::TimestampTz(0), TIMESTAMP),
        (Value::Time(0), TIME_TZ),
        (Value::TimeTz(0, 0), TIME),
    ] {
        refused(value, &target);
    }
    refused(Value::Date(0), &TIMESTAMP_TZ);
    refused(Value::TimestampTz(0), &DATE);
    refused(Value::Timestamp(0), &TIME);
    becomes(Value::Date(1), &TIMESTAMP, Value::Timestamp(DAY));
    becomes(Value::Date(i32::MAX), &TIMESTAMP, Value::Timestamp(i64::MAX));
    becomes(Value::Date(i32::MIN), &TIMESTAMP, Value::Timestamp(i64::MIN));
    refused(Value::Date(2_000_000_000), &TIMESTAMP);
    becomes(Value::Timestamp(-DAY), &DATE, Value::Date(-1));
    becomes(Value::Timestamp(i64::MIN), &DATE, Value::Date(i32::MIN));
    refused(Value::Timestamp(1), &DATE);
    becomes(text("2000-01-02"), &DATE, Value::Date(1));
    becomes(text("2000-01-02"), &TIMESTAMP, Value::Timestamp(DAY));
    refused(text("2000-01-02"), &TIMESTAMP_TZ);
    refused(text("2000-01-02 00:00:00"), &DATE);
    becomes(text("2000-01-02 00:00:00"), &TIMESTAMP, Value::Timestamp(DAY));
    refused(text("2000-01-02 00:00:00"), &TIMESTAMP_TZ);
    refused(text("2000-01-02 00:00:00Z"), &TIMESTAMP);
    becomes(text("2000-01-02T02:00:00+02"), &TIMESTAMP_TZ, Value::TimestampTz(DAY));
    becomes(text("24:00:00"), &TIME, Value::Time(DAY));
    becomes(text("12:00:00-03:30"), &TIME_TZ, Value::TimeTz(DAY / 2, 12_600));
    becomes(text("infinity"), &TIMESTAMP_TZ, Value::TimestampTz(i64::MAX));
    becomes(text("0001-01-01 BC"), &DATE, Value::Date(-730_485));
    becomes(text("1 mon"), &DataType::Interval, Value::Interval { months: 1, days: 0, micros: 0 });
    refused(text("1 month"), &DataType::Interval);
    refused(Value::Time(0), &DataType::Interval);
    becomes(
        text("{A0EEBC999C0B4EF8BB6D6BB9BD380A11}"),
        &DataType::Uuid,
        Value::Uuid(0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11_u128.to_be_bytes()),
    );
    refused(text("a0eebc99"), &DataType::Uuid);
}

#[test]
fn a_fraction_finer_than_the_column_is_refused() {
    let seconds = DataType::TimestampTz { precision: Some(0) };
    stays(Value::TimestampTz(1_000_000), &seconds);
    stays(Value::TimestampTz(i64::MAX), &seconds);
    refused(Value::TimestampTz(1), &seconds);
    stays(Value::Time(1_500), &DataType::Time { precision: Some(4) });
    refused(Value::Time(1_500), &DataType::Time { precision: Some(3) });
    refused(Value::TimeTz(1_500, 0), &DataType::TimeTz { precision: Some(3) });
    becomes(text("2000-01-01 00:00:00.5"), &DataType::Timestamp { precision: Some(1) }, Value::Timestamp(500_000));
    refused(text("2000-01-01 00:00:00.5"), &DataType::Timestamp { precision: Some(0) });
    becomes(text("2000-01-01 00:00:00.500000000"), &TIMESTAMP, Value::Timestamp(500_000));
    refused(text("2000-01-01 00:00:00.5000001"), &TIMESTAMP);
}

#[test]
fn json_is_kept_to_the_letter_and_jsonb_is_what_postgresql_prints() {
    becomes(text("{\"b\" : 1,\"a\":1.50}"), &DataType::Json, json("{\"b\" : 1,\"a\":1.50}"));
    becomes(text("{\"b\" : 1,\"a\":1.50}"), &DataType::Jsonb, jsonb("{\"a\": 1.50, \"b\": 1}"));
    becomes(json("[1e5]"), &DataType::Jsonb, jsonb("[100000]"));
    becomes(jsonb("[1, 2]"), &DataType::Json, json("[1, 2]"));
    for invalid in ["", "{", "{a:1}", "'a'", "nul", "[1,]", "{\"a\":1,}", "01", "\"\u{1}\"", "[1] 2", "NaN"] {
        refused(text(invalid), &DataType::Json);
        refused(text(invalid), &DataType::Jsonb);
    }
    becomes(text("\"\\u0000\\ud800\""), &DataType::Json, json("\"\\u0000\\ud800\""));
    refused(text("\"\\u0000\""), &DataType::Jsonb);
    refused(text("\"\\ud800\""), &DataType::Jsonb);
    refused(json("1"), &DataType::Int64);
    refused(jsonb("true"), &DataType::Bool);
}

#[test]
fn null_fits_everywhere() {
    for target in [
        DataType::Bool,
        DataType::Int16,
        MONEY,
        DataType::Char { chars: 3 },
        mood(),
        other("inet"),
        DATE,
        TIME,
        DataType::Uuid,
        DataType::Jsonb,
        DataType::Bytes,
        DataType::Interval,
        dynamic(Affinity::StrictInteger),
        dynamic(Affinity::Real),
    ] {
        stays(Value::Null, &target);
    }
}

#[test]
fn sqlites_columns_get_what_they_would_store() {
    use Affinity::{Blob, Integer, Numeric, Real, StrictBlob, StrictInteger, StrictReal, StrictText, Text};
    for affinity in [Integer, Numeric] {
        let column = dynamic(affinity);
        stays(Value::Int(i64::MAX), &column);
        becomes(Value::Bool(true), &column, Value::Int(1));
        becomes(Value::Float(1.0), &column, Value::Int(1));
        stays(Value::Float(1.5), &column);
        stays(Value::Float(1e20), &column);
        stays(Value::Float(f64::INFINITY), &column);
        stays(Value::Float(-9_223_372_036_854_775_808.0), &column);
        refused(Value::Float(-0.0), &column);
        refused(Value::Float(f64::NAN), &column);
        becomes(dec("1.50"), &column, Value::Float(1.5));
        becomes(dec("2.00"), &column, Value::Int(2));
        refused(dec("1.23456789012345678901"), &column);
        refused(dec("NaN"), &column);
        becomes(text("5"), &column, Value::Int(5));
        becomes(text("1.5"), &column, Value::Float(1.5));
        becomes(text("1e+20"), &column, Value::Float(1e20));
        for spelling in ["007", "1.0", "1.50", " 5", "5 ", "+5", "1e5", ".5", "5.", "9223372036854775808", "-0", "-0.0", "1e400"]
        {
            refused(text(spelling), &column);
        }
        for spelling in ["", "abc", "5a", "0x10", "1e", "Infinity", "NaN", "2000-01-01", "1_000", ".", "-", "a\0b", "5\0"] {
            stays(text(spelling), &column);
        }
        stays(Value::Bytes(Cow::Borrowed(b"5")), &column);
        becomes(Value::Date(0), &column, text("2000-01-01"));
        becomes(json("{}"), &column, text("{}"));
        becomes(json("5"), &column, Value::Int(5));
        refused(json("5.0"), &column);
        becomes(typed("{1}"), &column, text("{1}"));
    }
    let real = dynamic(Real);
    becomes(Value::Int(5), &real, Value::Float(5.0));
    refused(Value::Int(i64::MAX), &real);
    stays(Value::Float(1.0), &real);
    refused(Value::Float(-0.0), &real);
    becomes(dec("2.00"), &real, Value::Float(2.0));
    becomes(text("5"), &real, Value::Float(5.0));
    becomes(text("5.0"), &real, Value::Float(5.0));
    refused(text("5.00"), &real);
    refused(text("-0"), &real);
    stays(text("abc"), &real);

    let column = dynamic(Text);
    becomes(Value::Int(5), &column, text("5"));
    becomes(Value::Bool(true), &column, text("1"));
    becomes(Value::Float(1.0), &column, text("1.0"));
    becomes(Value::Float(0.1 + 0.2), &column, text("0.30000000000000004"));
    refused(Value::Float(f64::NAN), &column);
    becomes(dec("1.50"), &column, text("1.50"));
    becomes(dec("NaN"), &column, text("NaN"));
    stays(text("007"), &column);
    stays(text("a\0b"), &column);
    becomes(Value::Uuid([0; 16]), &column, text("00000000-0000-0000-0000-000000000000"));

    let column = dynamic(Blob);
    for value in [Value::Int(5), Value::Float(-0.0), text("007"), text("a\0"), Value::Bytes(Cow::Borrowed(b"x"))] {
        stays(value, &column);
    }
    becomes(dec("1.50"), &column, text("1.50"));
    becomes(Value::Bool(false), &column, Value::Int(0));
    refused(Value::Float(f64::NAN), &column);

    becomes(Value::Float(2.0), &dynamic(StrictInteger), Value::Int(2));
    becomes(text("2"), &dynamic(StrictInteger), Value::Int(2));
    for value in [Value::Float(2.5), text("x"), Value::Bytes(Cow::Borrowed(b"x")), Value::Date(0)] {
        refused(value, &dynamic(StrictInteger));
    }
    becomes(Value::Int(2), &dynamic(StrictReal), Value::Float(2.0));
    refused(text("x"), &dynamic(StrictReal));
    becomes(Value::Int(2), &dynamic(StrictText), text("2"));
    refused(Value::Bytes(Cow::Borrowed(b"x")), &dynamic(StrictText));
    stays(Value::Bytes(Cow::Borrowed(b"x")), &dynamic(StrictBlob));
    refused(text("x"), &dynamic(StrictBlob));
    refused(Value::Int(2), &dynamic(StrictBlob));
}

#[test]
fn reasons_never_hold_the_value() {
    for target in targets() {
        for value in [
            text("hunter2"),
            text("77777.77777"),
            Value::Int(777_777_777_777),
            dec("777.7777777"),
            Value::Float(777.777_777_7),
            json("\"hunter2\""),
        ] {
            if let Err(refusal) = conform(value.clone(), &target) {
                assert!(
                    !refusal.reason.contains("hunter2") && !refusal.reason.contains("777"),
                    "{value:?} into {target}: {refusal}"
                );
                assert!(!refusal.reason.is_empty());
            }
        }
    }
}

#[test]
fn identity_is_claimed_where_it_pays() {
    for source in targets() {
        let same = !matches!(source, DataType::Dynamic { .. });
        assert!(is_identity(&source, &source), "{source}");
        assert!(!same || !is_identity(&dynamic(Affinity::Blob), &source), "{source}");
    }
    assert!(is_identity(&DataType::Int32, &DataType::Int64));
    assert!(!is_identity(&DataType::Int64, &DataType::Int32));
    assert!(is_identity(&MONEY, &DECIMAL));
    assert!(!is_identity(&DECIMAL, &MONEY));
    assert!(is_identity(&MONEY, &DataType::Decimal { precision: Some(14), scale: Some(2) }));
    assert!(!is_identity(&MONEY, &DataType::Decimal { precision: Some(14), scale: Some(3) }));
    assert!(is_identity(&DataType::Timestamp { precision: Some(3) }, &TIMESTAMP));
    assert!(!is_identity(&TIMESTAMP, &DataType::Timestamp { precision: Some(3) }));
    assert!(!is_identity(&TIMESTAMP, &TIMESTAMP_TZ));
    assert!(!is_identity(&DataType::Float64, &dynamic(Affinity::Blob)));
    assert!(is_identity(&DataType::TEXT, &dynamic(Affinity::Text)));
    assert!(!is_identity(&DataType::TEXT, &dynamic(Affinity::Numeric)));
}
