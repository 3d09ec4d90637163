//! Cases about ids that the target gives, and about rows that refer to one another.

use super::check::{Failure, Outcome, ensure, ensure_eq, ensure_error, ensure_rows};
use super::harness::Harness;
use super::sample::text;
use super::work::{Writing, key_of, names, of_scope, page, scope, write};
use crate::error::ErrorKind;
use crate::memory::table;
use crate::schema::{ForeignKey, ForeignKeyAction, Identity, TableName, TableSchema};
use crate::sink::{Arrival, DeleteRequest, SchemaPlan, SinkTransaction, Tie, WriteMode, WriteRequest};
use crate::state::{KeyMapChanges, StateChanges};
use crate::value::{DataType, Key, Row, Value};
use std::collections::{BTreeSet, HashMap};

fn int(number: i64) -> Key {
    Key::from_values([&Value::Int(number)])
}

fn numbers<'v>(values: impl IntoIterator<Item = &'v Value<'static>>) -> Result<BTreeSet<i64>, Failure> {
    let number = |value: &Value<'static>| match value {
        Value::Int(number) => Ok(*number),
        other => Err(Failure::new(format!("an id became {other:?}"))),
    };
    values.into_iter().map(number).collect()
}

pub(super) async fn ids_are_drawn_that_no_row_has_and_none_gets_later(harness: &dyn Harness) -> Outcome {
    let mut schema = table("numbered", &[("id", DataType::Int64), ("name", DataType::TEXT)], &["id"]);
    schema.columns[0].identity = Some(Identity::ByDefault);
    let writing = Writing::to(harness, &[&schema]).await?;
    let target = writing.table(&schema.name).await?;
    let unnumbered = page(&target, &["name".to_owned()], &[vec![text("a")], vec![text("b")], vec![text("c")]])?;
    let number_by_itself = async || -> Outcome {
        let mut transaction = writing.begin().await?;
        write(&mut *transaction, &target, &[], &unnumbered, WriteMode::Load).await?;
        Ok(transaction.commit(&StateChanges::default()).await?)
    };
    let held = async || numbers(writing.database.rows(&schema).await?.iter().map(|row| &row[0]));
    number_by_itself().await?;
    let mut seen = held().await?;
    ensure_eq(seen.len(), 3, "the number of rows that the target has numbered")?;
    let mut transaction = writing.begin().await?;
    let mut drawn = transaction.reserve(&target, "id", 3).await?;
    drawn.extend(transaction.reserve(&target, "id", 2).await?);
    ensure_eq(transaction.reserve(&target, "id", 0).await?, Vec::new(), "no ids")?;
    seen.extend(numbers(&drawn)?);
    ensure_eq((drawn.len(), seen.len()), (5, 8), "the numbers of ids drawn, and of all there are")?;
    let rows: Vec<Row> = drawn.into_iter().map(|id| vec![id, text("drawn")]).collect();
    let numbered = page(&target, &names(&schema), &rows)?;
    write(&mut *transaction, &target, &key_of(&schema), &numbered, WriteMode::Load).await?;
    transaction.commit(&StateChanges::default()).await?;
    ensure_eq(held().await?, seen, "the ids in the target")?;
    number_by_itself().await?;
    let mut seen = held().await?;
    ensure_eq(seen.len(), 11, "the number of ids after the target has numbered rows by itself again")?;
    let mut transaction = writing.begin().await?;
    seen.extend(numbers(&transaction.reserve(&target, "id", 4).await?)?);
    ensure_eq(seen.len(), 15, "the number of ids with those drawn by another transaction")?;
    // Their rows may come by a later transaction.
    transaction.commit(&StateChanges::default()).await?;
    let mut transaction = writing.begin().await?;
    seen.extend(numbers(&transaction.reserve(&target, "id", 2).await?)?);
    ensure_eq(seen.len(), 17, "the number of ids with those drawn since, while rows were waited for")?;
    let refused = transaction.reserve(&target, "name", 1).await;
    ensure_error(refused, &[ErrorKind::Unsupported], "an id for a column that nobody numbers").map(|_| ())
}

pub(super) async fn the_key_map_is_read_as_the_transaction_sees_it(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let changes = |entity: &str, entries: &[(i64, i64)]| {
        let entries = entries.iter().map(|(source, target)| (int(*source), int(*target))).collect();
        StateChanges { key_map: KeyMapChanges { entries, ..KeyMapChanges::default() }, ..of_scope(scope(entity)) }
    };
    let map =
        |entries: &[(i64, i64)]| entries.iter().map(|(source, target)| (int(*source), int(*target))).collect::<HashMap<_, _>>();
    writing.begin().await?.commit(&changes("a", &[(1, 101), (2, 102)])).await?;
    let wanted = [1, 2, 3, 9].map(int);
    let mut transaction = writing.begin().await?;
    transaction.put_state(changes("a", &[(2, 202), (3, 103)])).await?;
    let found = transaction.mapped("job", "a", &wanted).await?;
    ensure_eq(found, map(&[(1, 101), (2, 202), (3, 103)]), "the key map inside of the transaction")?;
    ensure_eq(transaction.mapped("job", "b", &wanted).await?, HashMap::new(), "the key map of another entity")?;
    ensure_eq(transaction.mapped("other", "a", &wanted).await?, HashMap::new(), "the key map of another job")?;
    ensure_eq(transaction.mapped("job", "a", &[]).await?, HashMap::new(), "what no ids stand for")?;
    transaction.rollback().await?;
    ensure_eq(
        writing.begin().await?.mapped("job", "a", &wanted).await?,
        map(&[(1, 101), (2, 102)]),
        "the key map after a rollback",
    )
}

/// `left (id, right, other)` and `right (id, left)`, which refer to one another; only `left.other` may be NULL.
struct Pair {
    writing: Writing,
    tables: [TableSchema; 2],
    key: [String; 1],
}

impl Pair {
    /// Makes the tables; what happens when a parent goes is said of `left.right` and of `right.left`.
    async fn new(harness: &dyn Harness, on_delete: [ForeignKeyAction; 2]) -> Result<Self, Failure> {
        let number = DataType::Int64;
        let mut left = table("left", &[("id", number.clone()), ("right", number.clone()), ("other", number.clone())], &["id"]);
        let mut right = table("right", &[("id", number.clone()), ("left", number)], &["id"]);
        let reference = |column: &str, parent: &str, on_delete: ForeignKeyAction| ForeignKey {
            name: Some(format!("{parent}_by_{column}")),
            on_delete,
            ..ForeignKey::new([column], TableName::new(None, parent), ["id"])
        };
        let other = reference("other", "right", ForeignKeyAction::NoAction);
        left.foreign_keys.extend([reference("right", "right", on_delete[0]), other]);
        right.foreign_keys.push(reference("left", "left", on_delete[1]));
        (left.columns[1].nullable, right.columns[1].nullable) = (false, false);
        let writing = Writing::to(harness, &[]).await?;
        ensure(writing.sink.capabilities().together, || {
            "the harness says that rows are written at once, the sink that they are not".to_owned()
        })?;
        let plan: SchemaPlan = writing.plan(&[left, right])?;
        writing.sink.prepare(&plan, &writing.fence).await?;
        writing.sink.finish(&plan, &writing.fence, &|_| ()).await?;
        let tables = [writing.table(&plan.tables[0].table.name).await?, writing.table(&plan.tables[1].table.name).await?];
        Ok(Pair { writing, tables, key: ["id".to_owned()] })
    }

    /// Asks for the rows of these ids to go from a table.
    fn delete(&self, table: usize, ids: &[i64]) -> DeleteRequest<'_> {
        DeleteRequest { table: &self.tables[table], key: &self.key, keys: ids.iter().map(|id| int(*id)).collect() }
    }

    fn ties(&self) -> [Tie; 3] {
        let tie = |child: usize, column: &str, open: bool| Tie {
            child,
            columns: vec![column.to_owned()],
            parent: self.tables[1 - child].name.clone(),
            parent_columns: vec!["id".to_owned()],
            open: if open { vec![column.to_owned()] } else { Vec::new() },
        };
        [tie(0, "right", false), tie(0, "other", true), tie(1, "left", false)]
    }

    async fn set_aside(&self, transaction: &mut dyn SinkTransaction, place: usize, rows: &[Row]) -> Outcome {
        let table = &self.tables[place];
        let (page, key) = (page(table, &names(table), rows)?, key_of(table));
        let request = WriteRequest { table, key: &key, page: &page, rows: None, mode: WriteMode::InsertMissing };
        Ok(transaction.set_aside(place, request).await?)
    }

    async fn hold(&self, left: &[Row], right: &[Row], what: &str) -> Outcome {
        for (table, rows) in self.tables.iter().zip([left, right]) {
            ensure_rows(&self.writing.read_back(table).await?, rows, what)?;
        }
        Ok(())
    }

    /// Writes two rows of each table, and one of a kind that no reference holds.
    async fn with_rows(harness: &dyn Harness) -> Result<(Self, [Vec<Row>; 2]), Failure> {
        Self::with_rows_on_delete(harness, [ForeignKeyAction::NoAction; 2]).await
    }

    /// The same, where that happens when a parent goes.
    async fn with_rows_on_delete(
        harness: &dyn Harness,
        on_delete: [ForeignKeyAction; 2],
    ) -> Result<(Self, [Vec<Row>; 2]), Failure> {
        let pair = Pair::new(harness, on_delete).await?;
        let (left, right) = (vec![left(1, 2, None), left(2, 1, Some(2))], vec![right(1, 1), right(2, 2)]);
        let mut transaction = pair.writing.begin().await?;
        pair.set_aside(&mut *transaction, 0, &left).await?;
        pair.set_aside(&mut *transaction, 1, &right).await?;
        ensure_eq(transaction.insert_aside(&pair.ties()).await?, 4, "the number of rows inserted")?;
        transaction.commit(&StateChanges::default()).await?;
        pair.hold(&left, &right, "the target after rows that refer to one another").await?;
        Ok((pair, [left, right]))
    }
}

fn left(id: i64, right: i64, other: Option<i64>) -> Row {
    vec![Value::Int(id), Value::Int(right), other.map_or(Value::Null, Value::Int)]
}

fn right(id: i64, left: i64) -> Row {
    vec![Value::Int(id), Value::Int(left)]
}

const IN: Arrival = Arrival { inserted: true, open: 0 };
const OUT: Arrival = Arrival { inserted: false, open: 0 };

pub(super) async fn rows_that_refer_to_one_another_are_inserted_at_once(harness: &dyn Harness) -> Outcome {
    let (pair, [mut lefts, mut rights]) = Pair::with_rows(harness).await?;
    let mut transaction = pair.writing.begin().await?;
    // One that is there, two that come, one whose parent is nowhere, and one whose parent is that one's child; in two portions.
    pair.set_aside(&mut *transaction, 0, &[left(1, 2, None), left(3, 3, Some(1)), left(4, 99, None)]).await?;
    pair.set_aside(&mut *transaction, 0, &[left(5, 4, None)]).await?;
    pair.set_aside(&mut *transaction, 1, &[right(3, 3), right(4, 4)]).await?;
    ensure_eq(transaction.insert_aside(&pair.ties()).await?, 2, "the number of rows inserted")?;
    ensure_eq(transaction.arrivals(0, 0, 10).await?, vec![OUT, IN, OUT, OUT], "what became of the rows of the first table")?;
    ensure_eq(transaction.arrivals(0, 1, 2).await?, vec![IN, OUT], "what became of some of them")?;
    ensure_eq(transaction.arrivals(0, 4, 10).await?, Vec::new(), "what became of rows after the last")?;
    ensure_eq(transaction.arrivals(1, 0, 10).await?, vec![IN, OUT], "what became of the rows of the second table")?;
    transaction.commit(&StateChanges::default()).await?;
    lefts.push(left(3, 3, Some(1)));
    rights.push(right(3, 3));
    pair.hold(&lefts, &rights, "the target").await
}

pub(super) async fn a_reference_that_may_wait_is_left_open_where_its_parent_is_not_there(harness: &dyn Harness) -> Outcome {
    let (pair, [mut lefts, mut rights]) = Pair::with_rows(harness).await?;
    let mut transaction = pair.writing.begin().await?;
    pair.set_aside(&mut *transaction, 0, &[left(3, 3, Some(99)), left(4, 3, Some(3)), left(5, 3, None)]).await?;
    pair.set_aside(&mut *transaction, 1, &[right(3, 3)]).await?;
    ensure_eq(transaction.insert_aside(&pair.ties()).await?, 4, "the number of rows inserted")?;
    let open = Arrival { inserted: true, open: 0b10 };
    ensure_eq(transaction.arrivals(0, 0, 10).await?, vec![open, IN, IN], "what became of the rows")?;
    transaction.commit(&StateChanges::default()).await?;
    lefts.extend([left(3, 3, None), left(4, 3, Some(3)), left(5, 3, None)]);
    rights.push(right(3, 3));
    pair.hold(&lefts, &rights, "the target").await
}

pub(super) async fn rows_set_aside_leave_nothing_after_a_rollback(harness: &dyn Harness) -> Outcome {
    let (pair, [lefts, rights]) = Pair::with_rows(harness).await?;
    let mut transaction = pair.writing.begin().await?;
    pair.set_aside(&mut *transaction, 0, &[left(3, 3, None)]).await?;
    pair.set_aside(&mut *transaction, 1, &[right(3, 3)]).await?;
    ensure_eq(transaction.insert_aside(&pair.ties()).await?, 2, "the number of rows inserted")?;
    transaction.rollback().await?;
    pair.hold(&lefts, &rights, "the target after a rollback").await?;
    // What was set aside is gone with its transaction.
    let mut transaction = pair.writing.begin().await?;
    pair.set_aside(&mut *transaction, 1, &[right(4, 1)]).await?;
    ensure_eq(transaction.insert_aside(&pair.ties()[2..]).await?, 1, "the number of rows inserted by the next transaction")?;
    transaction.rollback().await?;
    pair.hold(&lefts, &rights, "the target after another rollback").await
}

pub(super) async fn rows_that_refer_to_one_another_are_deleted_at_once(harness: &dyn Harness) -> Outcome {
    let (pair, [lefts, rights]) = Pair::with_rows(harness).await?;
    let mut transaction = pair.writing.begin().await?;
    let deleted = transaction.delete_at_once(&[pair.delete(0, &[1]), pair.delete(1, &[])]).await;
    let deleted = match deleted {
        Ok(_) => transaction.commit(&StateChanges::default()).await,
        Err(error) => Err(error),
    };
    ensure_error(deleted, &[ErrorKind::Constraint], "a row deleted that another one refers to")?;
    pair.hold(&lefts, &rights, "the target after a refusal").await?;
    let mut transaction = pair.writing.begin().await?;
    let deleted = transaction.delete_at_once(&[pair.delete(0, &[1, 2, 7]), pair.delete(1, &[2, 1])]).await?;
    ensure_eq(deleted, vec![2, 2], "the numbers of rows deleted")?;
    transaction.commit(&StateChanges::default()).await?;
    pair.hold(&[], &[], "the target").await
}

pub(super) async fn rows_that_would_go_with_one_another_are_deleted_at_once_and_counted(harness: &dyn Harness) -> Outcome {
    use ForeignKeyAction::{Cascade, NoAction, Restrict, SetNull};
    let each = [[NoAction, Cascade], [Cascade, NoAction], [Cascade, Cascade], [NoAction, SetNull], [SetNull, NoAction]];
    for on_delete in each.into_iter().chain([[NoAction, Restrict], [Restrict, NoAction]]) {
        let (pair, _) = Pair::with_rows_on_delete(harness, on_delete).await?;
        let mut transaction = pair.writing.begin().await?;
        let deleted = transaction.delete_at_once(&[pair.delete(0, &[1, 2, 7]), pair.delete(1, &[2, 1])]).await;
        ensure_eq(deleted?, vec![2, 2], &format!("the numbers of rows deleted, on delete {on_delete:?}"))?;
        transaction.commit(&StateChanges::default()).await?;
        pair.hold(&[], &[], &format!("the target, on delete {on_delete:?}")).await?;
    }
    Ok(())
}
