//! Properties and edges of decimals.

use super::*;
use proptest::prelude::*;

fn dec(text: &str) -> Decimal<'static> {
    Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a decimal"))
}

/// Prints `± magnitude / 10^scale` the plain way.
fn plain(unscaled: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (integer, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    format!("{}{integer}{point}{fraction}", if unscaled < 0 { "-" } else { "" })
}

#[test]
fn texts_are_read_and_printed_as_postgresql_does() {
    for (text, printed) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("+1", "1"),
        ("007.50", "7.50"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1e5", "100000"),
        ("1.50e1", "15.0"),
        ("1.5e-3", "0.0015"),
        ("1E+2", "100"),
        ("0e7", "0"),
        ("0.00e1", "0.0"),
        ("0e-3", "0.000"),
        ("12345678901234567890123456789.123456789", "12345678901234567890123456789.123456789"),
        ("0.000000000000000000000000000001", "0.000000000000000000000000000001"),
        ("10000", "10000"),
        ("100000000", "100000000"),
        ("0.0001", "0.0001"),
        ("0.00001", "0.00001"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
    ] {
        assert_eq!(dec(text).to_text(), printed, "{text}");
        assert_eq!(dec(printed), dec(text), "{text}");
    }
}

#[test]
fn what_is_no_decimal_is_not_read() {
    for text in ["", "-", ".", "+.", "e5", "1e", "1e+", "1 ", " 1", "1_000", "0x10", "nan", "inf", "1.2.3", "--1", "1e5.0", "١"]
    {
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
    assert_eq!(Decimal::parse("1e-16384"), None);
    assert_eq!(Decimal::parse("1e131072"), None);
    assert_eq!(Decimal::parse("1e99999999999999999999"), None);
    assert_eq!(dec("1e131071").to_text().len(), 131_072);
    assert_eq!(dec("1e-16383").to_text().len(), 16_385);
    assert_eq!(dec("0e99999999999999999999"), dec("0"));
}

#[test]
fn byte_forms_that_differ_in_spelling_only_become_one() {
    let bytes = |words: &[u16]| Cow::Owned(words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>());
    // PostgreSQL sends an infinity with the scale that its header happens to spell.
    assert_eq!(Decimal::from_bytes(bytes(&[0, 0, INFINITY, 32])).unwrap(), Decimal::infinity(false));
    assert_eq!(Decimal::from_bytes(bytes(&[0, 0, NEGATIVE, 2])).unwrap(), dec("0.00"));
    assert_eq!(Decimal::from_bytes(bytes(&[3, 1, 0, 2, 0, 15, 0])).unwrap(), dec("15.00"));
    assert_eq!(Decimal::from_bytes(bytes(&[1, 0, 0, 0, 9999])).unwrap(), dec("9999"));
    for broken in
        [&[0u16, 0, 0][..], &[1, 0, 0, 0], &[1, 0, 0, 0, 10_000], &[0, 0, 1, 0], &[1, 0, 0, 0x8000, 1], &[1, 0xffff, 0, 2, 1]]
    {
        assert_eq!(Decimal::from_bytes(bytes(broken)).unwrap_err().kind(), ErrorKind::Corrupt, "{broken:?}");
    }
}

#[test]
fn a_precision_and_scale_hold_what_they_hold_exactly() {
    let fit = |text: &str, p: u32, s: i32| dec(text).fit(Some(p), Some(s)).map(|d| d.to_text());
    assert_eq!(fit("1.5", 12, 2), Ok("1.50".into()));
    assert_eq!(fit("1.500", 12, 2), Ok("1.50".into()));
    assert_eq!(fit("1.505", 12, 2), Err(Misfit::TooFine));
    assert_eq!(fit("9999999999.99", 12, 2), Ok("9999999999.99".into()));
    assert_eq!(fit("10000000000", 12, 2), Err(Misfit::TooLarge));
    assert_eq!(fit("0.01", 2, 2), Ok("0.01".into()));
    assert_eq!(fit("1", 2, 2), Err(Misfit::TooLarge));
    assert_eq!(fit("0.0012", 2, 4), Ok("0.0012".into()));
    assert_eq!(fit("0.0123", 2, 4), Err(Misfit::TooLarge));
    assert_eq!(fit("12300", 3, -2), Ok("12300".into()));
    assert_eq!(fit("12345", 3, -2), Err(Misfit::TooFine));
    assert_eq!(fit("123400", 3, -2), Err(Misfit::TooLarge));
    assert_eq!(fit("0.00", 3, -2), Ok("0".into()));
    assert_eq!(fit("NaN", 3, 1), Ok("NaN".into()));
    assert_eq!(fit("Infinity", 3, 1), Err(Misfit::Infinite));
    assert_eq!(dec("Infinity").fit(None, None), Ok(dec("Infinity")));
    assert_eq!(dec("1.50").fit(None, None).unwrap().to_text(), "1.50");
    assert_eq!(dec("1.5").fit(Some(3), None), Err(Misfit::TooFine));
    assert_eq!(dec("1.50").fit(None, Some(3)).unwrap().to_text(), "1.500");
}

#[test]
fn floats_stand_for_their_shortest_decimal() {
    assert_eq!(Decimal::from_f64(0.1), dec("0.1"));
    assert_eq!(Decimal::from_f64(1e23), dec("1e23"));
    assert_eq!(Decimal::from_f64(5e-324), dec("5e-324"));
    assert_eq!(Decimal::from_f64(-1.5), dec("-1.5"));
    assert_eq!(Decimal::from_f64(0.1 + 0.2), dec("0.30000000000000004"));
    assert_eq!(Decimal::from_f32(0.1), dec("0.1"));
    assert_eq!(Decimal::fit_f64(0.1 + 0.2, Some(12), Some(2)), Err(Misfit::TooFine));
    assert_eq!(Decimal::fit_f64(9_999_999_999.99, Some(12), Some(2)), Ok(dec("9999999999.99")));
    assert_eq!(Decimal::fit_f64(1e10, Some(12), Some(2)), Err(Misfit::TooLarge));
    assert_eq!(dec("1.50").to_f64_exact(), Some(1.5));
    assert_eq!(dec("0.1000000000000000055511151231257827").to_f64_exact(), None);
    assert_eq!(dec("1e400").to_f64_exact(), None);
    assert_eq!(dec("1e-400").to_f64_exact(), None);
    assert_eq!(dec("-Infinity").to_f64_exact(), Some(f64::NEG_INFINITY));
    assert!(dec("NaN").to_f64_exact().is_some_and(f64::is_nan));
    assert_eq!(dec("16777217").to_f32_exact(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers_and_scales_round_trip(unscaled in any::<i128>().prop_map(|v| v / 2), shift in 0u32..120, scale in 0usize..45) {
        let unscaled = unscaled >> shift;
        let text = plain(unscaled, scale);
        let decimal = Decimal::from_unscaled(unscaled < 0, unscaled.unsigned_abs(), scale as u16);
        prop_assert_eq!(decimal.to_text(), text.clone());
        prop_assert_eq!(&dec(&text), &decimal);
        prop_assert_eq!(&dec(&format!("{unscaled}e-{scale}")), &decimal);
        prop_assert_eq!(&Decimal::from_bytes(Cow::Borrowed(decimal.as_bytes())).unwrap(), &decimal);
        let whole = (unscaled % 10i128.pow(scale.min(38) as u32) == 0 && (scale < 39 || unscaled == 0))
            .then(|| if scale < 39 { unscaled / 10i128.pow(scale as u32) } else { 0 });
        prop_assert_eq!(decimal.to_i64(), whole.and_then(|w| i64::try_from(w).ok()));
        prop_assert_eq!(decimal.to_f64().to_bits(), if unscaled == 0 { 0 } else { text.parse::<f64>().unwrap().to_bits() });
    }

    #[test]
    fn rescaling_keeps_the_number_or_refuses(unscaled in any::<i64>(), scale in 0u16..30, to in 0u16..30) {
        let decimal = Decimal::from_unscaled(unscaled < 0, u128::from(unscaled.unsigned_abs()), scale);
        let fits = to >= scale || i128::from(unscaled) % 10i128.pow(u32::from(scale - to)) == 0;
        match decimal.clone().rescale(to) {
            Some(scaled) => {
                prop_assert!(fits);
                prop_assert_eq!(scaled.scale(), to);
                prop_assert!(scaled.same_number(&decimal));
                prop_assert_eq!(scaled.rescale(scale), Some(decimal));
            }
            None => prop_assert!(!fits),
        }
    }

    #[test]
    fn precision_is_counted_as_by_integer_arithmetic(unscaled in -1_000_000i64..1_000_000, from in 0u16..5, precision in 1u32..9, scale in -4i32..8) {
        // In units of 10^-12 everything is a whole number.
        let units = i128::from(unscaled) * 10i128.pow(12 - u32::from(from));
        let unit = 10i128.pow((12 - scale) as u32);
        let expected = units % unit == 0 && (units / unit).abs() < 10i128.pow(precision);
        let decimal = Decimal::from_unscaled(unscaled < 0, u128::from(unscaled.unsigned_abs()), from);
        prop_assert_eq!(decimal.fit(Some(precision), Some(scale)).is_ok(), expected);
    }

    #[test]
    fn the_quick_way_from_floats_is_the_way_over_the_shortest_decimal(
        cents in -2_000_000_000_000_000i64..2_000_000_000_000_000, places in 0i32..9, ulps in -2i64..3, precision in 1u32..20, scale in 0i32..18
    ) {
        let near = cents as f64 / 10f64.powi(places);
        let value = f64::from_bits((near.to_bits() as i64).saturating_add(ulps) as u64);
        prop_assume!(value.is_finite());
        prop_assert_eq!(Decimal::fit_f64(value, Some(precision), Some(scale)), Decimal::from_f64(value).fit(Some(precision), Some(scale)));
    }

    #[test]
    fn every_float_returns_from_its_decimal(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan() && bits != 0x8000_0000_0000_0000);
        prop_assert_eq!(Decimal::from_f64(value).to_f64_exact().map(f64::to_bits), Some(bits));
    }

    #[test]
    fn any_digits_round_trip(integer in "(0|[1-9][0-9]{0,60})", fraction in "(\\.[0-9]{1,60})?", negative in any::<bool>()) {
        let zero = !integer.bytes().chain(fraction.bytes()).any(|b| (b'1'..=b'9').contains(&b));
        let text = format!("{}{integer}{fraction}", if negative && !zero { "-" } else { "" });
        prop_assert_eq!(dec(&text).to_text(), text.clone());
        let trimmed = dec(&text).trimmed();
        prop_assert!(trimmed.same_number(&dec(&text)));
        let short = if fraction.is_empty() { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() };
        prop_assert_eq!(trimmed.to_text(), short);
    }
}
