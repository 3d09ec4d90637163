//! Declared column types: what SQLite makes of them, what they promise, and how this library spells its own.
//!
//! Tables that this library creates use spellings that name the logical type and yet have a safe affinity; all of them are read
//! back as the type they were made of:
//!
//! | logical type | declared | affinity |
//! |---|---|---|
//! | boolean | `BOOLEAN_INT` | integer |
//! | integers of 16, 32, 64 bits | `SMALLINT`, `INT4`, `BIGINT` | integer |
//! | floats of 32, 64 bits | `REAL4_BLOB`, `REAL8_BLOB` | none, so that -0.0 survives |
//! | decimal(p,s) | `NUMERIC_TEXT(p,s)` | text |
//! | text, text(n), char(n) | `TEXT`, `VARCHAR_TEXT(n)`, `CHAR_TEXT(n)` | text |
//! | bytes | `BLOB` | none |
//! | dates, times, uuid, json | `DATE_TEXT`, `TIMESTAMPTZ_TEXT(p)`, `UUID_TEXT` … | text |
//! | any other type, `inet` | `"PG_TEXT(inet)"` | text |
//!
//! `INT` anywhere in a declared type means integer affinity, so `interval` is `I_NTERVAL_TEXT` and `int4range` is
//! `"PG_TEXT(i_nt4range)"`.

use crate::sql;
use migrate_core::value::{Affinity, DataType};

/// What a declared type means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeclaredType {
    /// What cells are conformed to in this column.
    pub(crate) data_type: DataType,
    /// What the declaration promises.
    pub(crate) portable_type: DataType,
    /// What the promise is worth.
    pub(crate) promise: Promise,
}

/// What the promise of a declared type is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// SQLite enforces it, or this library wrote what is there.
    Kept,
    /// Nothing enforces it; the data may belie it.
    Declared,
    /// There is none: the data alone decides.
    None,
}

/// Reads a declared type, quoted or not; `strict` says that the table is STRICT.
pub(crate) fn parse(declared: &str, strict: bool) -> DeclaredType {
    let unquoted = declared.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(|inside| inside.replace("\"\"", "\""));
    let declared = unquoted.as_deref().unwrap_or(declared);
    if strict {
        return parse_strict(declared);
    }
    if let Some(own) = parse_own(declared) {
        return DeclaredType { data_type: own.clone(), portable_type: own, promise: Promise::Kept };
    }
    let affinity = affinity(declared);
    let (portable_type, promise) = promise(declared, affinity);
    DeclaredType { data_type: DataType::Dynamic { affinity }, portable_type, promise }
}

fn parse_strict(declared: &str) -> DeclaredType {
    let (affinity, portable_type) = match declared.trim().to_ascii_uppercase().as_str() {
        "INT" | "INTEGER" => (Affinity::StrictInteger, DataType::Int64),
        "REAL" => (Affinity::StrictReal, DataType::Float64),
        "TEXT" => (Affinity::StrictText, DataType::TEXT),
        "BLOB" => (Affinity::StrictBlob, DataType::Bytes),
        // ANY keeps everything as it is.
        _ => (Affinity::Blob, DataType::TEXT),
    };
    let promise = if affinity == Affinity::Blob { Promise::None } else { Promise::Kept };
    DeclaredType { data_type: DataType::Dynamic { affinity }, portable_type, promise }
}

/// Returns the affinity of a column that is not STRICT, by SQLite's five rules in their order.
pub(crate) fn affinity(declared: &str) -> Affinity {
    let upper = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if has(&["BLOB"]) || upper.trim().is_empty() {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// Returns what to declare for a type, and that as it will be read back, so that a plan and a later look at the table agree.
pub(crate) fn declare(data_type: &DataType) -> (String, DeclaredType) {
    let native_type = render(data_type);
    let shown = match native_type.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => native_type.clone(),
    };
    let declared = parse(&shown, false);
    (native_type, declared)
}

/// Spells a logical type as this library declares it, ready for DDL.
pub(crate) fn render(data_type: &DataType) -> String {
    let digits = |name: &str, precision: &Option<u32>| match precision {
        Some(p) => format!("{name}({p})"),
        None => name.to_owned(),
    };
    match data_type {
        DataType::Bool => "BOOLEAN_INT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT4".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL4_BLOB".to_owned(),
        DataType::Float64 => "REAL8_BLOB".to_owned(),
        DataType::Decimal { precision: Some(p), scale: Some(s) } => format!("NUMERIC_TEXT({p},{s})"),
        DataType::Decimal { precision, .. } => digits("NUMERIC_TEXT", precision),
        DataType::Text { max_chars: Some(n) } => format!("VARCHAR_TEXT({n})"),
        DataType::Text { max_chars: None } | DataType::Enum { .. } => "TEXT".to_owned(),
        DataType::Char { chars } => format!("CHAR_TEXT({chars})"),
        DataType::Bytes => "BLOB".to_owned(),
        DataType::Date => "DATE_TEXT".to_owned(),
        DataType::Time { precision } => digits("TIME_TEXT", precision),
        DataType::TimeTz { precision } => digits("TIMETZ_TEXT", precision),
        DataType::Timestamp { precision } => digits("TIMESTAMP_TEXT", precision),
        DataType::TimestampTz { precision } => digits("TIMESTAMPTZ_TEXT", precision),
        DataType::Interval => "I_NTERVAL_TEXT".to_owned(),
        DataType::Uuid => "UUID_TEXT".to_owned(),
        DataType::Json => "JSON_TEXT".to_owned(),
        DataType::Jsonb => "JSONB_TEXT".to_owned(),
        DataType::Other { name } => sql::ident(&format!("{OTHER}{})", hide_int(name))),
        DataType::Dynamic { affinity: Affinity::Integer | Affinity::StrictInteger } => "INTEGER".to_owned(),
        DataType::Dynamic { affinity: Affinity::Numeric } => "NUMERIC".to_owned(),
        DataType::Dynamic { affinity: Affinity::Real | Affinity::StrictReal } => "REAL".to_owned(),
        DataType::Dynamic { affinity: Affinity::Text | Affinity::StrictText } => "TEXT".to_owned(),
        DataType::Dynamic { affinity: Affinity::Blob | Affinity::StrictBlob } => "BLOB".to_owned(),
        // A type that core has grown since: everything has a text form.
        other => sql::ident(&format!("{OTHER}{})", hide_int(&other.to_string()))),
    }
}

const OTHER: &str = "PG_TEXT(";

/// Reads a type that [`render`] spelt and that nobody else spells so.
fn parse_own(declared: &str) -> Option<DataType> {
    if let Some(name) = declared.strip_prefix(OTHER).and_then(|rest| rest.strip_suffix(')')) {
        return Some(DataType::Other { name: show_int(name) });
    }
    let (name, arguments) = split(declared)?;
    let first = arguments.first().map(|n| u32::try_from(*n)).transpose().ok()?;
    if arguments.len() > if name == "NUMERIC_TEXT" { 2 } else { 1 } {
        return None;
    }
    let precision = first;
    Some(match name {
        "BOOLEAN_INT" => DataType::Bool,
        "REAL4_BLOB" => DataType::Float32,
        "REAL8_BLOB" => DataType::Float64,
        "NUMERIC_TEXT" => DataType::Decimal { precision, scale: arguments.get(1).map(|n| i32::try_from(*n)).transpose().ok()? },
        "VARCHAR_TEXT" => DataType::Text { max_chars: Some(first?) },
        "CHAR_TEXT" => DataType::Char { chars: first? },
        "DATE_TEXT" => DataType::Date,
        "TIME_TEXT" => DataType::Time { precision },
        "TIMETZ_TEXT" => DataType::TimeTz { precision },
        "TIMESTAMP_TEXT" => DataType::Timestamp { precision },
        "TIMESTAMPTZ_TEXT" => DataType::TimestampTz { precision },
        "I_NTERVAL_TEXT" => DataType::Interval,
        "UUID_TEXT" => DataType::Uuid,
        "JSON_TEXT" => DataType::Json,
        "JSONB_TEXT" => DataType::Jsonb,
        _ => return None,
    })
}

/// Guesses the logical type that a user's declaration promises.
fn promise(declared: &str, affinity: Affinity) -> (DataType, Promise) {
    let upper = declared.trim().to_ascii_uppercase();
    let (name, arguments) = split(&upper).unwrap_or((upper.as_str(), Vec::new()));
    let known = match name {
        "BOOL" | "BOOLEAN" => DataType::Bool,
        "SMALLINT" | "INT2" => DataType::Int16,
        "INT4" => DataType::Int32,
        "DATE" => DataType::Date,
        "TIME" | "TIME WITHOUT TIME ZONE" => DataType::Time { precision: None },
        "TIMETZ" | "TIME WITH TIME ZONE" => DataType::TimeTz { precision: None },
        "DATETIME" | "TIMESTAMP" | "DATETIME2" | "SMALLDATETIME" | "TIMESTAMP WITHOUT TIME ZONE" => {
            DataType::Timestamp { precision: None }
        }
        "TIMESTAMPTZ" | "DATETIMEOFFSET" | "TIMESTAMP WITH TIME ZONE" => DataType::TimestampTz { precision: None },
        "BYTEA" | "BINARY" | "VARBINARY" | "IMAGE" => DataType::Bytes,
        "JSON" | "JSONB" => DataType::Json,
        "UUID" | "GUID" | "UNIQUEIDENTIFIER" => DataType::Uuid,
        "NUMERIC" | "DECIMAL" | "DEC" | "NUMBER" => decimal(&arguments),
        "MONEY" | "SMALLMONEY" | "CURRENCY" => DataType::Decimal { precision: None, scale: None },
        _ => match affinity {
            Affinity::Integer if name.contains("POINT") && !name.contains("FLOAT") => return (DataType::TEXT, Promise::None),
            Affinity::Integer if name.contains("FLOAT") => DataType::Float64,
            Affinity::Integer => DataType::Int64,
            Affinity::Real => DataType::Float64,
            Affinity::Text => DataType::TEXT,
            Affinity::Blob if name.contains("BLOB") => DataType::Bytes,
            Affinity::Numeric
            | Affinity::Blob
            | Affinity::StrictInteger
            | Affinity::StrictReal
            | Affinity::StrictText
            | Affinity::StrictBlob => return (DataType::TEXT, Promise::None),
        },
    };
    (known, Promise::Declared)
}

fn decimal(arguments: &[i64]) -> DataType {
    let unlimited = DataType::Decimal { precision: None, scale: None };
    match arguments {
        [p] if (1..=1000).contains(p) => DataType::Decimal { precision: u32::try_from(*p).ok(), scale: Some(0) },
        [p, s] if (1..=1000).contains(p) && (-1000..=1000).contains(s) => {
            DataType::Decimal { precision: u32::try_from(*p).ok(), scale: i32::try_from(*s).ok() }
        }
        _ => unlimited,
    }
}

/// Splits `NAME(1, 2)` into its name and numbers; `None` if the parentheses hold anything else.
fn split(declared: &str) -> Option<(&str, Vec<i64>)> {
    let declared = declared.trim();
    match declared.split_once('(') {
        None => Some((declared, Vec::new())),
        Some((name, rest)) => {
            let inside = rest.trim_end().strip_suffix(')')?;
            let numbers = inside.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<i64>>>()?;
            Some((name.trim_end(), numbers))
        }
    }
}

/// Puts an underscore into every `INT` of any case, and one more where there are some, so that none is left and all come back.
fn hide_int(name: &str) -> String {
    rewrite(name, |out, underscores| out.extend(std::iter::repeat_n('_', underscores + 1)))
}

/// Undoes [`hide_int`].
fn show_int(name: &str) -> String {
    rewrite(name, |out, underscores| out.extend(std::iter::repeat_n('_', underscores.saturating_sub(1))))
}

fn rewrite(name: &str, mut infix: impl FnMut(&mut String, usize)) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        out.push(first);
        rest = &rest[first.len_utf8()..];
        if first.eq_ignore_ascii_case(&'i') {
            let tail = rest.trim_start_matches('_');
            if tail.get(..2).is_some_and(|nt| nt.eq_ignore_ascii_case("nt")) {
                infix(&mut out, rest.len() - tail.len());
                out.push_str(&tail[..2]);
                rest = &tail[2..];
            }
        }
    }
    out
}

/// Returns a declared type as DDL may repeat it: to the letter where SQLite's grammar allows that, else quoted.
pub(crate) fn as_ddl(declared: &str) -> String {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ' ');
    let simple = match split(declared) {
        Some((name, numbers)) => {
            let words_are_names = name.split(' ').all(|w| w.is_empty() || !w.starts_with(|c: char| c.is_ascii_digit()));
            numbers.len() <= 2
                && plain(name)
                && words_are_names
                && !reserved_word(name)
                && (numbers.is_empty() || !name.is_empty())
        }
        None => false,
    };
    if simple { declared.to_owned() } else { sql::ident(declared) }
}

/// Whether some word of a declared type would end it or mean something else in a column definition.
fn reserved_word(name: &str) -> bool {
    const WORDS: [&str; 12] = [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "AS",
        "GENERATED",
        "FOREIGN",
    ];
    name.split(' ').any(|word| WORDS.iter().any(|w| w.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str) -> DataType {
        DataType::Other { name: name.to_owned() }
    }

    #[test]
    fn what_is_rendered_is_read_back_as_the_same_type() {
        let precision = Some(3);
        let types = [
            DataType::Bool,
            DataType::Float32,
            DataType::Float64,
            DataType::Decimal { precision: None, scale: None },
            DataType::Decimal { precision: Some(1000), scale: Some(500) },
            DataType::Decimal { precision: Some(5), scale: Some(-2) },
            DataType::Text { max_chars: Some(10) },
            DataType::Char { chars: 3 },
            DataType::Date,
            DataType::Time { precision },
            DataType::TimeTz { precision: None },
            DataType::Timestamp { precision },
            DataType::TimestampTz { precision: Some(0) },
            DataType::Interval,
            DataType::Uuid,
            DataType::Json,
            DataType::Jsonb,
            other("int4range[]"),
            other("My_Schema.\"Point int I__NT\""),
            other("integer int"),
            other("geometry(Point,4326)"),
            other("ınt-ßint"),
        ];
        let connection = rusqlite::Connection::open_in_memory().expect("memory");
        for (i, data_type) in types.iter().enumerate() {
            let sql = render(data_type);
            connection.execute_batch(&format!("CREATE TABLE t{i}(c {sql})")).expect(&sql);
            let declared: String = connection
                .query_row(&format!("SELECT type FROM pragma_table_info('t{i}')"), [], |row| row.get(0))
                .expect("a column");
            let parsed = parse(&declared, false);
            assert_eq!(
                (&parsed.data_type, &parsed.portable_type, parsed.promise),
                (data_type, data_type, Promise::Kept),
                "{sql}"
            );
            // What SQLite itself makes of it: text stays text, and 1.0 stays a real where no affinity is wanted.
            let sql = format!("INSERT INTO t{i} VALUES ('007'), (1.0) RETURNING typeof(c)");
            let kinds: Vec<String> =
                connection.prepare(&sql).and_then(|mut s| s.query_map([], |r| r.get(0))?.collect()).expect("kinds");
            let expected = match data_type {
                DataType::Bool => ["integer", "integer"],
                DataType::Float32 | DataType::Float64 => ["text", "real"],
                _ => ["text", "text"],
            };
            assert_eq!(kinds, expected, "{declared}");
            assert_eq!(as_ddl(&declared), render(data_type), "{declared}");
        }
    }

    #[test]
    fn integers_come_back_with_their_width_but_stay_dynamic() {
        for data_type in [DataType::Int16, DataType::Int32, DataType::Int64, DataType::TEXT, DataType::Bytes] {
            let parsed = parse(&render(&data_type), false);
            assert_eq!(parsed.portable_type, data_type);
            assert!(matches!(parsed.data_type, DataType::Dynamic { .. }));
        }
    }

    #[test]
    fn a_users_declaration_has_sqlites_affinity_and_a_promise() {
        use Affinity::{Blob, Integer, Numeric, Real, Text};
        let decimal = |p, s| DataType::Decimal { precision: p, scale: s };
        for (declared, affinity, portable) in [
            ("INTEGER", Integer, DataType::Int64),
            ("unsigned big int", Integer, DataType::Int64),
            ("FLOATING POINT", Integer, DataType::Float64),
            ("NVARCHAR(160)", Text, DataType::TEXT),
            ("varchar(max)", Text, DataType::TEXT),
            ("BLOB SUB_TYPE TEXT", Text, DataType::TEXT),
            ("", Blob, DataType::TEXT),
            ("BLOB", Blob, DataType::Bytes),
            ("DOUBLE PRECISION", Real, DataType::Float64),
            ("NUMERIC(10,2)", Numeric, decimal(Some(10), Some(2))),
            ("DECIMAL( 5 , 2 )", Numeric, decimal(Some(5), Some(2))),
            ("NUMERIC", Numeric, decimal(None, None)),
            ("numeric(0)", Numeric, decimal(None, None)),
            ("BOOLEAN", Numeric, DataType::Bool),
            ("DATETIME", Numeric, DataType::Timestamp { precision: None }),
            ("timestamp", Numeric, DataType::Timestamp { precision: None }),
            ("uniqueidentifier", Numeric, DataType::Uuid),
            ("JSON", Numeric, DataType::Json),
            ("STRING", Numeric, DataType::TEXT),
            ("POINT", Integer, DataType::TEXT),
            ("LONG_TEXT", Text, DataType::TEXT),
            ("VARCHAR_TEXT", Text, DataType::TEXT),
        ] {
            let parsed = parse(declared, false);
            assert_eq!(parsed.data_type, DataType::Dynamic { affinity }, "{declared}");
            assert_eq!(parsed.portable_type, portable, "{declared}");
            assert_eq!(parsed.promise == Promise::None, ["", "STRING", "POINT"].contains(&declared), "{declared}");
        }
    }

    #[test]
    fn strict_columns_promise_what_sqlite_enforces() {
        let parsed = parse("INT", true);
        assert_eq!(parsed.data_type, DataType::Dynamic { affinity: Affinity::StrictInteger });
        assert_eq!(parsed.promise, Promise::Kept);
        assert_eq!(parse("ANY", true).promise, Promise::None);
    }

    #[test]
    fn ddl_repeats_a_type_to_the_letter_or_quotes_it() {
        for declared in ["", "INTEGER", "NUMERIC(10, 2)", "double precision"] {
            assert_eq!(as_ddl(declared), declared);
        }
        assert_eq!(as_ddl("varchar(max)"), "\"varchar(max)\"");
        assert_eq!(as_ddl("2B"), "\"2B\"");
        assert_eq!(as_ddl("not null"), "\"not null\"");
    }
}
