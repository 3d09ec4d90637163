//! The cases: what is copied, in which limit's terms, and from where to where.

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is copied, in words.
    pub(crate) title: &'static str,
    /// The limit, in words.
    pub(crate) limit: &'static str,
    /// The most that the copy may take, in terms of the limit.
    pub(crate) bound: f64,
    pub(crate) table: &'static str,
    pub(crate) from: Engine,
    pub(crate) to: Engine,
    pub(crate) target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

/// How the target is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Without the table.
    New,
    /// The same, and every row is read back before its commit.
    NewInline,
    /// With the table and its indexes, without rows.
    Existing,
    /// As a first run left it; what is timed comes after that.
    Copied(After),
}

/// What is timed after a first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct After {
    /// The command and what follows it.
    pub(crate) command: &'static [&'static str],
    /// That of the first run.
    pub(crate) first: &'static [&'static str],
    /// Whether 0.1 % of the source's rows are updated, 0.05 % inserted and 0.05 % deleted in between.
    pub(crate) changed: bool,
    /// What the source is given in between, and what takes that away again.
    pub(crate) given: Option<(&'static str, &'static str)>,
}

const fn after(command: &'static [&'static str], changed: bool) -> Target {
    Target::Copied(After { command, first: &["run"], changed, given: None })
}

const FULL: &[&str] = &["run", "--strategy", "full", "--max-deletes", "1%"];
const LEDGER: &[&str] = &["run", "--strategy", "ledger", "--max-deletes", "1%"];
const CURSOR: &[&str] = &["run", "--strategy", "cursor"];
const CURSOR_INDEX: (&str, &str) =
    ("CREATE INDEX events_updated_at ON events (updated_at); ANALYZE events", "DROP INDEX events_updated_at");
const AUTO: &[&str] = &["run", "--max-deletes", "1%"];

const PIPE: &str = "binary COPY pipe, keys in place";

/// All cases, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "postgres-postgres-new",
        title: "PostgreSQL → PostgreSQL, target created",
        limit: PIPE,
        bound: 0.85,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "postgres-postgres-inline",
        title: "PostgreSQL → PostgreSQL, target created, verify = \"inline\"",
        limit: PIPE,
        // 1.5 times the copy that is not read back.
        bound: 1.275,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::NewInline,
    },
    Case {
        name: "postgres-postgres-existing",
        title: "PostgreSQL → PostgreSQL, existing empty table with its indexes",
        limit: PIPE,
        bound: 1.10,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Existing,
    },
    Case {
        name: "sqlite-postgres-new",
        title: "SQLite → PostgreSQL, target created",
        limit: "binary COPY FROM a ready file, keys in place",
        bound: 0.95,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "sqlite-postgres-existing",
        title: "SQLite → PostgreSQL, existing empty table with its indexes",
        limit: "binary COPY FROM a ready file, keys in place",
        bound: 1.15,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Postgres,
        target: Target::Existing,
    },
    Case {
        name: "postgres-sqlite-new",
        title: "PostgreSQL → SQLite, target created",
        limit: "prepared INSERT loop from memory, one transaction",
        bound: 1.30,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Sqlite,
        target: Target::New,
    },
    Case {
        name: "postgres-sqlite-existing",
        title: "PostgreSQL → SQLite, existing empty table with its indexes",
        limit: "prepared INSERT loop from memory, one transaction",
        bound: 1.80,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Sqlite,
        target: Target::Existing,
    },
    Case {
        name: "sqlite-sqlite",
        title: "SQLite → SQLite, target created",
        limit: "ATTACH + INSERT … SELECT",
        bound: 2.0,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Sqlite,
        target: Target::New,
    },
    Case {
        name: "readings",
        title: "narrow readings, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "readings",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run",
        title: "second run of the first case, nothing changed, all rows compared",
        limit: PIPE,
        bound: 0.45,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "second-run-auto",
        title: "the same, by what PostgreSQL knows to have changed",
        limit: PIPE,
        bound: 0.15,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(AUTO, false),
    },
    Case {
        name: "second-run-ledger",
        title: "the same, by digests that PostgreSQL computes of its rows",
        limit: PIPE,
        bound: 0.35,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Copied(After { command: LEDGER, first: LEDGER, changed: false, given: None }),
    },
    Case {
        name: "second-run-cursor",
        title: "the same, by a column with an index that is trusted to tell what has changed",
        limit: PIPE,
        bound: 0.05,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Copied(After { command: CURSOR, first: CURSOR, changed: false, given: Some(CURSOR_INDEX) }),
    },
    Case {
        name: "changed",
        title: "0.1 % updated, 0.05 % inserted, 0.05 % deleted, all rows compared",
        limit: PIPE,
        bound: 0.50,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, true),
    },
    Case {
        name: "changed-auto",
        title: "the same, by what PostgreSQL knows to have changed",
        limit: PIPE,
        bound: 0.22,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(AUTO, true),
    },
    Case {
        name: "plan-changed-auto",
        title: "plan of the same",
        limit: PIPE,
        bound: 0.22,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(&["plan"], true),
    },
    Case {
        name: "verify",
        title: "verify of both sides",
        limit: PIPE,
        bound: 0.65,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(&["verify"], false),
    },
    Case {
        name: "second-run-sqlite-postgres",
        title: "SQLite → PostgreSQL, nothing changed",
        limit: PIPE,
        bound: 0.35,
        table: "events",
        from: Engine::Sqlite,
        to: Engine::Postgres,
        target: after(AUTO, false),
    },
    Case {
        name: "second-run-postgres-sqlite",
        title: "PostgreSQL → SQLite, nothing changed",
        limit: PIPE,
        bound: 0.35,
        table: "events",
        from: Engine::Postgres,
        to: Engine::Sqlite,
        target: after(AUTO, false),
    },
    Case {
        name: "text-keys",
        title: "rows with text keys, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "text_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run-text-keys",
        title: "second run of the same, nothing changed, all rows compared",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.45,
        table: "text_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "uuid-keys",
        title: "rows with uuid keys, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "uuid_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run-uuid-keys",
        title: "second run of the same, nothing changed, all rows compared",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.45,
        table: "uuid_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "composite-keys",
        title: "rows with keys of two columns, PostgreSQL → PostgreSQL, target created",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.85,
        table: "composite_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "second-run-composite-keys",
        title: "second run of the same, nothing changed, all rows compared",
        limit: "binary COPY pipe, primary key in place",
        bound: 0.45,
        table: "composite_keys",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: after(FULL, false),
    },
    Case {
        name: "tree-new",
        title: "rows that refer to one another in a random tree, target created",
        limit: "our own copy of the same rows without the reference",
        bound: 3.0,
        table: "tree",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::New,
    },
    Case {
        name: "tree-existing",
        title: "the same, existing empty table with its reference live",
        limit: "binary COPY pipe, parents first, keys and reference in place",
        bound: 1.20,
        table: "tree",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Existing,
    },
    Case {
        name: "remap",
        title: "parents and three times as many children, both under ids that the target gives, existing empty tables",
        limit: "our own copy of the same rows under their own ids",
        bound: 2.0,
        table: "children",
        from: Engine::Postgres,
        to: Engine::Postgres,
        target: Target::Existing,
    },
];
