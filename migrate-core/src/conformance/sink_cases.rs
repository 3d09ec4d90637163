//! Cases about writing rows.

use super::check::{Failure, Outcome, ensure, ensure_eq, ensure_error, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{item, item_rows, items, odd, text};
use super::work::{Writing, abandon, key_of, names, none, page, row_key, write, write_and_commit};
use crate::error::{Error, ErrorKind};
use crate::memory::table;
use crate::schema::TableSchema;
use crate::sink::Outcome::{Inserted, Skipped, Unchanged, Updated};
use crate::sink::{WriteMode, WriteRequest};
use crate::source::{PageRequest, SnapshotExt};
use crate::value::text::{parse, to_text};
use crate::value::{DataType, Encoding, Key, Page, PageBuilder, Row, Value};

pub(super) async fn a_load_writes_all_rows(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let outcomes = writing.write(&items(), &item_rows(500), WriteMode::Load).await?;
    ensure(outcomes.len() == 500 && outcomes.iter().all(|o| *o == Inserted), || {
        "a load did not say that all rows are new".to_owned()
    })?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(500), "the target")?;
    ensure_rows(&writing.read_back(&items()).await?, &item_rows(500), "the target read back by the sink")
}

pub(super) async fn a_load_writes_only_the_rows_asked_for(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    let page = page(&target, &names(&items()), &item_rows(10))?;
    let key = key_of(&items());
    for (mode, rows) in [(WriteMode::Load, [0, 3, 9]), (WriteMode::Upsert, [1, 3, 8])] {
        let mut transaction = writing.begin().await?;
        let request = WriteRequest { table: &target, key: &key, page: &page, rows: Some(&rows), mode };
        let outcomes = transaction.write(request).await?.unwrap_or_else(|| vec![Inserted; 3]);
        let expected = if mode == WriteMode::Load { [Inserted; 3] } else { [Inserted, Unchanged, Inserted] };
        ensure_eq(outcomes, expected.to_vec(), "what became of the rows asked for")?;
        transaction.commit(&none()).await?;
    }
    ensure_rows(&writing.database.rows(&items()).await?, &[1, 2, 4, 9, 10].map(item), "the target")
}

pub(super) async fn an_empty_write_does_nothing(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    for mode in [WriteMode::Load, WriteMode::Upsert, WriteMode::InsertMissing] {
        ensure_eq(writing.write(&items(), &[], mode).await?, vec![], "what became of no rows")?;
    }
    writing.begin().await?.commit(&none()).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &[], "the target")
}

pub(super) async fn an_upsert_tells_new_changed_and_equal_rows_apart(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(6)).await?;
    let changed = |id: i64| vec![Value::Int(id), text("changed"), Value::Null];
    let rows = [item(1), changed(2), item(3), item(7), changed(4), item(6), changed(8)];
    let outcomes = writing.write(&items(), &rows, WriteMode::Upsert).await?;
    let expected = vec![Unchanged, Updated, Unchanged, Inserted, Updated, Unchanged, Inserted];
    ensure_eq(outcomes, expected, "what became of each row")?;
    let expected = [item(1), changed(2), item(3), changed(4), item(5), item(6), item(7), changed(8)];
    ensure_rows(&writing.database.rows(&items()).await?, &expected, "the target")?;
    let again = writing.write(&items(), &rows, WriteMode::Upsert).await?;
    ensure_eq(again, vec![Unchanged; 7], "what became of each row the second time")
}

pub(super) async fn an_upsert_compares_to_the_letter(harness: &dyn Harness) -> Outcome {
    let number = DataType::Decimal { precision: None, scale: None };
    let columns =
        [("id", DataType::Int64), ("t", DataType::TEXT), ("f", DataType::Float64), ("d", number.clone()), ("j", DataType::Json)];
    let schema = table("letters", &columns, &["id"]);
    let decimal = |t: &str| parse(t, &number).ok_or_else(|| Failure::new("a sample decimal does not parse"));
    let row = |id: i64, t: Value<'static>, f: f64, d: Value<'static>, j: &'static str| {
        vec![Value::Int(id), t, Value::Float(f), d, Value::Json(j.into())]
    };
    let before = [
        row(1, Value::Null, 0.0, decimal("1.0")?, "{}"),
        row(2, text("a"), 0.0, decimal("1.0")?, "{}"),
        row(3, text("a"), 0.0, decimal("1.0")?, "{}"),
        row(4, text("a"), 0.0, decimal("1.0")?, "{}"),
        row(5, text("a"), 0.0, decimal("1.0")?, "{}"),
        row(6, text("a"), f64::NAN, decimal("1.0")?, "{}"),
    ];
    let after = [
        row(1, text(""), 0.0, decimal("1.0")?, "{}"),
        row(2, text("A"), 0.0, decimal("1.0")?, "{}"),
        row(3, text("a"), -0.0, decimal("1.0")?, "{}"),
        row(4, text("a"), 0.0, decimal("1.00")?, "{}"),
        row(5, text("a"), 0.0, decimal("1.0")?, "{ }"),
        row(6, text("a"), f64::NAN, decimal("1.0")?, "{}"),
    ];
    let writing = Writing::to(harness, &[&schema]).await?;
    writing.write(&schema, &before, WriteMode::Load).await?;
    let outcomes = writing.write(&schema, &after, WriteMode::Upsert).await?;
    ensure_eq(outcomes, vec![Updated, Updated, Updated, Updated, Updated, Unchanged], "what became of each row")?;
    ensure_rows(&writing.database.rows(&schema).await?, &after, "the target")
}

pub(super) async fn insert_missing_leaves_what_is_there_alone(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(3)).await?;
    let other = |id: i64| vec![Value::Int(id), text("other"), Value::Null];
    let outcomes = writing.write(&items(), &[other(1), other(4), item(2)], WriteMode::InsertMissing).await?;
    ensure_eq(outcomes, vec![Skipped, Inserted, Skipped], "what became of each row")?;
    ensure_rows(&writing.database.rows(&items()).await?, &[item(1), item(2), item(3), other(4)], "the target")
}

pub(super) async fn columns_are_matched_by_name_and_missing_ones_left_to_the_target(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &[item(1)]).await?;
    let target = writing.table(&items().name).await?;
    let columns = ["amount".to_owned(), "id".to_owned()];
    let rows = [1, 2].map(|id| vec![Value::Float(9.5), Value::Int(id)]);
    let page = page(&target, &columns, &rows)?;
    let mut transaction = writing.begin().await?;
    let outcomes = write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Upsert).await?;
    transaction.commit(&none()).await?;
    ensure_eq(outcomes, vec![Updated, Inserted], "what became of each row")?;
    let expected =
        [vec![Value::Int(1), item(1)[1].clone(), Value::Float(9.5)], vec![Value::Int(2), Value::Null, Value::Float(9.5)]];
    ensure_rows(&writing.database.rows(&items()).await?, &expected, "the target")
}

pub(super) async fn pages_of_the_adapters_own_encoding_are_taken(harness: &dyn Harness) -> Outcome {
    let mut copy = items();
    copy.name.name = "copies".to_owned();
    let writing = Writing::to(harness, &[&items(), &copy]).await?;
    writing.database.insert(&items(), &item_rows(30)).await?;
    let source = writing.sink.as_source();
    let (from, to) = (writing.table(&items().name).await?, writing.table(&copy.name).await?);
    let (columns, key) = (names(&items()), key_of(&items()));
    let pages = source.open_snapshot().await?.read_all(&PageRequest::new(&from, &columns, &key).with_limits(1 << 20, 9)).await?;
    let mut transaction = writing.begin().await?;
    for page in &pages {
        write(&mut *transaction, &to, &key, page, WriteMode::Load).await?;
    }
    transaction.commit(&none()).await?;
    let mut transaction = writing.begin().await?;
    let outcomes = write(&mut *transaction, &to, &key, &pages[0], WriteMode::Upsert).await?;
    transaction.commit(&none()).await?;
    ensure_eq(outcomes, vec![Unchanged; 9], "what became of the rows the second time")?;
    ensure_rows(&writing.database.rows(&copy).await?, &item_rows(30), "the copy")
}

/// Cells as text behind one byte, with no type of their own.
const FOREIGN: Encoding = Encoding::new("conformance", |data_type, cell| {
    let text = cell.strip_prefix(b"~").and_then(|t| std::str::from_utf8(t).ok());
    text.and_then(|t| parse(t, data_type)).ok_or_else(|| Error::new(ErrorKind::Corrupt, "a cell is not of the suite's encoding"))
});

fn foreign_page(target: &TableSchema, columns: &[String], rows: &[Row]) -> crate::Result<Page> {
    let mut builder = PageBuilder::new(page(target, columns, &[])?.columns().clone(), FOREIGN);
    for row in rows {
        builder.begin_row();
        for value in row {
            match value {
                Value::Null => builder.push_null(),
                value => builder.push_cell(format!("~{}", to_text(value)).as_bytes())?,
            }
        }
        builder.end_row();
    }
    Ok(builder.finish(None))
}

pub(super) async fn pages_of_a_foreign_encoding_are_taken(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    // Types as the target has them are decoded; where its cells are dynamic the suite's own are.
    let typed =
        if target.columns.iter().any(|c| matches!(c.data_type, DataType::Dynamic { .. })) { items() } else { target.clone() };
    let first = foreign_page(&typed, &names(&items()), &item_rows(5))?;
    let both = foreign_page(&typed, &names(&items()), &item_rows(8))?;
    let mut transaction = writing.begin().await?;
    write(&mut *transaction, &target, &key_of(&items()), &first, WriteMode::Load).await?;
    transaction.commit(&none()).await?;
    let mut transaction = writing.begin().await?;
    let outcomes = write(&mut *transaction, &target, &key_of(&items()), &both, WriteMode::Upsert).await?;
    transaction.commit(&none()).await?;
    ensure_eq(outcomes, [[Unchanged; 5].as_slice(), &[Inserted; 3]].concat(), "what became of each row")?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(8), "the target")
}

pub(super) async fn several_tables_are_written_in_one_transaction(harness: &dyn Harness) -> Outcome {
    let (odd_table, odd_rows) = odd();
    let writing = Writing::to(harness, &[&items(), &odd_table]).await?;
    let (a, b) = (writing.table(&items().name).await?, writing.table(&odd_table.name).await?);
    let mut transaction = writing.begin().await?;
    // In turn, so that a stream to one table is interrupted by the other.
    for n in 0..4usize {
        let first = page(&a, &names(&items()), &[item(n as i64 + 1)])?;
        write(&mut *transaction, &a, &key_of(&items()), &first, WriteMode::Load).await?;
        let second = page(&b, &names(&odd_table), &odd_rows[n..=n])?;
        write(&mut *transaction, &b, &key_of(&odd_table), &second, WriteMode::Load).await?;
    }
    transaction.commit(&none()).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(4), "the first table")?;
    ensure_rows(&writing.database.rows(&odd_table).await?, &odd_rows[..4], "the second table")
}

/// A table whose second column refuses NULL.
fn strict() -> TableSchema {
    let mut schema = items();
    schema.columns[1].nullable = false;
    schema
}

/// Writes rows of which the one at `bad` is refused, and checks that it is named, or else the batch blamed, and that nothing stays.
async fn refused(harness: &dyn Harness, mode: WriteMode) -> Outcome {
    let writing = Writing::to(harness, &[&strict()]).await?;
    let target = writing.table(&strict().name).await?;
    let good = |id: i64| vec![Value::Int(id), text("zebra"), Value::Null];
    let first = page(&target, &names(&strict()), &[good(1), good(2)])?;
    let second = page(&target, &names(&strict()), &[good(3), good(4), vec![Value::Int(5), Value::Null, Value::Null], good(6)])?;
    // A load counts all rows of its transaction, other writes from their own first row.
    let place = if mode == WriteMode::Load { 4 } else { 2 };
    let result = write_and_commit(&writing, &target, &key_of(&strict()), &[&first, &second], mode, &none()).await;
    let error = ensure_error(result, &[ErrorKind::RowRejected, ErrorKind::Constraint], "a row that the target refuses")?;
    if error.kind() == ErrorKind::RowRejected {
        ensure_eq(error.row(), Some(place), "the place of the refused row")?;
    }
    ensure(!format!("{error:?}").contains("zebra"), || "the error prints a cell's value".to_owned())?;
    ensure_rows(&writing.database.rows(&strict()).await?, &[], "the target")?;
    writing.write(&strict(), &[good(1)], mode).await?;
    ensure_rows(&writing.database.rows(&strict()).await?, &[good(1)], "the target, written to again")
}

pub(super) async fn a_refused_row_of_an_upsert_is_named_or_the_batch_is_blamed(harness: &dyn Harness) -> Outcome {
    refused(harness, WriteMode::Upsert).await
}

pub(super) async fn a_refused_row_of_a_load_is_named_or_the_batch_is_blamed(harness: &dyn Harness) -> Outcome {
    refused(harness, WriteMode::Load).await
}

pub(super) async fn a_key_that_is_there_refuses_a_load(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &[item(2)]).await?;
    let kinds = [ErrorKind::RowRejected, ErrorKind::Constraint];
    ensure_error(writing.write(&items(), &item_rows(3), WriteMode::Load).await, &kinds, "loading a key that is there")?;
    ensure_error(writing.write(&items(), &[item(5), item(5)], WriteMode::Load).await, &kinds, "loading a key twice")?;
    ensure_rows(&writing.database.rows(&items()).await?, &[item(2)], "the target")
}

pub(super) async fn nothing_is_seen_before_the_commit(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    let page = page(&target, &names(&items()), &item_rows(3))?;
    let mut transaction = writing.begin().await?;
    write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Upsert).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &[], "the target before the commit")?;
    transaction.commit(&none()).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(3), "the target after the commit")
}

pub(super) async fn a_rollback_leaves_nothing(harness: &dyn Harness) -> Outcome {
    for mode in [WriteMode::Load, WriteMode::Upsert] {
        let writing = Writing::to(harness, &[&items()]).await?;
        let target = writing.table(&items().name).await?;
        let page = page(&target, &names(&items()), &item_rows(3))?;
        let mut transaction = writing.begin().await?;
        write(&mut *transaction, &target, &key_of(&items()), &page, mode).await?;
        transaction.rollback().await?;
        writing.write(&items(), &[item(9)], mode).await?;
        ensure_rows(&writing.database.rows(&items()).await?, &[item(9)], "the target")?;
    }
    Ok(())
}

pub(super) async fn a_dropped_transaction_leaves_nothing(harness: &dyn Harness) -> Outcome {
    for mode in [WriteMode::Load, WriteMode::Upsert] {
        let writing = Writing::to(harness, &[&items()]).await?;
        let target = writing.table(&items().name).await?;
        let page = page(&target, &names(&items()), &item_rows(3))?;
        let mut transaction = writing.begin().await?;
        write(&mut *transaction, &target, &key_of(&items()), &page, mode).await?;
        drop(transaction);
        writing.write(&items(), &[item(9)], mode).await?;
        ensure_rows(&writing.database.rows(&items()).await?, &[item(9)], "the target")?;
    }
    Ok(())
}

pub(super) async fn an_abandoned_write_leaves_the_sink_usable(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    let target = writing.table(&items().name).await?;
    let (key, page) = (key_of(&items()), page(&target, &names(&items()), &item_rows(200))?);
    for polls in 0..6 {
        for mode in [WriteMode::Load, WriteMode::Upsert] {
            let mut transaction = writing.begin().await?;
            abandon(write(&mut *transaction, &target, &key, &page, mode), polls).await;
            drop(transaction);
        }
        abandon(writing.begin(), polls).await;
        let id = 1_000 + polls as i64;
        writing.write(&items(), &[item(id)], WriteMode::Load).await?;
    }
    ensure_rows(&writing.database.rows(&items()).await?, &(1_000..1_006).map(item).collect::<Vec<_>>(), "the target")
}

pub(super) async fn rows_are_read_by_key_as_the_transaction_sees_them(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(6)).await?;
    let (target, columns, key) = (writing.table(&items().name).await?, names(&items()), key_of(&items()));
    let changed = |id: i64| vec![Value::Int(id), text("changed"), Value::Null];
    let mut transaction = writing.begin().await?;
    let written = page(&target, &columns, &[changed(2), changed(9)])?;
    write(&mut *transaction, &target, &key, &written, WriteMode::Upsert).await?;
    let wanted: Vec<Key> = [1, 2, 7, 9].map(|id| Key::from_values(&[Value::Int(id)])).to_vec();
    let request = PageRequest::new(&target, &columns, &key);
    let found = transaction.read_rows(&request, &wanted).await?;
    ensure_rows(&rows_of([&found])?, &[item(1), changed(2), changed(9)], "the rows of the keys")?;
    ensure_eq(transaction.read_rows(&request, &[]).await?.row_count(), 0, "the rows of no keys")?;
    // The transaction goes on as if nothing had been read.
    transaction.delete(&target, &key, &wanted[..1]).await?;
    transaction.commit(&none()).await?;
    let expected = [changed(2), item(3), item(4), item(5), item(6), changed(9)];
    ensure_rows(&writing.database.rows(&items()).await?, &expected, "the target")
}

pub(super) async fn loaded_rows_are_read_back_before_the_commit(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.write(&items(), &item_rows(300), WriteMode::Load).await?;
    let (target, columns, key) = (writing.table(&items().name).await?, names(&items()), key_of(&items()));
    let mut transaction = writing.begin().await?;
    let rows: Vec<Row> = (301..=900).map(item).collect();
    for some in rows.chunks(200) {
        write(&mut *transaction, &target, &key, &page(&target, &columns, some)?, WriteMode::Load).await?;
    }
    ensure(transaction.can_read_back(&target).await?, || "a plain table cannot be read back".to_owned())?;
    let request = PageRequest::new(&target, &columns, &key).with_limits(1_000, usize::MAX);
    let mut pages = Vec::new();
    let mut take = |page: Page| {
        pages.push(page);
        Ok(())
    };
    if transaction.read_loaded(&request, &mut take).await? {
        ensure(pages.len() > 1, || "a budget of bytes is passed over".to_owned())?;
    } else {
        ensure_eq(pages.len(), 0, "pages that were handed over all the same")?;
        let keys: Vec<Key> = (301..=900).map(|id| Key::from_values(&[Value::Int(id)])).collect();
        pages.push(transaction.read_rows(&request, &keys).await?);
    }
    ensure_rows(&rows_of(&pages)?, &rows, "what was loaded")?;
    transaction.commit(&none()).await?;
    ensure_eq(writing.database.rows(&items()).await?.len(), 900, "rows after the commit")
}

pub(super) async fn keys_that_exist_are_found_as_the_transaction_sees_them(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(3)).await?;
    let target = writing.table(&items().name).await?;
    let page = page(&target, &names(&items()), &[item(7)])?;
    let keys = |ids: &[i64]| ids.iter().map(|id| Key::from_values(&[Value::Int(*id)])).collect::<Vec<Key>>();
    let mut transaction = writing.begin().await?;
    write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Load).await?;
    transaction.delete(&target, &key_of(&items()), &keys(&[2])).await?;
    let found = transaction.existing(&target, &key_of(&items()), &keys(&[1, 2, 3, 4, 7, i64::MIN, i64::MAX])).await?;
    ensure_eq(found, keys(&[1, 3, 7]).into_iter().collect(), "the keys that exist")?;
    let (column, name) = (["name".to_owned()], &item(3)[1]);
    let names = [Key::from_values(std::slice::from_ref(name)), Key::from_values(&[text("nobody")])];
    let found = transaction.existing(&target, &column, &names).await?;
    ensure_eq(found, [names[0].clone()].into_iter().collect(), "the names that exist")?;
    ensure(transaction.existing(&target, &column, &[]).await?.is_empty(), || "none of no keys exists".to_owned())?;
    transaction.rollback().await?;
    Ok(())
}

pub(super) async fn a_large_cell_is_written(harness: &dyn Harness) -> Outcome {
    let schema = table("blobs", &[("id", DataType::Int64), ("t", DataType::TEXT), ("b", DataType::Bytes)], &["id"]);
    let writing = Writing::to(harness, &[&schema]).await?;
    let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let row = |id: i64| vec![Value::Int(id), text("é\\\n".repeat(1_000_000)), Value::Bytes(bytes.clone().into())];
    writing.write(&schema, &[row(1)], WriteMode::Load).await?;
    let outcomes = writing.write(&schema, &[row(1), row(2)], WriteMode::Upsert).await?;
    ensure_eq(outcomes, vec![Unchanged, Inserted], "what became of each row")?;
    let found = writing.database.rows(&schema).await?;
    ensure(found.len() == 2 && found.iter().all(|r| r[1..] == row(0)[1..]), || {
        "a large cell came back changed, or not at all".to_owned()
    })
}

pub(super) async fn odd_names_are_written(harness: &dyn Harness) -> Outcome {
    let (schema, rows) = odd();
    let writing = Writing::to(harness, &[&schema]).await?;
    let target = writing.table(&schema.name).await?;
    writing.sink.check_writable(&target).await?;
    writing.write(&schema, &rows[..3], WriteMode::Load).await?;
    ensure_eq(
        writing.write(&schema, &rows, WriteMode::Upsert).await?,
        [[Unchanged; 3].as_slice(), &[Inserted; 2]].concat(),
        "what became of each row",
    )?;
    ensure_eq(writing.write(&schema, &rows, WriteMode::InsertMissing).await?, vec![Skipped; 5], "what became of each row")?;
    let mut transaction = writing.begin().await?;
    ensure_eq(
        transaction.delete(&target, &key_of(&schema), &[row_key(&schema, &rows[0])]).await?,
        1,
        "the number of rows deleted",
    )?;
    transaction.commit(&none()).await?;
    ensure_rows(&writing.database.rows(&schema).await?, &rows[1..], "the target")
}

pub(super) async fn a_table_without_a_key_is_loaded(harness: &dyn Harness) -> Outcome {
    let schema = table("bag", &[("name", DataType::TEXT), ("n", DataType::Int64)], &[]);
    let rows: Vec<Row> = (0..20).map(|n| vec![if n % 5 == 0 { Value::Null } else { text("same") }, Value::Int(n % 3)]).collect();
    let writing = Writing::to(harness, &[&schema]).await?;
    writing.write(&schema, &rows, WriteMode::Load).await?;
    ensure_rows(&writing.database.rows(&schema).await?, &rows, "the target, equal rows included")
}

pub(super) async fn two_transactions_write_at_once(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    ensure(writing.sink.capabilities().writers > 1, || {
        "the harness says that transactions write at once, the sink that they queue".to_owned()
    })?;
    let target = writing.table(&items().name).await?;
    let (mut one, mut two) = (writing.begin().await?, writing.begin().await?);
    for id in 1..=6 {
        let page = page(&target, &names(&items()), &[item(id)])?;
        let transaction = if id % 2 == 0 { &mut one } else { &mut two };
        write(&mut **transaction, &target, &key_of(&items()), &page, WriteMode::Load).await?;
    }
    two.commit(&super::work::checkpoint(super::work::scope("two"), 1)).await?;
    one.commit(&super::work::checkpoint(super::work::scope("one"), 1)).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(6), "the target")
}
