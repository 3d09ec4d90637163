//! Kinds of keys: how each engine declares them, and which spellings it takes for one.

use migrate_tests::Engine;

/// What a key is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    /// Text that is compared by this collation in PostgreSQL.
    Text(Collation),
    /// Text that either side may compare without regard to case.
    Letters {
        source_folds: bool,
        target_folds: bool,
    },
    Uuid,
    Numeric,
    Moment,
}

/// A collation of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Collation {
    Default,
    Bytes,
    Icu,
}

/// How many different keys there are.
pub(crate) const CLASSES: usize = 40;
/// How many spellings a key has at most.
pub(crate) const SPELLINGS: usize = 3;

const WORDS: [&str; 14] =
    ["", " ", "a", "A", "a ", "ä", "Z", "z", "-", "_", "o'clock", "\"quoted\"", "日本", "\u{1f40b} and a long tail of letters"];

/// The keys of one table on both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) kind: Kind,
    pub(crate) source: Engine,
    pub(crate) target: Engine,
    /// Whether the job creates the target's table.
    pub(crate) created: bool,
}

fn is_postgres(engine: Engine) -> bool {
    matches!(engine, Engine::Postgres(_))
}

impl Keys {
    /// Returns whether the job may create the table without changing what its key takes for equal.
    pub(crate) fn can_be_created(self) -> bool {
        match self.kind {
            Kind::Integer | Kind::Text(_) => true,
            Kind::Letters { source_folds, .. } => !source_folds,
            Kind::Uuid | Kind::Numeric | Kind::Moment => is_postgres(self.source) || !is_postgres(self.target),
        }
    }

    /// Returns the source's type.
    pub(crate) fn source_type(self) -> String {
        let folds = matches!(self.kind, Kind::Letters { source_folds: true, .. });
        declared(self.kind, self.source, folds)
    }

    /// Returns the type of a target's table that is there already.
    pub(crate) fn target_type(self) -> String {
        declared(self.kind, self.target, self.target_folds())
    }

    /// Returns whether the source keeps only one form of each key, whatever was written.
    fn source_prints_its_own(self) -> bool {
        matches!(self.kind, Kind::Uuid | Kind::Moment) && is_postgres(self.source)
    }

    fn target_prints_its_own(self) -> bool {
        matches!(self.kind, Kind::Uuid | Kind::Moment) && is_postgres(self.target)
    }

    /// Returns whether the target takes all spellings of a key for one.
    pub(crate) fn target_folds(self) -> bool {
        match self.kind {
            Kind::Integer | Kind::Text(_) => true,
            Kind::Letters { target_folds, .. } => target_folds && !self.created,
            // A column that the job has made for numbers knows them by their value.
            Kind::Numeric => is_postgres(self.target) || (self.created && is_postgres(self.source)),
            Kind::Uuid | Kind::Moment => is_postgres(self.target),
        }
    }

    /// Returns whether the job itself knows a key whatever its spelling: numbers, by their value.
    pub(crate) fn job_folds(self) -> bool {
        self.kind == Kind::Numeric && is_postgres(self.source)
    }

    /// Returns the spelling that the source has once this one was written.
    pub(crate) fn spelling(self, wanted: usize) -> usize {
        match self.kind {
            Kind::Integer | Kind::Text(_) => 0,
            Kind::Letters { .. } | Kind::Uuid | Kind::Numeric | Kind::Moment => {
                if self.source_prints_its_own() {
                    0
                } else {
                    wanted % SPELLINGS
                }
            }
        }
    }

    /// Returns a key as the target prints it.
    pub(crate) fn at_target(self, class: usize, spelling: usize) -> String {
        text(self.kind, class, if self.target_prints_its_own() { 0 } else { spelling })
    }

    /// Returns a key of the source as SQL.
    pub(crate) fn literal(self, class: usize, spelling: usize) -> String {
        self.quoted(&text(self.kind, class, spelling))
    }

    /// Returns a key, as one side prints it, as SQL.
    pub(crate) fn quoted(self, text: &str) -> String {
        if self.kind == Kind::Integer { text.to_owned() } else { quote(text) }
    }
}

/// Returns text as an SQL literal.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn declared(kind: Kind, engine: Engine, folds: bool) -> String {
    let (postgres, sqlite) = match kind {
        Kind::Integer => ("bigint", "INTEGER"),
        Kind::Text(Collation::Default) => ("text", "TEXT"),
        Kind::Text(Collation::Bytes) => ("text COLLATE \"C\"", "TEXT"),
        Kind::Text(Collation::Icu) => ("text COLLATE \"de-x-icu\"", "TEXT"),
        Kind::Letters { .. } if folds => ("citext", "TEXT COLLATE NOCASE"),
        Kind::Letters { .. } => ("text", "TEXT"),
        Kind::Uuid => ("uuid", "TEXT"),
        Kind::Numeric => ("numeric", "TEXT"),
        Kind::Moment => ("timestamp", "TEXT"),
    };
    (if is_postgres(engine) { postgres } else { sqlite }).to_owned()
}

fn text(kind: Kind, class: usize, spelling: usize) -> String {
    let number = class as i64 - 20;
    match kind {
        Kind::Integer => match class {
            0 => i64::MIN.to_string(),
            1 => i64::MAX.to_string(),
            _ => (number * 37).to_string(),
        },
        Kind::Text(_) => WORDS.get(class).map_or_else(|| format!("key {class}"), |word| (*word).to_owned()),
        Kind::Letters { .. } => {
            let word = format!("Word {class}");
            [word.clone(), word.to_uppercase(), word.to_lowercase()][spelling].clone()
        }
        Kind::Uuid => {
            let hex = format!(
                "{:032x}",
                0xabcd_ef01_u128.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ ((class as u128) << 64)
            );
            let plain = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
            [plain.clone(), plain.to_uppercase(), format!("{{{plain}}}")][spelling].clone()
        }
        Kind::Numeric => format!("{number}{}", ["", ".0", ".00"][spelling]),
        Kind::Moment => {
            let (date, time) = (format!("20{:02}-02-{:02}", 5 + class, 1 + class % 28), format!("23:59:{class:02}"));
            [format!("{date} {time}"), format!("{date}T{time}"), format!("{date} {time}.000")][spelling].clone()
        }
    }
}
