//! Which PostgreSQL type holds a logical type.

use migrate_core::value::DataType;

/// The type that a column is given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mapped {
    /// What cells are conformed to: the type as the catalogs will tell it.
    pub(super) data_type: DataType,
    /// The type as SQL, spelled as `format_type` does.
    pub(super) native: String,
    /// Why this is not quite the type asked for.
    pub(super) note: Option<String>,
}

impl Mapped {
    fn exact(data_type: DataType, native: impl Into<String>) -> Self {
        Mapped { data_type, native: native.into(), note: None }
    }

    fn text(note: String) -> Self {
        Mapped { data_type: DataType::TEXT, native: "text".to_owned(), note: Some(note) }
    }
}

/// The longest `varchar(n)` and `char(n)`.
const MOST_CHARACTERS: u32 = 10_485_760;

/// Built-in types that travel as text. Their arrays do too.
const BUILT_IN: [&str; 40] = [
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "bit varying",
    "varbit",
    "money",
    "tsvector",
    "tsquery",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "xml",
    "oid",
    "xid",
    "xid8",
    "cid",
    "tid",
    "pg_lsn",
    "jsonpath",
    "pg_snapshot",
    "txid_snapshot",
    "name",
];

/// Built-in types that have a logical type of their own; named here for their arrays.
const NATIVE: [&str; 27] = [
    "boolean",
    "bool",
    "smallint",
    "int2",
    "integer",
    "int4",
    "bigint",
    "int8",
    "real",
    "float4",
    "double precision",
    "float8",
    "numeric",
    "text",
    "character varying",
    "varchar",
    "character",
    "bpchar",
    "bytea",
    "date",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "\"char\"",
    "timestamptz",
    "timetz",
];

/// Returns the PostgreSQL type for a logical type.
pub(super) fn to_postgres(data_type: &DataType) -> Mapped {
    match data_type {
        DataType::Bool => Mapped::exact(DataType::Bool, "boolean"),
        DataType::Int16 => Mapped::exact(DataType::Int16, "smallint"),
        DataType::Int32 => Mapped::exact(DataType::Int32, "integer"),
        DataType::Int64 => Mapped::exact(DataType::Int64, "bigint"),
        DataType::Float32 => Mapped::exact(DataType::Float32, "real"),
        DataType::Float64 => Mapped::exact(DataType::Float64, "double precision"),
        DataType::Decimal { precision, scale } => decimal(*precision, *scale),
        DataType::Text { max_chars: None } => Mapped::exact(DataType::TEXT, "text"),
        DataType::Text { max_chars: Some(n) } if (1..=MOST_CHARACTERS).contains(n) => {
            Mapped::exact(data_type.clone(), format!("character varying({n})"))
        }
        DataType::Text { max_chars: Some(n) } => {
            Mapped::text(format!("a length of {n} characters is not possible; text instead"))
        }
        DataType::Char { chars } if (1..=MOST_CHARACTERS).contains(chars) => {
            Mapped::exact(data_type.clone(), format!("character({chars})"))
        }
        DataType::Char { chars } => Mapped::text(format!("a length of {chars} characters is not possible; text instead")),
        DataType::Bytes => Mapped::exact(DataType::Bytes, "bytea"),
        DataType::Date => Mapped::exact(DataType::Date, "date"),
        DataType::Time { precision } => {
            let (p, spelled) = fraction(*precision);
            Mapped::exact(DataType::Time { precision: p }, format!("time{spelled} without time zone"))
        }
        DataType::TimeTz { precision } => {
            let (p, spelled) = fraction(*precision);
            Mapped::exact(DataType::TimeTz { precision: p }, format!("time{spelled} with time zone"))
        }
        DataType::Timestamp { precision } => {
            let (p, spelled) = fraction(*precision);
            Mapped::exact(DataType::Timestamp { precision: p }, format!("timestamp{spelled} without time zone"))
        }
        DataType::TimestampTz { precision } => {
            let (p, spelled) = fraction(*precision);
            Mapped::exact(DataType::TimestampTz { precision: p }, format!("timestamp{spelled} with time zone"))
        }
        DataType::Interval => Mapped::exact(DataType::Interval, "interval"),
        DataType::Uuid => Mapped::exact(DataType::Uuid, "uuid"),
        DataType::Json => Mapped::exact(DataType::Json, "json"),
        DataType::Jsonb => Mapped::exact(DataType::Jsonb, "jsonb"),
        DataType::Enum { name, .. } => {
            Mapped::text(format!("the enumeration {name} becomes text with a check that lists its labels"))
        }
        DataType::Other { name } if is_built_in(name) => Mapped::exact(data_type.clone(), name.clone()),
        DataType::Other { name } => Mapped::text(format!("the type {name} is not one of PostgreSQL's own; text instead")),
        DataType::Dynamic { .. } => Mapped::text("its values have types of their own; text instead".to_owned()),
        // The enumeration of types may grow; text holds whatever has a text form.
        other => Mapped::text(format!("PostgreSQL has no type for {other}; text instead")),
    }
}

fn decimal(precision: Option<u32>, scale: Option<i32>) -> Mapped {
    let Some(p) = precision else {
        return Mapped::exact(DataType::Decimal { precision: None, scale: None }, "numeric");
    };
    let s = scale.unwrap_or(0);
    // Version 15 allows scales outside of 0..=precision; 14, which is supported too, does not.
    if (1..=1000).contains(&p) && u32::try_from(s).is_ok_and(|s| s <= p) {
        return Mapped::exact(DataType::Decimal { precision, scale: Some(s) }, format!("numeric({p},{s})"));
    }
    Mapped {
        data_type: DataType::Decimal { precision: None, scale: None },
        native: "numeric".to_owned(),
        note: Some(format!("decimal({p},{s}) becomes numeric without limits")),
    }
}

fn fraction(precision: Option<u32>) -> (Option<u32>, String) {
    match precision {
        Some(p) if p <= 6 => (Some(p), format!("({p})")),
        _ => (None, String::new()),
    }
}

/// What a column that cannot be numbered has as its default to give new values by itself, where there is anything.
pub(super) fn given(data_type: &DataType) -> Option<String> {
    (*data_type == DataType::Uuid).then(|| "gen_random_uuid()".to_owned())
}

/// Whether a type name means one of PostgreSQL's own types, or an array of one, on any server.
pub(super) fn is_built_in(name: &str) -> bool {
    let mut base = name.trim().to_lowercase();
    while let Some(element) = base.strip_suffix("[]") {
        base = element.trim_end().to_owned();
    }
    let is_array = base.len() != name.trim().len();
    // Modifiers: digits and commas in one pair of parentheses.
    if let (Some(open), Some(close)) = (base.find('('), base.find(')')) {
        if open > close || !base[open + 1..close].chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | ' ' | '-')) {
            return false;
        }
        base = format!("{}{}", base[..open].trim_end(), &base[close + 1..]);
    }
    let base = base.strip_prefix("pg_catalog.").unwrap_or(&base);
    BUILT_IN.contains(&base)
        || base == "\"char\""
        || base.starts_with("interval ") && base[9..].chars().all(|c| c.is_ascii_lowercase() || c == ' ')
        || (is_array && (NATIVE.contains(&base) || is_time(base)))
}

fn is_time(base: &str) -> bool {
    let rest = base.strip_prefix("timestamp").or_else(|| base.strip_prefix("time"));
    rest.is_some_and(|r| matches!(r, "" | " without time zone" | " with time zone"))
}

/// Whether a foreign key may lead from a column of one type to a column of the other.
pub(super) fn can_refer(child: &DataType, parent: &DataType) -> bool {
    let whole = |t: &DataType| matches!(t, DataType::Int16 | DataType::Int32 | DataType::Int64);
    let text = |t: &DataType| matches!(t, DataType::Text { .. } | DataType::Char { .. } | DataType::Enum { .. });
    let float = |t: &DataType| matches!(t, DataType::Float32 | DataType::Float64);
    let decimal = |t: &DataType| matches!(t, DataType::Decimal { .. });
    let same = std::mem::discriminant(child) == std::mem::discriminant(parent);
    same || (whole(child) && (whole(parent) || decimal(parent) || float(parent)))
        || (text(child) && text(parent))
        || (float(child) && float(parent))
        || (decimal(child) && float(parent))
}

/// Whether a btree index can be made over the type, so that it can be part of a key.
pub(super) fn is_ordered(data_type: &DataType, native: &str) -> bool {
    match data_type {
        DataType::Json => false,
        DataType::Other { .. } => {
            let base = native.split(['(', '[']).next().unwrap_or_default().trim();
            let array = native.ends_with("[]");
            let unordered = ["xml", "point", "line", "lseg", "box", "path", "polygon", "json", "jsonpath", "xid", "cid"];
            // Circles have operators of comparison and no class.
            !(unordered.contains(&base) || base == "circle" || (!array && matches!(base, "txid_snapshot" | "pg_snapshot")))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_spelled_as_the_catalogs_spell_them() {
        let native = |data_type: DataType| to_postgres(&data_type).native;
        assert_eq!(native(DataType::Timestamp { precision: Some(3) }), "timestamp(3) without time zone");
        assert_eq!(native(DataType::Timestamp { precision: Some(9) }), "timestamp without time zone");
        assert_eq!(native(DataType::Decimal { precision: Some(10), scale: None }), "numeric(10,0)");
        assert_eq!(native(DataType::Decimal { precision: Some(2000), scale: Some(2) }), "numeric");
        assert_eq!(native(DataType::Decimal { precision: Some(2), scale: Some(5) }), "numeric");
        assert_eq!(native(DataType::Text { max_chars: Some(20) }), "character varying(20)");
        assert_eq!(native(DataType::Text { max_chars: Some(0) }), "text");
        assert_eq!(native(DataType::Other { name: "hstore".into() }), "text");
    }

    #[test]
    fn built_in_types_and_their_arrays_are_known_whatever_their_modifiers() {
        for name in
            ["inet", "text[]", "numeric(10,2)[]", "bit varying(5)", "timestamp(3) with time zone[]", "integer[][]", "\"char\""]
        {
            assert!(is_built_in(name), "{name}");
        }
        for name in ["hstore", "public.mood", "mood[]", "text); DROP TABLE x; --", "interval'; --", "inet(1); x"] {
            assert!(!is_built_in(name), "{name}");
        }
    }
}
