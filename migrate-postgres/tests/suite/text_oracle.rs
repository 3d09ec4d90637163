//! A real server as the judge of our text forms: what it prints is what we print, what it prints we read as the value that it
//! holds, and what we call exact it holds unchanged.
//!
//! Random values come from a seed, which is printed; `MIGRATE_TEST_SEED` repeats a run.

use migrate_core::value::conform::conform;
use migrate_core::value::text::{parse, to_text};
use migrate_core::value::{DataType, Decimal, Value};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::borrow::Cow;

const DAY: i64 = 86_400_000_000;
const FIRST_DAY: i64 = -2_451_545;
const LAST_DAY: i64 = 106_751_982;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("MIGRATE_TEST_SEED") {
            Ok(seed) => seed.parse().expect("MIGRATE_TEST_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64),
        };
        println!("MIGRATE_TEST_SEED={seed}");
        Random(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    pub(crate) fn within(&mut self, first: i64, last: i64) -> i64 {
        first.wrapping_add(self.below(last.wrapping_sub(first) as u64 + 1) as i64)
    }

    /// A number whose size varies over all magnitudes.
    pub(crate) fn spread(&mut self) -> i64 {
        let shift = self.below(64);
        (self.bits() as i64) >> shift
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    pub(crate) fn digits(&mut self, most: u64) -> String {
        (0..=self.below(most)).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }
}

pub(crate) struct Server(PgConnection);

impl Server {
    pub(crate) async fn connect() -> Server {
        let url = std::env::var("MIGRATE_TEST_POSTGRES")
            .expect("MIGRATE_TEST_POSTGRES must hold the url of a PostgreSQL superuser; tests/postgres.sh starts a server");
        let mut connection = PgConnection::connect(&url).await.expect("the test server answers");
        sqlx::raw_sql(
            "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 1;
             SET lc_monetary = 'C'; SET bytea_output = 'hex'; SET client_encoding = 'UTF8';
             CREATE FUNCTION pg_temp.attempt(type text, input text) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE printed text;
             BEGIN
                 EXECUTE format('SELECT CAST(CAST($1 AS %s) AS text)', type) INTO printed USING input;
                 RETURN printed;
             EXCEPTION WHEN OTHERS THEN
                 RETURN NULL;
             END $$;",
        )
        .execute(&mut connection)
        .await
        .expect("the session is set up");
        Server(connection)
    }

    /// Runs `sql` over `unnest($1::text[]) u(v)`; gives the first column of each row in order.
    pub(crate) async fn each<T>(&mut self, expression: &str, inputs: &[String]) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let sql = format!("SELECT {expression} FROM unnest($1::text[]) WITH ORDINALITY u(v, n) ORDER BY n");
        let mut results = Vec::with_capacity(inputs.len());
        for chunk in inputs.chunks(5_000) {
            let rows = sqlx::query(AssertSqlSafe(sql.clone())).bind(chunk.to_vec()).fetch_all(&mut self.0).await;
            let rows = rows.unwrap_or_else(|e| panic!("{expression}: {e}"));
            results.extend(rows.iter().map(|row| row.get::<T, _>(0)));
        }
        assert_eq!(results.len(), inputs.len());
        results
    }

    /// What the server prints for a text that it reads as a type; `None` where it refuses it.
    pub(crate) async fn attempt(&mut self, sql_type: &str, inputs: &[String]) -> Vec<Option<String>> {
        self.each(&format!("pg_temp.attempt('{sql_type}', v)"), inputs).await
    }

    /// Checks that the server reads our text as the value whose bytes are given, prints it as we do, and that we read it back.
    pub(crate) async fn agrees(
        &mut self,
        sql_type: &str,
        send: &str,
        data_type: &DataType,
        values: &[(Value<'static>, Vec<u8>)],
    ) {
        let texts: Vec<String> = values.iter().map(|(value, _)| to_text(value).into_owned()).collect();
        let printed: Vec<String> = self.each(&format!("v::{sql_type}::text"), &texts).await;
        let sent: Vec<Vec<u8>> = self.each(&format!("{send}(v::{sql_type})"), &texts).await;
        for (((value, bytes), text), (printed, sent)) in values.iter().zip(&texts).zip(printed.iter().zip(&sent)) {
            assert_eq!(text, printed, "{value:?}");
            assert_eq!(sent, bytes, "{value:?} as {text}");
            let read = parse(printed, data_type).unwrap_or_else(|| panic!("{printed} is read as {data_type}"));
            assert_eq!(to_text(&read), to_text(value), "{printed}");
        }
        println!("{}: {} values", sql_type, values.len());
    }
}

#[tokio::test]
async fn dates_and_times_print_and_read_as_the_server_does() {
    let mut random = Random::new();
    let mut server = Server::connect().await;

    let mut days: Vec<i32> =
        vec![FIRST_DAY as i32, 2_145_031_948, 0, -1, 58, 59, 60, -730_119, -730_120, -730_485, -730_486, i32::MIN, i32::MAX];
    days.extend((0..4_000).map(|_| random.within(FIRST_DAY, 2_145_031_948) as i32));
    days.extend((0..4_000).map(|_| random.within(-800_000, 800_000) as i32));
    let dates: Vec<_> = days.into_iter().map(|v| (Value::Date(v), v.to_be_bytes().to_vec())).collect();
    server.agrees("date", "date_send", &DataType::Date, &dates).await;

    let mut micros: Vec<i64> = vec![FIRST_DAY * DAY, (LAST_DAY + 1) * DAY - 1, 0, -1, 1, i64::MIN, i64::MAX, 500_000, 123_450];
    for _ in 0..4_000 {
        micros.push(random.within(FIRST_DAY * DAY, LAST_DAY * DAY));
        micros.push(random.within(-70_000_000, 10_000_000) * 1_000_000_000 / random.pick(&[1, 10, 1_000, 1_000_000]));
    }
    let stamps: Vec<_> = micros.iter().map(|v| (Value::Timestamp(*v), v.to_be_bytes().to_vec())).collect();
    server.agrees("timestamp", "timestamp_send", &DataType::Timestamp { precision: None }, &stamps).await;
    let stamps: Vec<_> = micros.iter().map(|v| (Value::TimestampTz(*v), v.to_be_bytes().to_vec())).collect();
    server.agrees("timestamptz", "timestamptz_send", &DataType::TimestampTz { precision: None }, &stamps).await;

    let mut times: Vec<i64> = vec![0, 1, DAY, DAY - 1, 10, 100_000];
    times.extend((0..2_000).map(|_| random.within(0, DAY)));
    times.extend((0..2_000).map(|_| random.within(0, 86_400) * 1_000_000));
    let plain: Vec<_> = times.iter().map(|v| (Value::Time(*v), v.to_be_bytes().to_vec())).collect();
    server.agrees("time", "time_send", &DataType::Time { precision: None }, &plain).await;
    let zoned: Vec<_> = times
        .iter()
        .map(|v| {
            let (whole, any) = (random.within(-15, 15) * 3_600, random.within(-57_599, 57_599));
            let zone = random.pick(&[0, whole, any, any / 60 * 60]) as i32;
            (Value::TimeTz(*v, zone), [&v.to_be_bytes()[..], &zone.to_be_bytes()].concat())
        })
        .collect();
    server.agrees("timetz", "timetz_send", &DataType::TimeTz { precision: None }, &zoned).await;
}

#[tokio::test]
async fn intervals_print_and_read_as_the_server_does() {
    let mut random = Random::new();
    let mut server = Server::connect().await;
    let mut parts = vec![
        (0, 0, 0),
        (1, 1, 1),
        (-1, -1, -1),
        (12, 0, 0),
        (-12, 1, 0),
        (i32::MAX, 0, 0),
        (i32::MIN, 1, 0),
        (0, i32::MIN, -1),
        // The server prints i64::MIN microseconds but does not read them.
        (1, 0, -i64::MAX),
    ];
    for _ in 0..6_000 {
        let shift = random.below(60);
        let micros = (random.bits() as i64).max(-i64::MAX) >> shift;
        let month = random.pick(&[0, 1, random.0 as i32 % 40, (random.0 >> 20) as i32]);
        let day = random.pick(&[0, 1, -1, (random.0 >> 9) as i32 % 40, (random.0 >> 30) as i32]);
        parts.push((month, day, random.pick(&[0, micros, micros / 1_000_000 * 1_000_000, -1])));
    }
    let values: Vec<_> = parts
        .into_iter()
        .map(|(months, days, micros)| {
            let bytes = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat();
            (Value::Interval { months, days, micros }, bytes)
        })
        .collect();
    server.agrees("interval", "interval_send", &DataType::Interval, &values).await;
}

#[tokio::test]
async fn numbers_print_and_read_as_the_server_does() {
    let mut random = Random::new();
    let mut server = Server::connect().await;

    let mut floats = vec![
        0.0,
        -0.0,
        1e23,
        8.41e21,
        4.35e22,
        9.5e22,
        5e-324,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e15,
        1e14,
        1e-4,
        1e-5,
    ];
    // Powers of two have uneven neighbours; short decimals with large exponents lie on rounding boundaries.
    floats.extend((1..2_046u64).map(|e| f64::from_bits(e << 52)));
    floats.extend((0..52u32).map(|e| f64::from_bits(1 << e)));
    for exponent in 10..45 {
        floats.extend((0..300).map(|_| format!("{}e{exponent}", random.within(1, 99_999)).parse::<f64>().expect("a float")));
    }
    for _ in 0..20_000 {
        let any = f64::from_bits(random.bits());
        let cents = random.spread() as f64 / random.pick(&[1.0, 10.0, 100.0, 1e6]);
        floats.extend([any, cents].into_iter().filter(|v| !v.is_nan()));
    }
    let values: Vec<_> = floats.iter().map(|v| (Value::Float(*v), v.to_bits().to_be_bytes().to_vec())).collect();
    server.agrees("float8", "float8send", &DataType::Float64, &values).await;

    let narrow: Vec<f32> = (0..20_000).map(|_| f32::from_bits(random.bits() as u32)).filter(|v| !v.is_nan()).collect();
    let texts: Vec<String> = narrow.iter().map(|v| to_text(&Value::Float(f64::from(*v))).into_owned()).collect();
    let sent: Vec<Vec<u8>> = server.each("float4send(v::float4)", &texts).await;
    let printed: Vec<String> = server.each("v::float4::text", &texts).await;
    for ((value, sent), printed) in narrow.iter().zip(&sent).zip(&printed) {
        assert_eq!(sent, &value.to_bits().to_be_bytes(), "{value:e}");
        let read = parse(printed, &DataType::Float32);
        assert!(matches!(read, Some(Value::Float(v)) if v.to_bits() == f64::from(*value).to_bits()), "{printed}: {read:?}");
    }

    let ints: Vec<_> = (0..2_000).map(|_| random.spread()).map(|v| (Value::Int(v), v.to_be_bytes().to_vec())).collect();
    server.agrees("int8", "int8send", &DataType::Int64, &ints).await;
}

#[tokio::test]
async fn decimals_have_the_servers_bytes_and_text() {
    let mut random = Random::new();
    let mut server = Server::connect().await;
    let mut spellings: Vec<String> = [
        "0",
        "-0",
        "-0.000",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e131071",
        "1e-16383",
        "0e-3",
        "1.5e3",
        "-1.50E-7",
        ".5",
        "5.",
        "+7",
        "0001",
    ]
    .map(str::to_owned)
    .into();
    for _ in 0..12_000 {
        let sign = random.pick(&["", "-", "+"]);
        let (whole, fraction) = (random.digits(40), random.digits(40));
        let zeros = "0".repeat(random.below(9) as usize);
        let exponent = random.within(-60, 60);
        let exponent = random.pick(&[String::new(), format!("e{exponent}")].each_ref()).clone();
        spellings.push(format!("{sign}{whole}{zeros}{exponent}"));
        spellings.push(format!("{sign}{whole}.{zeros}{fraction}{exponent}"));
        spellings.push(format!("{sign}.{fraction}{zeros}{exponent}"));
    }
    let printed: Vec<String> = server.each("v::numeric::text", &spellings).await;
    let sent: Vec<Vec<u8>> = server.each("numeric_send(v::numeric)", &spellings).await;
    for ((spelling, printed), sent) in spellings.iter().zip(&printed).zip(sent) {
        let decimal = Decimal::parse(spelling).unwrap_or_else(|| panic!("{spelling} is read"));
        assert_eq!(&decimal.to_text(), printed, "{spelling}");
        assert_eq!(Decimal::from_bytes(Cow::Owned(sent)).expect("the server's bytes are a decimal"), decimal, "{spelling}");
        if decimal.to_f64().is_finite() {
            let int = decimal.to_i64().map(|v| v.to_string());
            let whole = printed.split('.').nth(1).is_none_or(|f| f.bytes().all(|b| b == b'0'));
            let short = printed.split('.').next().filter(|v| whole && v.parse::<i64>().is_ok());
            assert_eq!(int.as_deref(), short.map(|v| if v == "-0" { "0" } else { v }), "{spelling}");
        }
    }
    println!("numeric: {} spellings", spellings.len());

    let broken: Vec<String> = ["", "1e", "e5", "1e-16384", "1e131072", "1e2147483648", "--1", "1.2.3", "0x", "abc", "1 2", "."]
        .map(str::to_owned)
        .into();
    for (text, printed) in broken.iter().zip(server.attempt("numeric", &broken).await) {
        assert_eq!(printed, None, "{text}");
        assert_eq!(Decimal::parse(text), None, "{text}");
    }
}

#[tokio::test]
async fn a_decimal_fits_exactly_where_the_servers_cast_keeps_it() {
    let mut random = Random::new();
    let mut server = Server::connect().await;
    let shapes = [(12, 2), (5, 0), (3, 3), (38, 10), (1, 0), (1_000, 500)];
    // From PostgreSQL 15 on, scales may be negative or larger than the precision.
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&mut server.0)
        .await
        .expect("a version");
    let newer = [(3, -2), (2, 4)];
    for (precision, scale) in shapes.into_iter().chain(newer.into_iter().filter(|_| version >= 150_000)) {
        let mut texts: Vec<String> = ["0", "NaN", "Infinity"].map(str::to_owned).into();
        for _ in 0..1_500 {
            let (places, most) = (random.below(6) as usize, 10 - places_of(scale));
            let unscaled = random.spread() / 10i64.pow(random.below(most) as u32);
            let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = places + 1);
            let (whole, fraction) = digits.split_at(digits.len() - places);
            texts.push(format!("{}{whole}{}{fraction}", if unscaled < 0 { "-" } else { "" }, if places > 0 { "." } else { "" }));
        }
        let sql_type = format!("numeric({precision},{scale})");
        let printed = server.attempt(&sql_type, &texts).await;
        let mut kept = 0;
        for (text, printed) in texts.iter().zip(printed) {
            let decimal = Decimal::parse(text).expect("a decimal");
            let exact = printed.filter(|p| Decimal::parse(p).expect("a decimal").same_number(&decimal));
            let fitted = decimal.fit(Some(precision), Some(scale)).ok().map(|d| d.to_text());
            kept += usize::from(exact.is_some());
            assert_eq!(fitted, exact, "{text} as {sql_type}");
        }
        println!("{sql_type}: {kept} of {} kept", texts.len());
        assert!(kept > 1);
    }
}

fn places_of(scale: i32) -> u64 {
    u64::from(scale > 4)
}

#[tokio::test]
async fn text_that_is_a_moment_is_the_servers_moment() {
    let mut random = Random::new();
    let mut server = Server::connect().await;
    let mut texts = Vec::new();
    for _ in 0..20_000 {
        let wide = random.within(1, 300_000);
        let year = random.pick(&[1999, 2000, 2024, 1, 9999, wide, wide % 3000]);
        let date = format!("{year:04}-{:02}-{:02}", random.within(0, 13), random.within(0, 32));
        let fraction = random.digits(8);
        let fraction =
            random.pick(&["".to_owned(), ".5".to_owned(), ".5000000".to_owned(), format!(".{fraction}")].each_ref()).clone();
        let time = format!("{:02}:{:02}:{:02}{fraction}", random.within(0, 24), random.within(0, 60), random.within(0, 60));
        let (hours, minutes) = (random.within(0, 16), random.within(0, 60));
        let zone = random
            .pick(
                &[
                    "".to_owned(),
                    "Z".to_owned(),
                    format!("+{hours:02}"),
                    format!("-{hours:02}:{minutes:02}"),
                    format!("+{hours:02}:{minutes:02}:30"),
                ]
                .each_ref(),
            )
            .clone();
        let mark = random.pick(&[" ", "T"]);
        let era = random.pick(&["", "", "", " BC"]);
        texts.push(
            random
                .pick(&[format!("{date}{era}"), format!("{time}{zone}"), format!("{date}{mark}{time}{zone}{era}")].each_ref())
                .clone(),
        );
    }
    for (sql_type, data_type) in [
        ("date", DataType::Date),
        ("time", DataType::Time { precision: None }),
        ("timetz", DataType::TimeTz { precision: None }),
        ("timestamp", DataType::Timestamp { precision: None }),
        ("timestamptz", DataType::TimestampTz { precision: None }),
        ("timestamp(3)", DataType::Timestamp { precision: Some(3) }),
    ] {
        let printed = server.attempt(sql_type, &texts).await;
        let mut read = 0;
        for (text, printed) in texts.iter().zip(printed) {
            if let Ok(value) = conform(Value::Text(Cow::Borrowed(text)), &data_type) {
                read += 1;
                assert_eq!(Some(to_text(&value).into_owned()), printed, "{text} as {sql_type}");
            }
        }
        println!("{sql_type}: {read} of {} texts read", texts.len());
        assert!(read > 500, "{sql_type}: only {read}");
    }
}

#[tokio::test]
async fn other_text_that_is_taken_is_what_the_server_takes() {
    let mut random = Random::new();
    let mut server = Server::connect().await;
    let mut texts: Vec<String> =
        ["t", "F", "TRUE", "false", "0", "1", "\\x00ff", "\\x", "00", "1e5", "-0", "0.10", "ab  ", "", "Infinity", "NaN"]
            .map(str::to_owned)
            .into();
    for _ in 0..3_000 {
        let hex: String = (0..32).map(|_| random.pick(&['0', '9', 'a', 'F', 'c', 'B'])).collect();
        let parted = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        texts.extend([format!("{{{parted}}}"), parted, hex]);
        texts.push((0..random.below(7)).map(|_| random.pick(&['a', ' ', 'é', '😀', '1', '.', '-', 'e'])).collect());
        let (digits, fraction) = (random.digits(20), random.digits(18));
        texts.extend([format!("-{digits}"), format!("{digits}.{fraction}"), format!("{digits}e{}", random.within(-30, 30))]);
    }
    for (sql_type, data_type) in [
        ("bool", DataType::Bool),
        ("uuid", DataType::Uuid),
        ("int4", DataType::Int32),
        ("int8", DataType::Int64),
        ("float8", DataType::Float64),
        ("numeric", DataType::Decimal { precision: None, scale: None }),
        ("varchar(4)", DataType::Text { max_chars: Some(4) }),
    ] {
        let mut taken = 0;
        for (text, printed) in texts.iter().zip(server.attempt(sql_type, &texts).await) {
            if let Ok(value) = conform(Value::Text(Cow::Borrowed(text)), &data_type) {
                taken += 1;
                let ours = match value {
                    Value::Bool(v) => v.to_string(),
                    other => to_text(&other).into_owned(),
                };
                assert_eq!(Some(ours), printed, "{text} as {sql_type}");
            }
        }
        println!("{sql_type}: {taken} of {} texts taken", texts.len());
        assert!(taken > 3);
    }
    let sent: Vec<Vec<u8>> = server.each("bpcharsend(v::char(4))", &texts).await;
    for (text, sent) in texts.iter().zip(sent) {
        if let Ok(Value::Text(ours)) = conform(Value::Text(Cow::Borrowed(text)), &DataType::Char { chars: 4 }) {
            assert_eq!(ours.as_bytes(), sent, "{text} as char(4)");
        }
    }
    let bytes: Vec<Vec<u8>> = (0..500).map(|_| (0..random.below(40)).map(|_| random.bits() as u8).collect()).collect();
    let values: Vec<_> = bytes.into_iter().map(|v| (Value::Bytes(Cow::Owned(v.clone())), v)).collect();
    server.agrees("bytea", "byteasend", &DataType::Bytes, &values).await;
    let uuids: Vec<_> = (0..500)
        .map(|_| (u128::from(random.bits()) << 64 | u128::from(random.bits())).to_be_bytes())
        .map(|v| (Value::Uuid(v), v.to_vec()))
        .collect();
    server.agrees("uuid", "uuid_send", &DataType::Uuid, &uuids).await;
}
