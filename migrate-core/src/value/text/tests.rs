//! The forms of every kind, there and back. `migrate-postgres/tests/suite/text_oracle.rs` compares them with a real server.

use super::*;
use crate::value::Decimal;
use proptest::prelude::*;

const TIMESTAMP: DataType = DataType::Timestamp { precision: None };
const TIMESTAMP_TZ: DataType = DataType::TimestampTz { precision: None };
const TIME: DataType = DataType::Time { precision: None };
const TIME_TZ: DataType = DataType::TimeTz { precision: None };
const DECIMAL: DataType = DataType::Decimal { precision: None, scale: None };

#[track_caller]
fn both_ways(value: &Value<'static>, data_type: &DataType, text: &str) {
    assert_eq!(to_text(value), text);
    assert_eq!(parse(text, data_type).as_ref(), Some(value), "{text} as {data_type}");
}

#[test]
fn moments_print_as_postgresql_prints_them() {
    both_ways(&Value::Date(0), &DataType::Date, "2000-01-01");
    both_ways(&Value::Date(-1), &DataType::Date, "1999-12-31");
    both_ways(&Value::Date(59), &DataType::Date, "2000-02-29");
    both_ways(&Value::Date(i32::MAX), &DataType::Date, "infinity");
    both_ways(&Value::Date(i32::MIN), &DataType::Date, "-infinity");
    both_ways(&Value::Date(-2_451_545), &DataType::Date, "4714-11-24 BC");
    both_ways(&Value::Date(2_145_031_948), &DataType::Date, "5874897-12-31");
    both_ways(&Value::Date(-730_119), &DataType::Date, "0001-01-01");
    both_ways(&Value::Date(-730_120), &DataType::Date, "0001-12-31 BC");
    both_ways(&Value::Time(0), &TIME, "00:00:00");
    both_ways(&Value::Time(86_400_000_000), &TIME, "24:00:00");
    both_ways(&Value::Time(3_723_004_500), &TIME, "01:02:03.0045");
    both_ways(&Value::TimeTz(0, -19_815), &TIME_TZ, "00:00:00+05:30:15");
    both_ways(&Value::TimeTz(0, 28_800), &TIME_TZ, "00:00:00-08");
    both_ways(&Value::TimeTz(0, -19_800), &TIME_TZ, "00:00:00+05:30");
    both_ways(&Value::Timestamp(1), &TIMESTAMP, "2000-01-01 00:00:00.000001");
    both_ways(&Value::Timestamp(-1), &TIMESTAMP, "1999-12-31 23:59:59.999999");
    both_ways(&Value::Timestamp(i64::MAX), &TIMESTAMP, "infinity");
    both_ways(&Value::Timestamp(9_223_371_331_199_999_999), &TIMESTAMP, "294276-12-31 23:59:59.999999");
    both_ways(&Value::Timestamp(-211_813_488_000_000_000), &TIMESTAMP, "4714-11-24 00:00:00 BC");
    both_ways(&Value::TimestampTz(-211_813_488_000_000_000), &TIMESTAMP_TZ, "4714-11-24 00:00:00+00 BC");
    both_ways(&Value::TimestampTz(i64::MIN), &TIMESTAMP_TZ, "-infinity");
}

#[test]
fn the_other_listed_spellings_of_a_moment_are_read() {
    let noon = 12 * 3_600 * 1_000_000;
    for text in [
        "2000-01-01 12:00:00Z",
        "2000-01-01T12:00:00Z",
        "2000-01-01T12:00:00.000000000Z",
        "2000-01-01 12:00:00+00",
        "2000-01-01 12:00:00+00:00",
        "2000-01-01T14:00:00+02:00",
        "2000-01-01 06:30:00-05:30",
    ] {
        assert_eq!(parse(text, &TIMESTAMP_TZ), Some(Value::TimestampTz(noon)), "{text}");
        assert_eq!(parse(text, &TIMESTAMP), None, "{text}");
    }
    for text in ["2000-01-01 12:00:00", "2000-01-01T12:00:00", "2000-01-01T12:00:00.0"] {
        assert_eq!(parse(text, &TIMESTAMP), Some(Value::Timestamp(noon)), "{text}");
        assert_eq!(parse(text, &TIMESTAMP_TZ), None, "{text}");
    }
    assert_eq!(parse("2000-01-02", &TIMESTAMP), Some(Value::Timestamp(DAY)));
    assert_eq!(parse("2000-01-02", &TIMESTAMP_TZ), None);
    assert_eq!(parse("12:00:00Z", &TIME_TZ), Some(Value::TimeTz(noon, 0)));
    assert_eq!(parse("12:00:00Z", &TIME), None);
    assert_eq!(parse("12:00:00", &TIME_TZ), None);
}

#[test]
fn no_other_text_is_a_moment() {
    for text in [
        "",
        " ",
        "2000-1-1",
        "2000-01-32",
        "2000-02-30",
        "1900-02-29",
        "2000-13-01",
        "0000-01-01",
        "2000-01-01 ",
        " 2000-01-01",
        "2000/01/01",
        "20000101",
        "02000-01-01",
        "2000-01-01 12:00",
        "2000-01-01 24:00:00",
        "2000-01-01 12:60:00",
        "2000-01-01 12:00:60",
        "2000-01-01 12:00:00.",
        "2000-01-01 12:00:00.0000001",
        "2000-01-01t12:00:00",
        "2000-01-01 12:00:00 AD",
        "294277-01-01 00:00:00",
        "4714-11-23 00:00:00 BC",
        "now",
        "Infinity",
        "2000-01-01 12:00:00 +00",
        "1700000000",
        "2000-01-01 12:00:00BC",
        "2000-01-01 12:00:00 BC BC",
        "٢٠٠٠-٠١-٠١",
    ] {
        for data_type in [DataType::Date, TIMESTAMP, TIMESTAMP_TZ, TIME, TIME_TZ] {
            assert_eq!(parse(text, &data_type), None, "{text} as {data_type}");
        }
    }
    for text in [
        "24:00:00.000001",
        "24:00:01",
        "25:00:00",
        "1:00:00",
        "-01:00:00",
        "12:00:00+16",
        "12:00:00+0530",
        "12:00:00+5",
        "12:00:00 Z",
    ] {
        assert_eq!(parse(text, &TIME), None, "{text}");
        assert_eq!(parse(text, &TIME_TZ), None, "{text}");
    }
    assert_eq!(parse("2000-01-01 00:00:00", &DataType::Date), None);
    assert_eq!(parse("2000-01-01 00:00:00.5", &DataType::Timestamp { precision: Some(0) }), None);
    assert_eq!(parse("2000-01-01 00:00:00.50", &DataType::Timestamp { precision: Some(1) }), Some(Value::Timestamp(500_000)));
}

#[test]
fn intervals_print_in_postgresqls_style() {
    for (months, days, micros, text) in [
        (14, -3, 14_706_789_000, "1 year 2 mons -3 days +04:05:06.789"),
        (-12, 0, 0, "-1 years"),
        (0, -1, 1_000_000, "-1 days +00:00:01"),
        (1, -1, -500_000, "1 mon -1 days -00:00:00.5"),
        (0, 0, 0, "00:00:00"),
        (-25, 0, -3_600_000_000, "-2 years -1 mons -01:00:00"),
        (-1, 1, 0, "-1 mons +1 day"),
        (0, 0, i64::MIN, "-2562047788:00:54.775808"),
        (i32::MAX, i32::MAX, i64::MAX, "infinity"),
        (i32::MIN, 0, 0, "-178956970 years -8 mons"),
    ] {
        both_ways(&Value::Interval { months, days, micros }, &DataType::Interval, text);
    }
    for text in
        ["", "1", "1 hour", "1 day 1 year", "1 days", "01:00", "1 day  01:00:00", "00:00:00.0", "13 mons", "P1D", "+1 day"]
    {
        assert_eq!(parse(text, &DataType::Interval), None, "{text}");
    }
}

#[test]
fn numbers_print_as_postgresql_prints_them() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (-1.5, "-1.5"),
        (1e14, "100000000000000"),
        (1e15, "1e+15"),
        (1e20, "1e+20"),
        (1e23, "9.999999999999999e+22"),
        (8.41e21, "8.409999999999999e+21"),
        (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        both_ways(&Value::Float(value), &DataType::Float64, text);
        assert_eq!(
            parse(text, &DataType::Float64).map(|v| matches!(v, Value::Float(f) if f.to_bits() == value.to_bits())),
            Some(true)
        );
    }
    assert_eq!(to_text(&Value::Float(f64::NAN)), "NaN");
    both_ways(&Value::Int(i64::MIN), &DataType::Int64, "-9223372036854775808");
    both_ways(&Value::Int(-32_768), &DataType::Int16, "-32768");
    both_ways(&Value::Decimal(Decimal::nan()), &DECIMAL, "NaN");
    for (text, data_type) in [
        ("32768", DataType::Int16),
        ("2147483648", DataType::Int32),
        ("9223372036854775808", DataType::Int64),
        ("007", DataType::Int64),
        ("+7", DataType::Int64),
        ("-0", DataType::Int64),
        ("7.0", DataType::Int64),
        ("", DataType::Int64),
        ("1e400", DataType::Float64),
        ("1e-400", DataType::Float64),
        ("0.1000000000000000055511151231257827", DataType::Float64),
        (".5", DataType::Float64),
        ("0x10", DataType::Float64),
        ("1e5", DECIMAL),
        ("00.5", DECIMAL),
        ("1.", DECIMAL),
    ] {
        assert_eq!(parse(text, &data_type), None, "{text} as {data_type}");
    }
    assert_eq!(parse("0.1", &DataType::Float32), Some(Value::Float(f64::from(0.1f32))));
    assert_eq!(parse("0.10000000149011612", &DataType::Float32), Some(Value::Float(f64::from(0.1f32))));
    assert_eq!(parse("0.10000000001", &DataType::Float32), None);
}

#[test]
fn sqlites_spelling_of_a_real_reads_back() {
    for (value, text) in [
        (1.0, "1.0"),
        (-0.5, "-0.5"),
        (1e14, "100000000000000.0"),
        (1e15, "1.0e+15"),
        (1.5e-5, "1.5e-05"),
        (f64::INFINITY, "Inf"),
    ] {
        assert_eq!(sqlite_float(value), text);
        assert_eq!(parse(text, &DataType::Float64), Some(Value::Float(value)));
    }
}

#[test]
fn the_rest_prints_and_reads() {
    both_ways(&Value::Bytes(Cow::Borrowed(&[0, 0xab, 0xff])), &DataType::Bytes, "\\x00abff");
    both_ways(&Value::Bytes(Cow::Borrowed(&[])), &DataType::Bytes, "\\x");
    let uuid = Value::Uuid([0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11]);
    both_ways(&uuid, &DataType::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    for text in ["A0EEBC999C0B4EF8BB6D6BB9BD380A11", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"] {
        assert_eq!(parse(text, &DataType::Uuid), Some(uuid.clone()), "{text}");
    }
    for text in [
        "",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        "a0eebc99-9c0b-4ef8bb6d-6bb9bd380a11-",
        "g0eebc999c0b4ef8bb6d6bb9bd380a11",
        "{}",
        "é0eebc999c0b4ef8bb6d6bb9bd380a1",
    ] {
        assert_eq!(parse(text, &DataType::Uuid), None, "{text}");
    }
    both_ways(&Value::Bool(true), &DataType::Bool, "t");
    assert_eq!(parse("\\x0", &DataType::Bytes), None);
    assert_eq!(parse("00", &DataType::Bytes), None);
    assert_eq!(to_text(&Value::Null), "");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_moment_returns(days in -2_451_545i64..=2_145_031_948, micros in -211_813_488_000_000_000i64..9_223_371_331_200_000_000, time in 0i64..=86_400_000_000, zone in -57_599i32..=57_599) {
        for (value, data_type) in [
            (Value::Date(days as i32), DataType::Date),
            (Value::Time(time), TIME),
            (Value::TimeTz(time, zone), TIME_TZ),
            (Value::Timestamp(micros), TIMESTAMP),
            (Value::TimestampTz(micros), TIMESTAMP_TZ),
        ] {
            prop_assert_eq!(parse(&to_text(&value), &data_type), Some(value));
        }
    }

    #[test]
    fn every_interval_returns(months in any::<i32>(), days in any::<i32>(), micros in any::<i64>(), shift in 0u32..63) {
        let value = Value::Interval { months: months >> (shift / 2), days: days >> (shift / 2), micros: micros >> shift };
        prop_assert_eq!(parse(&to_text(&value), &DataType::Interval), Some(value));
    }

    #[test]
    fn every_float_returns(bits in any::<u64>(), narrow in any::<u32>()) {
        let float = f64::from_bits(bits);
        let narrow = f32::from_bits(narrow);
        prop_assume!(!float.is_nan() && !narrow.is_nan());
        prop_assert_eq!(parse(&to_text(&Value::Float(float)), &DataType::Float64), Some(Value::Float(float)));
        prop_assert_eq!(parse(&sqlite_float(float), &DataType::Float64), Some(Value::Float(float)));
        prop_assert_eq!(parse(&to_text(&Value::Float(f64::from(narrow))), &DataType::Float32), Some(Value::Float(f64::from(narrow))));
        prop_assert_eq!(parse(&crate::value::decimal::shortest_f32(narrow), &DataType::Float32), Some(Value::Float(f64::from(narrow))));
    }

    #[test]
    fn no_text_makes_reading_panic(text in "\\PC{0,24}|[-+0-9:. TZBCe]{0,30}") {
        for data_type in [DataType::Bool, DataType::Int64, DataType::Float64, DataType::Float32, DECIMAL, DataType::Bytes, DataType::Date, TIME, TIME_TZ,
            TIMESTAMP, TIMESTAMP_TZ, DataType::Interval, DataType::Uuid, DataType::Json, DataType::Jsonb] {
            if let Some(value) = parse(&text, &data_type) {
                let printed = to_text(&value).into_owned();
                let again = parse(&printed, &data_type);
                prop_assert!(again.as_ref() == Some(&value) || matches!(value, Value::Float(f) if f.is_nan()), "{} as {}", text, data_type);
            }
        }
    }
}
