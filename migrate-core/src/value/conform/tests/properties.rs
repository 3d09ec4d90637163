//! What holds for every value and type.

use super::*;
use proptest::prelude::*;

pub(super) fn targets() -> Vec<DataType> {
    use Affinity::{Blob, Integer, Numeric, Real, StrictBlob, StrictInteger, StrictReal, StrictText, Text};
    let mut all = vec![
        DataType::Bool,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DECIMAL,
        MONEY,
        DataType::Decimal { precision: Some(14), scale: Some(2) },
        DataType::Decimal { precision: Some(3), scale: Some(-2) },
        DataType::Decimal { precision: Some(3), scale: None },
        DataType::TEXT,
        DataType::Text { max_chars: Some(5) },
        DataType::Text { max_chars: Some(9) },
        DataType::Char { chars: 5 },
        DataType::Char { chars: 6 },
        DataType::Bytes,
        DATE,
        TIME,
        DataType::Time { precision: Some(3) },
        TIME_TZ,
        DataType::TimeTz { precision: Some(6) },
        TIMESTAMP,
        DataType::Timestamp { precision: Some(0) },
        TIMESTAMP_TZ,
        DataType::TimestampTz { precision: Some(3) },
        DataType::Interval,
        DataType::Uuid,
        DataType::Json,
        DataType::Jsonb,
        mood(),
        DataType::Enum { name: "wide".into(), labels: vec!["1".into(), "sad".into(), "glad".into()] },
        other("inet"),
        other("money"),
    ];
    all.extend([Integer, Numeric, Real, Text, Blob, StrictInteger, StrictReal, StrictText, StrictBlob].map(dynamic));
    all
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    let number = "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,4})?";
    let int = prop_oneof![any::<i64>(), -3i64..3, Just(32_768), Just(-2_147_483_648)];
    let float = prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1000i32..1000).prop_map(|v| f64::from(v) / 4.0),
        any::<f32>().prop_map(f64::from)
    ];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        int.prop_map(Value::Int),
        float.prop_map(Value::Float),
        number.prop_map(|v| dec(&v)),
        prop_oneof![
            "\\PC{0,10}",
            number,
            "[0-9.e +-]{1,5}",
            "sad|1|glad|t|[0-9]{4}-[01][0-9]-[0-3][0-9]( [0-2][0-9]:00:00(\\.[05]{1,7})?(Z|\\+02)?)?"
        ]
        .prop_map(|v| text(&v)),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(|v| Value::Bytes(Cow::Owned(v))),
        (-2_451_545..=2_145_031_948).prop_map(Value::Date),
        (0..=DAY).prop_map(Value::Time),
        (0..=DAY, -50_000i32..50_000).prop_map(|(t, z)| Value::TimeTz(t, z)),
        (-200_000_000..200_000_000i64).prop_map(|v| Value::Timestamp(v * 500_000)),
        (-211_813_488_000_000_000..9_223_371_331_200_000_000i64).prop_map(Value::TimestampTz),
        (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(months, days, micros)| Value::Interval { months, days, micros }),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        "[1-9][0-9]?|\\[1 ?\\]|\"[a-z]{0,5}\"".prop_map(|v| json(&v)),
        "[1-9][0-9]?|\\[1\\]|\"[a-z]{0,5}\"".prop_map(|v| jsonb(&v)),
        "\\{[a-z]{0,3}\\}".prop_map(|v| typed(&v)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conforming_twice_is_conforming_once(value in any_value()) {
        for target in targets() {
            if let Ok(once) = conform(value.clone(), &target) {
                let twice = conform(once.clone(), &target);
                prop_assert!(twice.as_ref().is_ok_and(|twice| bits(twice) == bits(&once)), "{:?} into {}: {:?}, then {:?}", value, target, once, twice);
                prop_assert!(value.is_null() == once.is_null());
            }
        }
    }

    #[test]
    fn a_column_that_is_said_to_be_identical_is(value in any_value()) {
        let all = targets();
        for source in &all {
            // A dynamic column that holds text like a number never had that affinity.
            let Ok(stored) = conform(value.clone(), source) else { continue };
            for target in all.iter().filter(|target| is_identity(source, target)) {
                let conformed = conform(stored.clone(), target);
                prop_assert!(conformed.as_ref().is_ok_and(|v| bits(v) == bits(&stored)), "{:?} from {} into {}: {:?}", stored, source, target, conformed);
            }
        }
    }

    #[test]
    fn what_was_stored_as_text_returns_as_it_was(value in any_value()) {
        for target in targets() {
            let (Ok(stored), false) = (conform(value.clone(), &target), matches!(target, DataType::Dynamic { .. } | DataType::Bytes | DataType::Other { .. })) else { continue };
            if stored.is_null() {
                continue;
            }
            let printed = crate::value::text::to_text(&stored).into_owned();
            if printed.contains('\0') {
                continue;
            }
            let returned = conform(text(&printed), &target);
            prop_assert!(returned.as_ref().is_ok_and(|v| bits(v) == bits(&stored)), "{:?} of {} as {}: {:?}", stored, target, printed, returned);
        }
    }
}
