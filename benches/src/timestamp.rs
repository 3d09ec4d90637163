//! Microseconds since 2019 and their spellings.

const DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01, where 400-year cycles are counted from, to 2019-01-01.
const EPOCH_DAYS: i64 = 737_365;
/// Seconds from 1970 to 2019.
pub(crate) const UNIX: i64 = 1_546_300_800;

/// Prints microseconds since 2019-01-01 UTC as `2019-01-01T00:00:00.000000+00:00`.
pub(crate) fn iso(micros: i64) -> String {
    let (day, time) = (micros.div_euclid(DAY) + EPOCH_DAYS, micros.rem_euclid(DAY));
    // Years begin in March here, so that the leap day comes last.
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year + era * 400, month + 3) } else { (year + era * 400 + 1, month - 9) };
    let (second, micro) = (time / 1_000_000, time % 1_000_000);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micro:06}+00:00", second / 3600, second / 60 % 60, second % 60)
}

/// Reads what [`iso`] prints and what PostgreSQL prints for UTC (`2019-01-01 00:00:00.5+00`); `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let zone = rest.find(['+', 'Z'])?;
    if !matches!(&rest[zone..], "+00" | "+00:00" | "Z") || !matches!(text.as_bytes()[10], b' ' | b'T') {
        return None;
    }
    let micros: i64 = match rest[..zone].strip_prefix('.') {
        Some(digits) => format!("{digits:0<6}").parse().ok()?,
        None if zone == 0 => 0,
        None => return None,
    };
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some((days - EPOCH_DAYS) * DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_printed_and_read_back() {
        assert_eq!(iso(0), "2019-01-01T00:00:00.000000+00:00");
        assert_eq!(iso(424 * DAY + 1), "2020-02-29T00:00:00.000001+00:00");
        assert_eq!(parse("2020-02-29 00:00:00.000001+00"), Some(424 * DAY + 1));
        for micros in (-1_000..4_000).map(|n| n * DAY * 7 / 5 + n * 1_234_567) {
            assert_eq!(parse(&iso(micros)), Some(micros));
        }
        assert_eq!(parse("2019-01-01 00:00:00+02"), None);
    }
}
