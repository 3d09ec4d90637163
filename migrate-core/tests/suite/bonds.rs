//! Rows that are known by the ids of others, which the target has given: where nothing of the target checks that they refer to them, those
//! stay all the same until these have gone.

use migrate_core::job::{
    CancelToken, DeleteGuard, DeleteMode, Deletes, Entity, Job, MemoryRecorder, Mode, OrphanPolicy, Reference,
};
use migrate_core::memory::{MemoryDatabase, table};
use migrate_core::pipeline::Pipeline;
use migrate_core::schema::{ForeignKey, Identity, TableName, UniqueKey};
use migrate_core::state::Counters;
use migrate_core::value::{DataType, Value};
use std::sync::Arc;

/// What badges are known by: found by their employee, and not.
const KEYS: [[&str; 2]; 2] = [["employee", "number"], ["number", "employee"]];

struct Bench {
    from: MemoryDatabase,
    to: MemoryDatabase,
    recorder: Arc<MemoryRecorder>,
    job: Job,
}

impl Bench {
    /// Employees are known by the key map alone, badges by their employee and number. What the target checks is that employees, and rows of
    /// others, refer to badges by their codes, and not that badges refer to employees.
    fn new(key: [&str; 2]) -> Self {
        let (from, to) = (MemoryDatabase::new(), MemoryDatabase::new());
        let int = DataType::Int64;
        let refers = |columns: &[&str], parent: &str, key: &[&str]| ForeignKey {
            name: Some(format!("{}_fkey", columns[0])),
            ..ForeignKey::new(columns.iter().copied(), TableName::new(None, parent), key.iter().copied())
        };
        for database in [&from, &to] {
            let mut employee = table("employee", &[("id", int.clone()), ("wears", int.clone())], &["id"]);
            let columns = [("employee", int.clone()), ("number", int.clone()), ("code", int.clone())];
            let mut badge = table("badge", &columns, &key);
            badge.columns[2].nullable = false;
            badge.unique_keys.push(UniqueKey { name: Some("badge_code".into()), ..UniqueKey::new(["code"]) });
            employee.foreign_keys = vec![refers(&["wears"], "badge", &["code"])];
            employee.columns[0].identity = Some(Identity::ByDefault);
            database.create_table(employee).expect("a new table");
            database.create_table(badge).expect("a new table");
        }
        let mut others = table("others", &[("id", int.clone()), ("code", int)], &["id"]);
        others.foreign_keys = vec![refers(&["code"], "badge", &["code"])];
        to.create_table(others).expect("a new table");
        to.insert("employee", vec![Value::Int(1), Value::Null]).expect("the row fits");
        to.insert("badge", [1, 9, 900].map(Value::Int).to_vec()).expect("the row fits");
        let badge = Entity::new("badge").with_reference(Reference::new(["employee"], "employee").with_key(["id"]));
        let job = Job::new("copy", "from", "to")
            .with_mode(Mode::Replace)
            .with_deletes(Deletes::new(DeleteMode::Hard).with_max(DeleteGuard::Rows(u64::MAX)))
            .with_orphans(OrphanPolicy::Quarantine)
            .with_entity(badge)
            .with_entity(Entity::new("employee").with_generated("id"));
        Bench { from, to, recorder: Arc::default(), job }
    }

    fn employs(&self, ids: &[i64]) {
        for id in ids {
            self.from.insert("employee", vec![Value::Int(*id), Value::Null]).expect("the row fits");
        }
    }

    fn gives(&self, badges: &[(i64, i64)]) {
        for (employee, number) in badges {
            let badge = [*employee, *number, employee * 100 + number].map(Value::Int);
            self.from.insert("badge", badge).expect("the row fits");
        }
    }

    fn wear(&self, which: impl Fn(Value<'static>) -> Value<'static>) {
        let wear = |row: &mut Vec<Value<'static>>| {
            row[1] = which(row[0].clone());
            true
        };
        self.from.update("employee", wear).expect("the rows fit");
    }

    fn takes(&self, tables: &[&str], ids: &[i64]) {
        for (name, id) in tables.iter().flat_map(|name| ids.iter().map(move |id| (name, id))) {
            self.from.delete(name, |row| row[0] == Value::Int(*id)).expect("the table is there");
        }
    }

    /// Runs, as was planned; returns how many rows were deleted, stay and are in quarantine.
    async fn run(&self) -> [u64; 3] {
        let pipeline = Pipeline::builder(self.job.clone())
            .source(Arc::new(self.from.source()))
            .target(Arc::new(self.to.sink()))
            .recorder(self.recorder.clone())
            .build()
            .expect("the job is sound");
        let counts = |sum: &Counters| [sum.deleted, sum.conflicts, sum.quarantined];
        let (mut planned, mut done) = (Counters::default(), Counters::default());
        let preview = pipeline.preview(&CancelToken::new()).await.expect("both sides can be read");
        preview.changes.iter().for_each(|entity| planned.add(&entity.counters));
        let report = pipeline.run(&CancelToken::new()).await.expect("the run begins");
        assert_eq!(report.error, None);
        report.entities.iter().for_each(|entity| done.add(&entity.counters));
        assert_eq!(counts(&planned), counts(&done), "as planned");
        counts(&done)
    }

    /// How many employees and badges the target has, but for those of others.
    fn held(&self) -> [usize; 2] {
        ["employee", "badge"].map(|name| self.to.rows(name).expect("the table is there").len() - 1)
    }
}

#[tokio::test]
async fn a_row_stays_while_the_target_does_not_let_go_of_rows_that_are_known_by_its_id() {
    for key in KEYS {
        let bench = Bench::new(key);
        bench.employs(&[11, 12, 13]);
        bench.gives(&[(11, 1), (11, 2), (12, 1), (13, 1)]);
        assert_eq!((bench.run().await, bench.held()), ([0, 0, 0], [3, 4]));
        bench.to.insert("others", [1, 1101].map(Value::Int).to_vec()).expect("the row fits");
        // One badge is held by a row of others, and by that badge its employee; all else goes.
        bench.takes(&["badge", "employee"], &[11, 12]);
        assert_eq!((bench.run().await, bench.held()), ([3, 2, 0], [2, 2]));
        assert_eq!((bench.run().await, bench.held()), ([0, 2, 0], [2, 2]));
        bench.to.delete("others", |_| true).expect("the table is there");
        assert_eq!((bench.run().await, bench.held()), ([2, 0, 0], [1, 1]));
        assert_eq!(bench.run().await, [0, 0, 0], "P4");
    }
}

#[tokio::test]
async fn a_row_stays_while_the_source_has_rows_that_are_known_by_its_id() {
    for key in KEYS {
        let bench = Bench::new(key);
        bench.employs(&[11, 12, 13]);
        bench.gives(&[(11, 1), (11, 2), (12, 1), (13, 1)]);
        assert_eq!((bench.run().await, bench.held()), ([0, 0, 0], [3, 4]));
        // The badges of one are left behind; a third one of his has never come in.
        bench.takes(&["employee"], &[11, 12]);
        bench.takes(&["badge"], &[12]);
        bench.gives(&[(11, 3)]);
        assert_eq!((bench.run().await, bench.held()), ([2, 1, 3], [2, 3]));
        assert_eq!((bench.run().await, bench.held()), ([0, 1, 3], [2, 3]));
        bench.takes(&["badge"], &[11]);
        assert_eq!((bench.run().await, bench.held()), ([3, 0, 0], [1, 1]));
        assert_eq!(bench.run().await, [0, 0, 0], "P4");
    }
}

#[tokio::test]
async fn rows_that_hold_one_another_by_their_ids_and_by_references_go_together() {
    let bench = Bench::new(KEYS[0]);
    bench.employs(&[11, 12]);
    bench.gives(&[(11, 1), (11, 2), (12, 1)]);
    bench.wear(|id| if id == Value::Int(11) { Value::Int(1102) } else { Value::Int(1201) });
    assert_eq!((bench.run().await, bench.held()), ([0, 0, 0], [2, 3]));
    // They wear their badges, which are known by their ids.
    bench.wear(|_| Value::Null);
    bench.takes(&["employee", "badge"], &[11, 12]);
    bench.to.insert("others", [1, 1102].map(Value::Int).to_vec()).expect("the row fits");
    assert_eq!((bench.run().await, bench.held()), ([3, 2, 0], [1, 1]));
    bench.to.delete("others", |_| true).expect("the table is there");
    assert_eq!((bench.run().await, bench.held()), ([2, 0, 0], [0, 0]));
    // What others refer to by that id holds nothing: the badge was never the job's.
    bench.employs(&[11]);
    assert_eq!((bench.run().await, bench.held()), ([0, 0, 0], [1, 0]));
    let own = bench.to.rows("employee").expect("the table is there")[1][0].clone();
    bench.to.insert("badge", vec![own, Value::Int(7), Value::Int(7)]).expect("the row fits");
    bench.takes(&["employee"], &[11]);
    assert_eq!((bench.run().await, bench.held()), ([1, 0, 0], [0, 1]));
}
