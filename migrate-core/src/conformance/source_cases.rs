//! Cases about reading.

use super::check::{Outcome, canonical_bytes, ensure, ensure_eq, ensure_error, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{item, item_rows, items, odd, text, values};
use super::work::{Reading, abandon, find, key_of, logical, names, row_key};
use crate::error::ErrorKind;
use crate::memory::table;
use crate::schema::TableName;
use crate::source::{PageRequest, Snapshot, SnapshotExt};
use crate::value::{DataType, Row, Value};
use std::collections::HashSet;

pub(super) async fn the_schema_names_tables_columns_and_keys(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &[]).await?;
    let schema = reading.source.schema().await?;
    ensure_eq(schema.engine.as_str(), reading.source.name(), "the engine is the source's name")?;
    let found = find(&schema, &items().name)?;
    ensure_eq(names(found), names(&items()), "the columns in order")?;
    ensure_eq(key_of(found), key_of(&items()), "the primary key")?;
    let nullable: Vec<bool> = found.columns.iter().map(|c| c.nullable).collect();
    ensure_eq(&nullable[1..], &[true, true][..], "the columns that allow NULL")
}

pub(super) async fn the_identity_is_the_same_for_the_same_database_only(harness: &dyn Harness) -> Outcome {
    let (one, two) = (harness.database().await?, harness.database().await?);
    let identity = one.source().await?.identity().await?;
    ensure_eq(one.source().await?.identity().await?, identity.clone(), "the identity of the same database")?;
    ensure(two.source().await?.identity().await? != identity, || "two databases have one identity".to_owned())
}

pub(super) async fn a_readable_table_is_said_to_be_readable(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(1)).await?;
    Ok(reading.source.check_readable(&reading.table).await?)
}

pub(super) async fn a_page_holds_no_more_rows_than_asked_for(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(25)).await?;
    for max_rows in [1, 7, 25, 26] {
        let pages = reading.snapshot().await?.read_all(&reading.request().with_limits(1 << 20, max_rows)).await?;
        ensure(pages.iter().all(|p| p.row_count() <= max_rows), || format!("a page holds more than {max_rows} rows"))?;
        ensure_rows(&rows_of(&pages)?, &item_rows(25), "all rows")?;
    }
    Ok(())
}

pub(super) async fn a_page_ends_at_its_budget_of_bytes(harness: &dyn Harness) -> Outcome {
    let row = |id: i64| vec![Value::Int(id), text("x".repeat(1_000)), Value::Null];
    let rows: Vec<Row> = (1..=40).map(row).collect();
    let reading = Reading::of(harness, &items(), &rows).await?;
    let budget = 8_000;
    let pages = reading.snapshot().await?.read_all(&reading.request().with_limits(budget, usize::MAX)).await?;
    for page in &pages {
        let before_last: usize = page.rows().take(page.row_count().saturating_sub(1)).map(|r| r.data().len()).sum();
        ensure(before_last < budget, || format!("a row was added to a page that held {before_last} bytes of {budget}"))?;
    }
    ensure(pages.len() >= 4, || format!("40,000 bytes came in {} pages of {budget}", pages.len()))?;
    ensure_rows(&rows_of(&pages)?, &rows, "all rows")
}

pub(super) async fn only_the_last_page_has_no_next_key_and_all_others_have_their_last_rows(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(20)).await?;
    let mut snapshot = reading.snapshot().await?;
    let mut request = reading.request().with_limits(1 << 20, 6);
    let mut seen = 0;
    loop {
        let page = snapshot.read_page(&request).await?;
        seen += page.row_count();
        let Some(next) = page.next.clone() else { break };
        ensure(!page.is_empty(), || "an empty page says that rows follow".to_owned())?;
        let last = rows_of([&page])?.pop().unwrap_or_default();
        ensure(next == row_key(&items(), &last), || "the next key is not the last row's".to_owned())?;
        request.range.after = Some(next);
    }
    ensure_eq(seen, 20, "the number of rows")
}

pub(super) async fn columns_come_in_the_order_asked_for(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(2)).await?;
    let columns = ["amount".to_owned(), "id".to_owned()];
    let request = PageRequest::new(&reading.table, &columns, &reading.key);
    let pages = reading.snapshot().await?.read_all(&request).await?;
    let found: Vec<String> = pages[0].columns().iter().map(|c| c.name.clone()).collect();
    ensure_eq(found, columns.to_vec(), "the columns of the page")?;
    let expected: Vec<Row> = item_rows(2).into_iter().map(|r| vec![r[2].clone(), r[0].clone()]).collect();
    ensure_rows(&rows_of(&pages)?, &expected, "the cells asked for")
}

pub(super) async fn an_empty_table_gives_one_empty_page(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &[]).await?;
    let mut snapshot = reading.snapshot().await?;
    let page = snapshot.read_page(&reading.request()).await?;
    ensure(page.is_empty() && page.next.is_none(), || "an empty table gives rows or says that some follow".to_owned())?;
    ensure_eq(page.columns().len(), 3, "the columns of an empty page")?;
    ensure_eq(snapshot.count_rows(&reading.table, None).await?, 0, "the number of rows")
}

pub(super) async fn a_row_larger_than_a_page_comes_whole(harness: &dyn Harness) -> Outcome {
    let large = |id: i64| vec![Value::Int(id), text("ü".repeat(1_500_000)), Value::Null];
    let rows = vec![item(1), large(2), item(3), large(4), large(5)];
    let reading = Reading::of(harness, &items(), &rows).await?;
    let pages = reading.snapshot().await?.read_all(&reading.request().with_limits(1_024, 100)).await?;
    for page in &pages {
        let sizes: Vec<usize> = page.rows().map(|r| r.data().len()).collect();
        let before_last: usize = sizes.iter().rev().skip(1).sum();
        ensure(before_last < 1_024, || format!("a page of rows of {sizes:?} bytes where 1,024 were asked for"))?;
    }
    ensure(
        rows_of(&pages)?.iter().map(|r| canonical_bytes(r)).collect::<HashSet<_>>()
            == rows.iter().map(|r| canonical_bytes(r)).collect(),
        || "a large cell came back changed, or not at all".to_owned(),
    )
}

pub(super) async fn a_table_without_a_key_is_read_in_one_go(harness: &dyn Harness) -> Outcome {
    let schema = table("bag", &[("name", DataType::TEXT), ("n", DataType::Int64)], &[]);
    let rows: Vec<Row> = (0..20).map(|n| vec![if n % 5 == 0 { Value::Null } else { text("same") }, Value::Int(n % 3)]).collect();
    let reading = Reading::of(harness, &schema, &rows).await?;
    let mut snapshot = reading.snapshot().await?;
    let pages = snapshot.read_all(&reading.request().with_limits(1 << 20, 6)).await?;
    ensure(pages.len() >= 4, || "a page holds more rows than asked for".to_owned())?;
    ensure_rows(&rows_of(&pages)?, &rows, "all rows, equal ones included")?;
    // From the start once more, in the same view.
    ensure_rows(&rows_of(&snapshot.read_all(&reading.request()).await?)?, &rows, "all rows again")
}

pub(super) async fn odd_names_are_read(harness: &dyn Harness) -> Outcome {
    let (schema, rows) = odd();
    let reading = Reading::of(harness, &schema, &rows).await?;
    let mut snapshot = reading.snapshot().await?;
    ensure_rows(&rows_of(&snapshot.read_all(&reading.request().with_limits(1 << 20, 2)).await?)?, &rows, "all rows")?;
    ensure_eq(snapshot.count_rows(&reading.table, None).await?, 5, "the number of rows")?;
    let found = snapshot.read_rows(&reading.request(), &[row_key(&schema, &rows[3])]).await?;
    ensure_rows(&rows_of([&found])?, &rows[3..4], "the row of one key")?;
    Ok(reading.source.check_readable(&reading.table).await?)
}

pub(super) async fn a_snapshot_never_sees_what_is_written_after_it_was_opened(harness: &dyn Harness) -> Outcome {
    let rows = item_rows(20);
    let reading = Reading::of(harness, &items(), &rows).await?;
    // One is read from before the change, the other only after it.
    let (mut begun, mut fresh) = (reading.snapshot().await?, reading.snapshot().await?);
    let mut request = reading.request().with_limits(1 << 20, 5);
    let first = begun.read_page(&request).await?;
    reading.database.delete_all(&items().name).await?;
    reading
        .database
        .insert(&items(), &(15..=60).map(|n| vec![Value::Int(n), text("changed"), Value::Null]).collect::<Vec<_>>())
        .await?;
    request.range.after.clone_from(&first.next);
    let mut pages = vec![first];
    pages.extend(begun.read_all(&request).await?);
    ensure_rows(&rows_of(&pages)?, &rows, "a read that had begun before the change")?;
    ensure_rows(&rows_of(&fresh.read_all(&reading.request()).await?)?, &rows, "a snapshot opened before the change")?;
    ensure_eq(fresh.count_rows(&reading.table, None).await?, 20, "the count in a snapshot opened before the change")?;
    let later = reading.snapshot().await?.count_rows(&reading.table, None).await?;
    ensure_eq(later, 46, "the count in a snapshot opened after the change")
}

pub(super) async fn a_fork_sees_the_same_view(harness: &dyn Harness) -> Outcome {
    let rows = item_rows(10);
    let reading = Reading::of(harness, &items(), &rows).await?;
    ensure(reading.source.capabilities().readers > 1, || {
        "the harness says that snapshots fork, the source that they have one reader".to_owned()
    })?;
    let mut snapshot = reading.snapshot().await?;
    reading.database.delete_all(&items().name).await?;
    let mut fork = snapshot.fork().await?;
    ensure_eq(fork.position(), snapshot.position(), "the position of a fork")?;
    ensure_rows(&rows_of(&fork.read_all(&reading.request()).await?)?, &rows, "the fork's view")?;
    ensure_rows(&rows_of(&snapshot.read_all(&reading.request()).await?)?, &rows, "the first reader's view")
}

pub(super) async fn rows_are_counted(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(123)).await?;
    ensure_eq(reading.snapshot().await?.count_rows(&reading.table, None).await?, 123, "the number of rows")
}

pub(super) async fn an_abandoned_read_leaves_the_next_one_right(harness: &dyn Harness) -> Outcome {
    let rows = item_rows(40);
    let reading = Reading::of(harness, &items(), &rows).await?;
    for polls in 0..6 {
        let mut snapshot = reading.snapshot().await?;
        let mut request = reading.request().with_limits(1 << 20, 10);
        let first = snapshot.read_page(&request).await?;
        request.range.after.clone_from(&first.next);
        abandon(snapshot.read_page(&request), polls).await;
        abandon(snapshot.count_rows(&reading.table, None), polls).await;
        let mut pages = vec![first];
        pages.extend(snapshot.read_all(&request).await?);
        ensure_rows(&rows_of(&pages)?, &rows, &format!("rows after reads abandoned at poll {polls}"))?;
    }
    Ok(())
}

pub(super) async fn a_table_that_does_not_exist_is_a_schema_error(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(2)).await?;
    let mut missing = reading.table.clone();
    missing.name = TableName { name: "missing".to_owned(), ..missing.name };
    let request = PageRequest::new(&missing, &reading.columns, &reading.key);
    let kinds = [ErrorKind::Schema, ErrorKind::NotFound];
    ensure_error(reading.snapshot().await?.read_page(&request).await, &kinds, "reading a table that does not exist")?;
    ensure_error(reading.snapshot().await?.count_rows(&missing, None).await, &kinds, "counting a table that does not exist")?;
    let columns = ["id".to_owned(), "missing".to_owned()];
    let request = PageRequest::new(&reading.table, &columns, &reading.key);
    ensure_error(reading.snapshot().await?.read_page(&request).await, &kinds, "reading a column that does not exist")?;
    Ok(())
}

pub(super) async fn every_value_is_read_as_it_was_written(harness: &dyn Harness) -> Outcome {
    let database = harness.database().await?;
    let samples = values();
    let tables: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(n, (data_type, _))| table(&format!("sample {n}"), &[("id", DataType::Int64), ("v", data_type.clone())], &["id"]))
        .collect();
    let rows = |values: &[Value<'static>]| -> Vec<Row> {
        values.iter().cloned().chain([Value::Null]).zip(0..).map(|(v, n)| vec![Value::Int(n), v]).collect()
    };
    for (schema, (_, values)) in tables.iter().zip(&samples) {
        database.create_table(schema).await?;
        database.insert(schema, &rows(values)).await?;
    }
    let source = database.source().await?;
    let found = source.schema().await?;
    let mut snapshot: Box<dyn Snapshot> = source.open_snapshot().await?;
    for (schema, (data_type, values)) in tables.iter().zip(&samples) {
        let (columns, key) = (names(schema), key_of(schema));
        let pages = snapshot.read_all(&PageRequest::new(find(&found, &schema.name)?, &columns, &key)).await?;
        ensure_rows(&logical(&schema.columns, &pages)?, &rows(values), &format!("values of type {data_type}"))?;
    }
    Ok(())
}

pub(super) async fn null_and_empty_stay_apart_when_read(harness: &dyn Harness) -> Outcome {
    let schema = table("blanks", &[("id", DataType::Int64), ("t", DataType::TEXT), ("b", DataType::Bytes)], &["id"]);
    let empty = || [text(""), Value::Bytes(Vec::new().into())];
    let rows = vec![
        [vec![Value::Int(1)], empty().to_vec()].concat(),
        vec![Value::Int(2), Value::Null, Value::Null],
        vec![Value::Int(3), text("NULL"), Value::Bytes(b"NULL".to_vec().into())],
    ];
    let reading = Reading::of(harness, &schema, &rows).await?;
    ensure_rows(&rows_of(&reading.snapshot().await?.read_all(&reading.request()).await?)?, &rows, "all rows")
}
