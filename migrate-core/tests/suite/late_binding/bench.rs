//! Two databases in memory: the target's references form a cycle and are live, the source has no constraints.

use migrate_core::job::{CancelToken, Entity, Job, MemoryRecorder, Mode, OrphanPolicy, RunOptions};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::{Pipeline, RunReport};
use migrate_core::schema::{ForeignKey, TableName, TableSchema, UniqueKey};
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Value};
use migrate_core::{Parameter, Sink};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const NONE: i64 = i64::MIN;

pub(crate) fn value(n: i64) -> Value<'static> {
    if n == NONE { Value::Null } else { Value::Int(n) }
}

pub(crate) fn reference(column: &str, parent: &str) -> ForeignKey {
    ForeignKey { name: Some(format!("{column}_fkey")), ..ForeignKey::new([column], TableName::new(None, parent), ["id"]) }
}

/// A table of integers, its first column the key.
pub(crate) fn numbers(name: &str, columns: &[&str]) -> TableSchema {
    let columns: Vec<(&str, DataType)> = columns.iter().map(|c| (*c, DataType::Int64)).collect();
    table(name, &columns, &["id"])
}

pub(crate) const DEPARTMENT: [&str; 3] = ["id", "head", "floor"];
pub(crate) const EMPLOYEE: [&str; 3] = ["id", "department", "boss"];

/// A department has a head and a floor of its own; an employee is in a department, as everybody is, and may have a boss.
pub(crate) fn cycle() -> Vec<TableSchema> {
    let (mut department, mut employee) = (numbers("department", &DEPARTMENT), numbers("employee", &EMPLOYEE));
    department.foreign_keys.push(reference("head", "employee"));
    department.unique_keys.push(UniqueKey { name: Some("own_floor".into()), ..UniqueKey::new(["floor"]) });
    employee.columns[1].nullable = false;
    employee.foreign_keys.push(reference("department", "department"));
    employee.foreign_keys.push(reference("boss", "employee"));
    vec![department, employee]
}

pub(crate) struct Bench {
    pub(crate) from: MemoryDatabase,
    pub(crate) to: MemoryDatabase,
    pub(crate) recorder: Arc<MemoryRecorder>,
    pub(crate) job: Job,
    pub(crate) options: RunOptions,
}

impl Bench {
    /// The target has these tables, the source the same without constraints.
    pub(crate) fn new(tables: Vec<TableSchema>, job: Job) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        for schema in tables {
            let mut loose = schema.clone();
            loose.foreign_keys.clear();
            loose.unique_keys.clear();
            from.create_table(loose).expect("a new table");
            to.create_table(schema).expect("a new table");
        }
        Bench {
            from,
            to,
            recorder: Arc::default(),
            job,
            options: RunOptions::new().with_parallel(3).with_part_bytes(1).with_batch_rows(100),
        }
    }

    pub(crate) fn cycle(mode: Mode) -> Self {
        let job = Job::new("copy", "from", "to")
            .with_orphans(OrphanPolicy::Allow)
            .with_entity(Entity::new("department"))
            .with_entity(Entity::new("employee"));
        Bench::new(cycle(), job.with_mode(mode))
    }

    fn pipeline(&self) -> Pipeline {
        Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .options(self.options.clone())
            .build()
            .expect("the job is sound")
    }

    pub(crate) async fn run(&self) -> RunReport {
        self.pipeline().run(&CancelToken::new()).await.expect("the run begins")
    }

    /// Sends all refused rows again and returns the sum of what became of them.
    pub(crate) async fn replay(&self) -> Counters {
        let rows = self.to.sink().state().quarantine("copy", None, usize::MAX).await.expect("the quarantine can be read");
        let report = self.pipeline().replay(&rows, &CancelToken::new()).await.expect("the replay begins");
        assert_eq!(report.error, None);
        sum(&report)
    }

    /// Runs to the end and returns the sum of what became of the rows.
    pub(crate) async fn copy(&self) -> Counters {
        let report = self.run().await;
        assert_eq!(report.error, None);
        sum(&report)
    }

    /// Asserts that the target holds what the source does, and that running again writes nothing.
    pub(crate) async fn assert_equal(&self) {
        for name in ["department", "employee"] {
            assert_eq!(held(&self.to, name), held(&self.from, name), "{name}");
        }
        let again = self.copy().await;
        assert_eq!((again.unchanged + again.skipped + again.inserted, again.pending), (again.read, 0), "P4: {again:?}");
        assert_eq!(again.inserted, 0, "P4: {again:?}");
    }
}

pub(crate) fn sum(report: &RunReport) -> Counters {
    let mut sum = Counters::default();
    for entity in &report.entities {
        assert_eq!(entity.counters.read, entity.counters.settled(), "P1: {entity:?}");
        sum.add(&entity.counters);
    }
    sum
}

pub(crate) fn held(database: &MemoryDatabase, table: &str) -> BTreeMap<i64, Vec<i64>> {
    let number = |value: &Value<'_>| if let Value::Int(n) = value { *n } else { NONE };
    let rows = database.rows(table).expect("the table is there");
    rows.iter().map(|row| (number(&row[0]), row.iter().skip(1).map(number).collect())).collect()
}

/// Adds a row, or puts it in the place of the one with its key.
pub(crate) fn put(database: &MemoryDatabase, table: &str, row: &[i64]) {
    let row: Vec<Value<'static>> = row.iter().map(|n| value(*n)).collect();
    let mut replaced = false;
    let overwrite = |old: &mut Vec<Value<'static>>| {
        let same = old[0] == row[0];
        if same {
            old.clone_from(&row);
            replaced = true;
        }
        same
    };
    database.update(table, overwrite).expect("the row fits");
    if !replaced {
        database.insert(table, row).expect("the row fits");
    }
}

/// Two entities that feed one table, whose rows refer to it, and one that refers to it from outside.
pub(crate) fn people(order: [&str; 3]) -> Bench {
    let mut people = numbers("people", &["id", "kind", "parent"]);
    people.columns[1].nullable = false;
    people.foreign_keys.push(reference("parent", "people"));
    let mut visit = numbers("visit", &["id", "who"]);
    visit.foreign_keys.push(reference("who", "people"));
    let to = MemoryDatabase::new();
    for schema in [people, visit] {
        to.create_table(schema).expect("a new table");
    }
    let from = MemoryDatabase::new();
    for name in ["customers", "suppliers"] {
        from.create_table(numbers(name, &["id", "parent"])).expect("a new table");
    }
    from.create_table(numbers("visit", &["id", "who"])).expect("a new table");
    let entity = |name: &str, kind: i64| Entity::new(name).with_target("people").with_set("kind", Parameter::Int(kind));
    let mut job = Job::new("copy", "from", "to").with_mode(Mode::Replace).with_orphans(OrphanPolicy::Allow);
    for name in order {
        job = job.with_entity(match name {
            "customers" => entity("customers", 1),
            "suppliers" => entity("suppliers", 2),
            other => Entity::new(other),
        });
    }
    // A row at a time: none comes with its parent.
    Bench { from, to, recorder: Arc::default(), job, options: RunOptions::new().with_batch_rows(1) }
}
