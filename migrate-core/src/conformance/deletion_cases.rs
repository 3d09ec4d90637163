//! Cases about taking rows out.

use super::check::{Failure, Outcome, canonical_bytes, ensure, ensure_eq, ensure_rows};
use super::harness::Harness;
use super::sample::{item_rows, items, keyed, text};
use super::work::{Writing, key_of, names, none, page, row_key, write};
use crate::memory::table;
use crate::schema::TableSchema;
use crate::sink::{SinkTransaction, WriteMode};
use crate::source::PageRequest;
use crate::value::conform::conform;
use crate::value::{DataType, Key, Page, Row, Value};

pub(super) async fn rows_are_deleted_by_key_and_counted(harness: &dyn Harness) -> Outcome {
    let keys: Vec<Vec<Value<'static>>> = (0..10).map(|n| vec![text(format!("it's {n}")), Value::Int(-n)]).collect();
    let (schema, rows) = keyed(&[DataType::TEXT, DataType::Int64], &keys);
    let writing = Writing::to(harness, &[&schema]).await?;
    writing.database.insert(&schema, &rows).await?;
    let target = writing.table(&schema.name).await?;
    let mut wanted: Vec<Key> = rows[2..7].iter().map(|r| row_key(&schema, r)).collect();
    wanted.push(Key::from_values(&[text("it's 1"), Value::Int(0)]));
    let mut transaction = writing.begin().await?;
    ensure_eq(transaction.delete(&target, &key_of(&schema), &wanted).await?, 5, "the number of rows deleted")?;
    ensure_eq(transaction.delete(&target, &key_of(&schema), &wanted).await?, 0, "the number of rows deleted again")?;
    ensure_eq(transaction.delete(&target, &key_of(&schema), &[]).await?, 0, "the number of rows deleted for no keys")?;
    transaction.commit(&none()).await?;
    ensure_rows(&writing.database.rows(&schema).await?, &[&rows[..2], &rows[7..]].concat(), "the target")
}

/// A table without a key whose equal rows differ, for some engines, in nothing but their spelling.
fn bag() -> (TableSchema, Vec<Row>) {
    let schema = table("bag", &[("t", DataType::TEXT), ("j", DataType::Json), ("f", DataType::Float64)], &[]);
    let row = |t: Value<'static>, j: &'static str, f: f64| vec![t, Value::Json(j.into()), Value::Float(f)];
    let rows = vec![
        row(text("a"), "{}", 0.0),
        row(text("A"), "{}", 0.0),
        row(text("a"), "{ }", 0.0),
        row(text("a"), "{}", -0.0),
        row(text("a "), "{}", 0.0),
        row(Value::Null, "{}", 0.0),
        row(text(""), "{}", 0.0),
        row(text("a"), "{}", f64::NAN),
        row(text("a"), "{}", 0.0),
        row(text("a"), "{}", 0.0),
        row(Value::Null, "{}", 0.0),
    ];
    (schema, rows)
}

/// Deletes so many copies of these rows, and returns how many the sink says were deleted.
async fn delete_copies(
    transaction: &mut dyn SinkTransaction,
    request: &PageRequest<'_>,
    copies: &mut Vec<Row>,
) -> std::result::Result<u64, Failure> {
    let (schema, _) = bag();
    let mut choose = |page: &Page| {
        let mut chosen = Vec::new();
        for (place, row) in (0..).zip(page.rows()) {
            let values = row.values()?.into_iter().zip(&schema.columns);
            let row: Row =
                values.map(|(value, of)| conform(value.clone(), &of.data_type).unwrap_or(value).into_owned()).collect();
            if let Some(found) = copies.iter().position(|copy| canonical_bytes(copy) == canonical_bytes(&row)) {
                copies.swap_remove(found);
                chosen.push(place);
            }
        }
        Ok(chosen)
    };
    Ok(transaction.delete_chosen(request, &mut choose).await?)
}

pub(super) async fn rows_without_a_key_are_deleted_one_by_one_by_what_they_hold(harness: &dyn Harness) -> Outcome {
    let (schema, rows) = bag();
    let writing = Writing::to(harness, &[&schema]).await?;
    writing.write(&schema, &rows, WriteMode::Load).await?;
    let target = writing.table(&schema.name).await?;
    ensure(writing.sink.can_choose(&target), || "the sink cannot delete rows by what they hold".to_owned())?;
    let columns = names(&schema);
    let request = PageRequest::new(&target, &columns, &[]);
    // Two of three copies, one of two, one that differs from others in its spelling alone, and one that is not there.
    let wanted = [0, 0, 3, 5].map(|place| rows[place].clone());
    let mut copies: Vec<Row> = wanted.into_iter().chain([vec![text("none"), Value::Null, Value::Null]]).collect();
    let mut transaction = writing.begin().await?;
    ensure_eq(delete_copies(&mut *transaction, &request, &mut copies).await?, 4, "the number of rows deleted")?;
    ensure_eq(copies.len(), 1, "the number of rows that were not found")?;
    ensure_eq(delete_copies(&mut *transaction, &request, &mut copies).await?, 0, "the number of rows deleted again")?;
    transaction.commit(&none()).await?;
    let left = [1, 2, 4, 6, 7, 8, 10].map(|place| rows[place].clone());
    ensure_rows(&writing.database.rows(&schema).await?, &left, "the target")?;
    let mut transaction = writing.begin().await?;
    let mut all = left.to_vec();
    ensure_eq(delete_copies(&mut *transaction, &request, &mut all).await?, 7, "the number of rows deleted at last")?;
    transaction.rollback().await?;
    ensure_rows(&writing.database.rows(&schema).await?, &left, "the target after a rollback")
}

pub(super) async fn rows_are_chosen_page_by_page_as_the_transaction_sees_them(harness: &dyn Harness) -> Outcome {
    let schema = table("bag", &[("n", DataType::Int64), ("t", DataType::TEXT)], &[]);
    let row = |n: i64| vec![Value::Int(n % 50), text("x".repeat(100))];
    let writing = Writing::to(harness, &[&schema]).await?;
    writing.write(&schema, &(0..300).map(row).collect::<Vec<Row>>(), WriteMode::Load).await?;
    let target = writing.table(&schema.name).await?;
    let columns = names(&schema);
    let request = PageRequest::new(&target, &columns, &[]).with_limits(1_000, 7);
    let mut transaction = writing.begin().await?;
    // Behind a load that may still be on its way.
    let page = page(&target, &columns, &(300..400).map(row).collect::<Vec<Row>>())?;
    write(&mut *transaction, &target, &[], &page, WriteMode::Load).await?;
    let (mut pages, mut seen) = (0, 0);
    let mut choose = |page: &Page| {
        (pages, seen) = (pages + 1, seen + page.row_count());
        let mut chosen = Vec::new();
        for (place, row) in (0..).zip(page.rows()) {
            if matches!(row.value(0)?, Value::Int(n) if n % 2 == 1) {
                chosen.push(place);
            }
        }
        Ok(chosen)
    };
    ensure_eq(transaction.delete_chosen(&request, &mut choose).await?, 200, "the number of rows deleted")?;
    ensure_eq(seen, 400, "the number of rows that were shown")?;
    ensure(pages > 1, || "all rows came in one page".to_owned())?;
    transaction.commit(&none()).await?;
    let left: Vec<Row> = (0..400).filter(|n| n % 2 == 0).map(row).collect();
    ensure_rows(&writing.database.rows(&schema).await?, &left, "the target")
}

pub(super) async fn a_table_is_cleared_and_its_rows_counted(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(30)).await?;
    let target = writing.table(&items().name).await?;
    let mut transaction = writing.begin().await?;
    ensure_eq(transaction.clear(&target).await?, 30, "the number of rows cleared")?;
    let page = page(&target, &names(&items()), &item_rows(2))?;
    write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Load).await?;
    transaction.commit(&none()).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(2), "the target")
}
