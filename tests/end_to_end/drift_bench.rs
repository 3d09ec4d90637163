//! A job between two databases that has run once, and changes of its source's columns.

use migrate_tests::{Database, Engine, Project, Run};
use serde_json::Value;

const TABLE: &str = "CREATE TABLE t (id integer PRIMARY KEY, name text, amount integer);
    INSERT INTO t VALUES (1, 'a', 10), (2, 'b', 20), (3, NULL, 30), (4, 'd', NULL);";

/// A change of the source's columns: what it is called, the statements, and what a run that is refused says about it.
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) says: &'static [&'static str],
}

pub(crate) const ADDED: Change = Change {
    name: "added",
    sql: "ALTER TABLE t ADD COLUMN age integer; UPDATE t SET age = id + 100 WHERE id < 4;",
    says: &["column age was added", "integer"],
};

pub(crate) const DROPPED: Change =
    Change { name: "dropped", sql: "ALTER TABLE t DROP COLUMN name;", says: &["column name was dropped", "text"] };

pub(crate) const RENAMED: Change = Change {
    name: "renamed",
    sql: "ALTER TABLE t RENAME COLUMN name TO title;",
    says: &["column title was renamed at the source, from name", "column name was renamed at the source, to title", "2 places"],
};

pub(crate) const RETYPED: Change = Change {
    name: "retyped",
    sql: "CREATE TABLE u (id integer PRIMARY KEY, name text, amount numeric(9, 2)); INSERT INTO u SELECT id, name, amount FROM t;
          DROP TABLE t; ALTER TABLE u RENAME TO t;",
    says: &["column amount was retyped", "from integer to numeric(9,"],
};

/// A job between two databases that has run once.
pub(crate) struct Bench {
    pub(crate) project: Project,
    pub(crate) source: Database,
    pub(crate) target: Database,
    pub(crate) direction: String,
}

impl Bench {
    pub(crate) fn new((from, to): (Engine, Engine), settings: &str) -> Self {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(TABLE);
        let bench = Bench { project, source, target, direction: format!("{from:?} to {to:?}") };
        bench.write(settings);
        bench.project.copy();
        bench
    }

    pub(crate) fn write(&self, settings: &str) {
        self.project.write_job(&self.source.url(), &self.target.url(), settings);
    }

    pub(crate) fn change(&self, change: &Change) {
        // PostgreSQL changes a type in place.
        match (&self.source, change.name) {
            (Database::Postgres(source), "retyped") => source.run("ALTER TABLE t ALTER COLUMN amount TYPE numeric(9, 2)"),
            (source, _) => source.run(change.sql),
        }
    }

    /// The target's columns and rows, as text.
    pub(crate) fn target(&self) -> (Vec<String>, Vec<String>) {
        let columns = self.columns();
        let list: Vec<String> =
            columns.iter().map(|c| format!("coalesce(CAST({} AS text), 'NULL')", c.split(' ').next().expect("a name"))).collect();
        let sql = format!("SELECT {} FROM t ORDER BY id", list.join(" || ' ' || "));
        (columns, texts(&self.target, &sql))
    }

    pub(crate) fn columns(&self) -> Vec<String> {
        texts(
            &self.target,
            match self.target {
                Database::Postgres(_) => {
                    "SELECT column_name || ' ' || data_type || ' ' || is_nullable FROM information_schema.columns
                     WHERE table_name = 't' AND table_schema = 'public' ORDER BY ordinal_position"
                }
                Database::Sqlite(_) => "SELECT name || ' ' || type || ' ' || \"notnull\" FROM pragma_table_info('t')",
            },
        )
    }

    pub(crate) fn entity(&self, code: i32) -> Value {
        let report = self.project.run(["run", "--json"]).expect(code).json();
        let entity = report["entities"][0].clone();
        let n = |name: &str| entity[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {entity}"));
        let parts = ["inserted", "updated", "unchanged", "skipped", "filtered", "quarantined"];
        assert_eq!(n("read"), parts.iter().map(|p| n(p)).sum::<u64>(), "{}: {entity}", self.direction);
        entity
    }

    /// Runs again, and asserts that this writes nothing and has nothing to say about the source's columns.
    pub(crate) fn is_quiet(&self) {
        let before = self.target();
        let plan = self.project.run(["plan", "--json"]).expect(0).json();
        assert_eq!(plan["entities"][0]["drift"], Value::Null, "{}: {plan}", self.direction);
        let entity = self.entity(0);
        assert_eq!(counts(&entity, &["inserted", "updated"]), [0, 0], "{}: {entity}", self.direction);
        assert_eq!(self.target(), before, "{}", self.direction);
    }
}

pub(crate) fn texts(database: &Database, sql: &str) -> Vec<String> {
    match database {
        Database::Postgres(database) => database.rows(sql).into_iter().map(|row| row[0].clone().unwrap_or_default()).collect(),
        Database::Sqlite(database) => database.texts(sql),
    }
}

pub(crate) fn counts<const N: usize>(entity: &Value, names: &[&str; N]) -> [u64; N] {
    names.map(|name| entity[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {entity}")))
}

pub(crate) fn prints(run: &Run, pieces: &[&str]) {
    // SQLite spells the types in capitals.
    let text = run.output().to_lowercase();
    for piece in pieces {
        assert!(text.contains(&piece.to_lowercase()), "{piece:?} is expected in:\n{text}");
    }
}

/// The actions that a plan names, each with its column.
pub(crate) fn actions(plan: &Value) -> Vec<String> {
    let drift = plan["entities"][0]["drift"].as_array().cloned().unwrap_or_default();
    let text = |drift: &Value, field: &str| drift[field].as_str().unwrap_or_else(|| panic!("{field} of {drift}")).to_owned();
    drift.iter().map(|d| format!("{} {} {}", text(d, "column"), text(d, "change"), text(d, "action"))).collect()
}
