//! Tables whose keys are no single integers.

/// A table by its key.
#[derive(Debug)]
pub(crate) struct Keyed {
    /// The table's name, and its database's.
    pub(crate) name: &'static str,
    /// The table, without its key.
    pub(crate) table: &'static str,
    /// Its key.
    pub(crate) key: &'static str,
    /// The columns of the key of the row numbered `i`, in SQL.
    columns: &'static str,
}

pub(crate) const KEYED: &[Keyed] = &[
    Keyed {
        name: "text_keys",
        table: "CREATE TABLE text_keys (id text NOT NULL, title text NOT NULL, amount numeric(12,2), at timestamptz NOT NULL)",
        key: "ALTER TABLE text_keys ADD PRIMARY KEY (id)",
        columns: "'key-' || substr(md5(i::text), 1, 16)",
    },
    Keyed {
        name: "uuid_keys",
        table: "CREATE TABLE uuid_keys (id uuid NOT NULL, title text NOT NULL, amount numeric(12,2), at timestamptz NOT NULL)",
        key: "ALTER TABLE uuid_keys ADD PRIMARY KEY (id)",
        columns: "md5(i::text)::uuid",
    },
    Keyed {
        name: "composite_keys",
        table: "CREATE TABLE composite_keys (tenant int NOT NULL, id bigint NOT NULL, title text NOT NULL, amount numeric(12,2), \
                at timestamptz NOT NULL)",
        key: "ALTER TABLE composite_keys ADD PRIMARY KEY (tenant, id)",
        columns: "i % 500, i",
    },
];

/// Returns the table of a name.
pub(crate) fn keyed(name: &str) -> Option<&'static Keyed> {
    KEYED.iter().find(|keyed| keyed.name == name)
}

impl Keyed {
    /// Returns a statement that fills the table.
    pub(crate) fn fill(&self, count: u64) -> String {
        format!(
            "INSERT INTO {} SELECT {}, 'the title of row ' || i || ', ' || md5((i * 7)::text), (i % 100000) / 100.0, \
             timestamptz '2020-01-01' + i * interval '1 second' FROM generate_series(1, {count}) AS i",
            self.name, self.columns
        )
    }
}
