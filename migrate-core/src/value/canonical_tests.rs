//! The canonical encoding, byte by byte. Whoever changes a golden value here must raise [`canonical::VERSION`].

use super::{Decimal, Value, canonical};
use crate::error::ErrorKind;
use proptest::prelude::*;
use std::borrow::Cow;

fn encoded(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    canonical::encode_value(value, &mut out);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn dec(text: &str) -> Value<'static> {
    Value::Decimal(Decimal::parse(text).unwrap())
}

#[test]
fn every_tag_has_its_golden_bytes() {
    assert_eq!(canonical::VERSION, 1);
    for (value, golden) in [
        (Value::Null, "00"),
        (Value::Bool(false), "01"),
        (Value::Bool(true), "02"),
        (Value::Int(1), "030000000000000001"),
        (Value::Int(-2), "03fffffffffffffffe"),
        (Value::Int(i64::MIN), "038000000000000000"),
        (Value::Float(1.5), "043ff8000000000000"),
        (Value::Float(0.0), "040000000000000000"),
        (Value::Float(-0.0), "048000000000000000"),
        (Value::Float(f64::INFINITY), "047ff0000000000000"),
        (Value::Float(f64::NAN), "047ff8000000000000"),
        (Value::Float(f64::from_bits(0xfff0_0000_0000_0001)), "047ff8000000000000"),
        (dec("0"), "05000000080000000000000000"),
        (dec("0.00"), "05000000080000000000000002"),
        (dec("1.5"), "050000000c000200000000000100011388"),
        (dec("1.50"), "050000000c000200000000000200011388"),
        (dec("-12345678.9"), "050000000e000300014000000104d2162e2328"),
        (dec("0.00001"), "050000000a0001fffe0000000503e8"),
        (dec("10000"), "050000000a00010001000000000001"),
        (dec("NaN"), "050000000800000000c0000000"),
        (dec("Infinity"), "050000000800000000d0000000"),
        (dec("-Infinity"), "050000000800000000f0000000"),
        (Value::Text(Cow::Borrowed("")), "0600000000"),
        (Value::Text(Cow::Borrowed("é")), "0600000002c3a9"),
        (Value::Bytes(Cow::Borrowed(&[0, 255])), "070000000200ff"),
        (Value::Date(1), "0800000001"),
        (Value::Date(i32::MIN), "0880000000"),
        (Value::Time(1), "090000000000000001"),
        (Value::TimeTz(1, -3600), "0a0000000000000001fffff1f0"),
        (Value::Timestamp(-1), "0bffffffffffffffff"),
        (Value::TimestampTz(i64::MAX), "0c7fffffffffffffff"),
        (Value::Interval { months: 1, days: 2, micros: 3 }, "0d00000000000000030000000200000001"),
        (Value::Uuid([0xab; 16]), "0eabababababababababababababababab"),
        (Value::Json(Cow::Borrowed("[ ]")), "0f000000035b205d"),
        (Value::Jsonb(Cow::Borrowed("[]")), "10000000025b5d"),
        (Value::Typed(Cow::Borrowed("{1}")), "11000000037b317d"),
    ] {
        assert_eq!(hex(&encoded(&value)), golden, "{value:?}");
        let bytes = encoded(&value);
        let decoded = canonical::decode_cell(&bytes).unwrap();
        assert_eq!(encoded(&decoded), encoded(&value), "{value:?}");
    }
}

#[test]
fn the_checksum_is_the_head_of_sha_256() {
    assert_eq!(hex(&canonical::checksum(b"")), "e3b0c44298fc1c149afbf4c8996fb924");
    assert_eq!(hex(&canonical::checksum(b"abc")), "ba7816bf8f01cfea414140de5dae2223");
}

#[test]
fn an_infinity_as_postgresql_sends_it_has_the_same_bytes() {
    let sent = [0u8, 0, 0, 0, 0xd0, 0, 0, 0x20];
    let value = Value::Decimal(Decimal::from_bytes(Cow::Borrowed(&sent)).unwrap());
    assert_eq!(encoded(&value), encoded(&dec("Infinity")));
}

#[test]
fn broken_bytes_are_reported_and_never_panic() {
    for broken in [
        &[][..],
        &[0x12],
        &[0xff],
        &[3, 0],
        &[6, 0, 0, 0, 2, b'a'],
        &[6, 0, 0, 0, 1, 0xff],
        &[0, 0],
        &[5, 0, 0, 0, 1, 0],
        &[14, 1],
    ] {
        assert_eq!(canonical::decode_cell(broken).unwrap_err().kind(), ErrorKind::Corrupt, "{broken:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        "-?[0-9]{1,30}(\\.[0-9]{1,30})?".prop_map(|v| dec(&v)),
        ".{0,20}".prop_map(|v| Value::Text(Cow::Owned(v))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|v| Value::Bytes(Cow::Owned(v))),
        any::<i32>().prop_map(Value::Date),
        any::<i64>().prop_map(Value::Time),
        (any::<i64>(), any::<i32>()).prop_map(|(t, z)| Value::TimeTz(t, z)),
        any::<i64>().prop_map(Value::Timestamp),
        any::<i64>().prop_map(Value::TimestampTz),
        (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(months, days, micros)| Value::Interval { months, days, micros }),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        ".{0,20}".prop_map(|v| Value::Json(Cow::Owned(v))),
        ".{0,20}".prop_map(|v| Value::Jsonb(Cow::Owned(v))),
        ".{0,20}".prop_map(|v| Value::Typed(Cow::Owned(v))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_back_to_back_are_told_apart(row in prop::collection::vec(any_value(), 0..8)) {
        let mut bytes = Vec::new();
        row.iter().for_each(|value| canonical::encode_value(value, &mut bytes));
        let mut rest = bytes.as_slice();
        for value in &row {
            prop_assert_eq!(&canonical::decode_value(&mut rest).unwrap(), value);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), tag in 0u8..0x14) {
        let mut bytes = bytes;
        bytes.insert(0, tag);
        if let Ok(value) = canonical::decode_cell(&bytes) {
            let once = encoded(&value);
            prop_assert_eq!(encoded(&canonical::decode_cell(&once).unwrap()), once);
        }
    }

    #[test]
    fn a_cut_value_is_never_taken_for_a_whole_one(value in any_value(), cut in 1usize..20) {
        let bytes = encoded(&value);
        prop_assert!(canonical::decode_cell(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
    }
}

#[test]
fn a_checksum_is_the_beginning_of_the_sha256_whatever_the_length() {
    let bytes: Vec<u8> = (0..400u32).map(|i| (i * 7 + 3) as u8).collect();
    for length in 0..=bytes.len() {
        let expected = <sha2::Sha256 as sha2::Digest>::digest(&bytes[..length]);
        assert_eq!(canonical::checksum(&bytes[..length])[..], expected[..16], "{length} bytes");
    }
}
