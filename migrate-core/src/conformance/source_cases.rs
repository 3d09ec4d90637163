//! Cases about reading.

use super::check::{Failure, Outcome, canonical_bytes, ensure, ensure_eq, ensure_error, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{item, item_rows, items, keyed, odd, text, values};
use super::work::{Reading, abandon, find, key_of, names, row_key};
use crate::error::{ErrorKind, Result};
use crate::expression::Expression;
use crate::filter::{Filter, Parameter};
use crate::memory::table;
use crate::schema::{Computed, TableName};
use crate::source::{OrphanRequest, PageRequest, RangeDigest, Since, Snapshot, SnapshotExt};
use crate::value::conform::conform;
use crate::value::{DataType, Key, KeyRange, Page, Row, Value};
use std::collections::{BTreeMap, HashSet};

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

/// The keys of all rows in the source's own order.
async fn keys_in_order(reading: &Reading) -> Result<Vec<Key>> {
    let pages = reading.snapshot().await?.read_all(&reading.request().with_limits(1 << 20, 1)).await?;
    Ok(rows_of(&pages)?.iter().map(|row| row_key(&reading.table, row)).collect())
}

async fn rows_in(reading: &Reading, after: Option<&Key>, up_to: Option<&Key>) -> Result<Vec<Row>> {
    let range = KeyRange { after: after.cloned(), up_to: up_to.cloned() };
    rows_of(&reading.snapshot().await?.read_all(&reading.request().with_range(range).with_limits(1 << 20, 3)).await?)
}

pub(super) async fn a_range_leaves_out_its_start_and_takes_in_its_end(harness: &dyn Harness) -> Outcome {
    let rows: Vec<Row> = (1..=20).map(|n| item(n * 10)).collect();
    let reading = Reading::of(harness, &items(), &rows).await?;
    let keys = keys_in_order(&reading).await?;
    for (after, up_to) in [
        (None, None),
        (None, Some(4)),
        (Some(4), None),
        (Some(4), Some(13)),
        (Some(4), Some(5)),
        (Some(19), None),
        (Some(4), Some(4)),
    ] {
        let found = rows_in(&reading, after.map(|i: usize| &keys[i]), up_to.map(|i: usize| &keys[i])).await?;
        let found: Vec<Key> = found.iter().map(|row| row_key(&items(), row)).collect();
        let expected = keys[after.map_or(0, |i| i + 1)..up_to.map_or(20, |i| i + 1)].to_vec();
        ensure(found == expected, || format!("the range after row {after:?} up to row {up_to:?} has {} rows", found.len()))?;
    }
    Ok(())
}

pub(super) async fn ranges_cut_at_keys_that_do_not_exist_cover_every_row_once(harness: &dyn Harness) -> Outcome {
    let rows: Vec<Row> = (-5..=20).map(|n| item(n * 10)).collect();
    let reading = Reading::of(harness, &items(), &rows).await?;
    for cut in [-55, -15, 0, 5, 35, 1_000] {
        let cut = Key::from_values(&[Value::Int(cut)]);
        let mut found = rows_in(&reading, None, Some(&cut)).await?;
        found.extend(rows_in(&reading, Some(&cut), None).await?);
        ensure_rows(&found, &rows, "both sides of a cut")?;
    }
    Ok(())
}

pub(super) async fn ranges_cut_by_split_keys_cover_every_row_once(harness: &dyn Harness) -> Outcome {
    let rows = item_rows(100);
    let reading = Reading::of(harness, &items(), &rows).await?;
    for parts in [1, 2, 5] {
        let cuts = reading.snapshot().await?.split_keys(&reading.request(), parts).await?;
        ensure(cuts.len() < parts, || format!("{} cuts for {parts} parts", cuts.len()))?;
        let starts = std::iter::once(None).chain(cuts.iter().map(Some));
        let mut found = Vec::new();
        for (after, up_to) in starts.zip(cuts.iter().map(Some).chain([None])) {
            found.extend(rows_in(&reading, after, up_to).await?);
        }
        ensure_rows(&found, &rows, "all parts")?;
    }
    Ok(())
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

/// Reads a table page by page, once in one go and once with a new snapshot for every page, and checks that every key comes once.
async fn keys_come_once_each(harness: &dyn Harness, types: &[DataType], keys: &[Vec<Value<'static>>]) -> Outcome {
    let (schema, rows) = keyed(types, keys);
    let reading = Reading::of(harness, &schema, &rows).await?;
    let request = reading.request().with_limits(1 << 20, 2);
    let in_one_go = logical(&schema.columns, &reading.snapshot().await?.read_all(&request).await?)?;
    ensure_rows(&in_one_go, &rows, "rows read in one go")?;
    let mut piecewise = Vec::new();
    let mut request = request.clone();
    loop {
        let page = reading.snapshot().await?.read_page(&request).await?;
        piecewise.extend(logical(&schema.columns, [&page])?);
        match page.next {
            Some(next) => request.range.after = Some(next),
            None => break,
        }
        ensure(piecewise.len() <= rows.len(), || "pages repeat rows".to_owned())?;
    }
    ensure(piecewise.iter().map(|r| canonical_bytes(r)).eq(in_one_go.iter().map(|r| canonical_bytes(r))), || {
        format!(
            "{} rows came in another order, or not all of {}, with a new snapshot for every page",
            piecewise.len(),
            rows.len()
        )
    })
}

/// The rows of pages, each cell conformed to the type of the sample's column: sources with dynamic cells give other kinds.
fn logical<'p>(
    columns: &[crate::schema::ColumnSchema],
    pages: impl IntoIterator<Item = &'p Page>,
) -> std::result::Result<Vec<Row>, Failure> {
    rows_of(pages)?
        .into_iter()
        .map(|row| {
            let cells = row.into_iter().zip(columns);
            cells.map(|(v, c)| conform(v, &c.data_type).map_err(|e| Failure::new(format!("column {}: {e}", c.name)))).collect()
        })
        .collect()
}

pub(super) async fn integer_keys_around_zero_come_once_each(harness: &dyn Harness) -> Outcome {
    let keys = [0, 1, -1, 2, -2, 10, -10, 255, 256, i64::MAX, i64::MIN, i64::MIN + 1, 1 << 53, (1 << 53) + 1];
    keys_come_once_each(harness, &[DataType::Int64], &keys.map(|k| vec![Value::Int(k)])).await
}

pub(super) async fn text_keys_of_any_kind_come_once_each(harness: &dyn Harness) -> Outcome {
    let keys = [
        "",
        " ",
        "  ",
        "a",
        "A",
        "b",
        "B",
        "ab",
        "aB",
        "a b",
        "a-b",
        "ä",
        "Ä",
        "a\u{308}",
        "z",
        "Z",
        "é",
        "ß",
        "ss",
        "'",
        "''",
        "\"",
        "\\",
        "%",
        "_",
        "0",
        "00",
        "1",
        "10",
        "2",
        "東京",
        "🚀",
        "\u{1}",
        "\n",
        "\t",
        "NULL",
        "\u{10ffff}",
        "e\u{301}",
    ];
    keys_come_once_each(harness, &[DataType::TEXT], &keys.map(|k| vec![text(k)])).await
}

pub(super) async fn uuid_keys_come_once_each(harness: &dyn Harness) -> Outcome {
    let keys: Vec<_> = (0..=8u8).map(|n| [n.wrapping_mul(37); 16]).chain([[0xff; 16]]).map(|u| vec![Value::Uuid(u)]).collect();
    keys_come_once_each(harness, &[DataType::Uuid], &keys).await
}

pub(super) async fn timestamp_keys_come_once_each(harness: &dyn Harness) -> Outcome {
    let micros =
        [0, 1, -1, 100, 120_000, 1_000_000, 86_400_000_000, -86_400_000_001, 252_455_616_000_000_000, 700_000_000_000_000];
    let zoned = DataType::TimestampTz { precision: None };
    keys_come_once_each(harness, &[zoned], &micros.map(|t| vec![Value::TimestampTz(t)])).await?;
    keys_come_once_each(harness, &[DataType::Timestamp { precision: None }], &micros.map(|t| vec![Value::Timestamp(t)])).await
}

pub(super) async fn composite_keys_come_once_each(harness: &dyn Harness) -> Outcome {
    let mut keys = Vec::new();
    for a in [-1, 0, 1, 10] {
        for b in ["", "a", "B", "a b"] {
            for c in [i64::MIN, 0, 7] {
                keys.push(vec![Value::Int(a), text(b), Value::Int(c)]);
            }
        }
    }
    keys_come_once_each(harness, &[DataType::Int32, DataType::TEXT, DataType::Int64], &keys).await
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

pub(super) async fn rows_are_read_by_key(harness: &dyn Harness) -> Outcome {
    let rows: Vec<Row> = (1..=50).map(|n| item(n * 2)).collect();
    let reading = Reading::of(harness, &items(), &rows).await?;
    let mut snapshot = reading.snapshot().await?;
    let keys: Vec<Key> = [2, 3, 100, 101, -4, 50].map(|id| Key::from_values(&[Value::Int(id)])).to_vec();
    let page = snapshot.read_rows(&reading.request(), &keys).await?;
    ensure(page.next.is_none(), || "rows read by key have a next key".to_owned())?;
    ensure_rows(&rows_of([&page])?, &[item(2), item(100), item(50)], "the rows of keys that exist")?;
    let none = snapshot.read_rows(&reading.request(), &[]).await?;
    ensure_eq(none.row_count(), 0, "the rows of no keys")?;
    // More keys than a statement takes parameters.
    let many: Vec<Key> = (1..=70_000).map(|id| Key::from_values(&[Value::Int(id)])).collect();
    ensure_rows(&rows_of([&snapshot.read_rows(&reading.request(), &many).await?])?, &rows, "the rows of 70,000 keys")
}

pub(super) async fn rows_are_read_by_text_and_composite_keys(harness: &dyn Harness) -> Outcome {
    let keys: Vec<Vec<Value<'static>>> =
        ["", "a", "A", "it's", "東京"].iter().flat_map(|t| [-1, 0].map(|n| vec![text(*t), Value::Int(n)])).collect();
    let (schema, rows) = keyed(&[DataType::TEXT, DataType::Int64], &keys);
    let reading = Reading::of(harness, &schema, &rows).await?;
    let mut wanted: Vec<Key> = [0, 3, 7].map(|i: usize| row_key(&schema, &rows[i])).to_vec();
    wanted.push(Key::from_values(&[text("missing"), Value::Int(0)]));
    let page = reading.snapshot().await?.read_rows(&reading.request(), &wanted).await?;
    ensure_rows(
        &logical(&schema.columns, [&page])?,
        &[rows[0].clone(), rows[3].clone(), rows[7].clone()],
        "the rows of keys that exist",
    )
}

pub(super) async fn rows_are_counted(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(123)).await?;
    ensure_eq(reading.snapshot().await?.count_rows(&reading.table, None).await?, 123, "the number of rows")
}

pub(super) async fn rows_are_counted_and_read_under_a_filter_with_parameters(harness: &dyn Harness) -> Outcome {
    let schema = table("items", &[("id", DataType::Int64), ("kind", DataType::TEXT)], &["id"]);
    let rows: Vec<Row> = (1..=30).map(|n| vec![Value::Int(n), text(if n % 2 == 0 { "it's" } else { "odd" })]).collect();
    let reading = Reading::of(harness, &schema, &rows).await?;
    let parameters = BTreeMap::from([
        ("max".to_owned(), Parameter::Int(11)),
        ("kind".to_owned(), Parameter::Text("it's".to_owned())),
        ("unused".to_owned(), Parameter::Bool(true)),
    ]);
    let filter = Filter::parse("\"id\" < :max AND \"kind\" = :kind AND \"id\" <> :max", &parameters)?;
    let expected: Vec<Row> = rows.iter().filter(|r| matches!(r[0], Value::Int(n) if n < 11 && n % 2 == 0)).cloned().collect();
    let mut snapshot = reading.snapshot().await?;
    ensure_eq(snapshot.count_rows(&reading.table, Some(&filter)).await?, 5, "the number of rows under the filter")?;
    let request = reading.request().with_filter(Some(&filter)).with_limits(1 << 20, 2);
    ensure_rows(&rows_of(&snapshot.read_all(&request).await?)?, &expected, "the rows under the filter")?;
    let keys: Vec<Key> = rows.iter().map(|r| row_key(&schema, r)).collect();
    ensure_rows(&rows_of([&snapshot.read_rows(&request, &keys).await?])?, &expected, "the rows of all keys under the filter")
}

pub(super) async fn columns_that_expressions_make_are_read_as_others_are(harness: &dyn Harness) -> Outcome {
    let mut reading = Reading::of(harness, &items(), &item_rows(30)).await?;
    ensure(reading.source.capabilities().expressions, || "the source does not say that it evaluates expressions".to_owned())?;
    let word = |value: Parameter| BTreeMap::from([("word".to_owned(), value)]);
    let it_is = || text("it's");
    let expressions = [
        // A comment at its end ends with it.
        ("made".to_owned(), Expression::parse("\"name\" -- as it is", &BTreeMap::new())?),
        ("said".to_owned(), Expression::parse(":word", &word(Parameter::Text("it's".to_owned())))?),
    ];
    let columns = reading.source.describe(&reading.table, &expressions).await?;
    ensure_eq(columns.iter().map(|c| c.name.as_str()).collect(), vec!["made", "said"], "the columns that are made")?;
    let computed = columns.into_iter().zip(expressions);
    reading.table.computed =
        computed.map(|(column, (made, expression))| Computed { column, made, expression, pure: true }).collect();
    let columns = ["said", "id", "made", "amount"].map(str::to_owned);
    let request = PageRequest::new(&reading.table, &columns, &reading.key).with_limits(1 << 20, 7);
    let expected = |rows: Vec<Row>| -> Vec<Row> {
        rows.into_iter().map(|r| vec![it_is(), r[0].clone(), r[1].clone(), r[2].clone()]).collect()
    };
    let mut snapshot = reading.snapshot().await?;
    ensure_rows(&rows_of(&snapshot.read_all(&request).await?)?, &expected(item_rows(30)), "all rows")?;
    // The filter has a parameter of the same name, and another value.
    let filter = Filter::parse("\"id\" <= :word", &word(Parameter::Int(10)))?;
    let request = request.with_filter(Some(&filter));
    ensure_rows(&rows_of(&snapshot.read_all(&request).await?)?, &expected(item_rows(10)), "the rows under a filter")?;
    let keys = [3, 8, 20].map(|id| row_key(&items(), &item(id)));
    let found = rows_of([&snapshot.read_rows(&request, &keys).await?])?;
    ensure_rows(&found, &expected(vec![item(3), item(8)]), "rows by key")
}

pub(super) async fn what_is_no_expression_of_one_row_is_refused(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(3)).await?;
    for sql in ["\"nothing\"", "count(*)", "SELECT 1", "\"id\", \"name\"", "\"id\" AS x", "-- nothing"] {
        let wanted = [("made".to_owned(), Expression::parse(sql, &BTreeMap::new())?)];
        let kinds = [ErrorKind::Config, ErrorKind::Schema, ErrorKind::NotFound, ErrorKind::Unsupported];
        let error = ensure_error(reading.source.describe(&reading.table, &wanted).await, &kinds, sql)?;
        let named = error.context().iter().any(|(name, object)| *name == "column" && object == "made");
        ensure(named, || format!("the refusal of {sql} does not name the column: {error}"))?;
    }
    Ok(())
}

pub(super) async fn rows_that_changed_since_a_landmark_are_named(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(40)).await?;
    let mut snapshot = reading.snapshot().await?;
    let first = snapshot.survey(&reading.request(), None).await?;
    ensure(first.since != Since::Known, || "changes are known since nothing".to_owned())?;
    let landmark = first.landmark.ok_or_else(|| Failure::new("there is no landmark".to_owned()))?;
    let unknown = snapshot.survey(&reading.request(), Some("no landmark")).await?.since;
    ensure(matches!(unknown, Since::Unknown(_)), || "a text that is no landmark is taken for one".to_owned())?;
    let before = snapshot.read_keys(&reading.request(), &landmark).await?;
    reading.database.insert(&items(), &[item(41), item(42)]).await?;
    let mut later = reading.snapshot().await?;
    let survey = later.survey(&reading.request(), Some(&landmark)).await?;
    ensure_eq(survey.since, Since::Known, "what is known since the landmark")?;
    let after = later.read_keys(&reading.request(), &landmark).await?;
    ensure_eq((before.keys.len(), after.keys.len(), &after.next), (40, 42, &None), "the keys of both snapshots")?;
    ensure_eq(after.fresh.len(), 42, "one answer for each key")?;
    let fresh: HashSet<&Key> = after.keys.iter().zip(&after.fresh).filter(|(_, fresh)| **fresh).map(|(key, _)| key).collect();
    for id in [41, 42] {
        let key = row_key(&items(), &item(id));
        ensure(fresh.contains(&key), || format!("the new row {id} is not named"))?;
    }
    // A part at a time, and in order.
    let (mut request, mut keys) = (reading.request().with_limits(usize::MAX, 5), Vec::new());
    loop {
        let page = later.read_keys(&request, &landmark).await?;
        ensure(page.keys.len() <= 5, || "more keys than asked for".to_owned())?;
        keys.extend(page.keys);
        match page.next {
            Some(next) => request.range.after = Some(next),
            None => break,
        }
    }
    ensure_eq(keys, after.keys, "the keys read in parts")
}

pub(super) async fn digests_of_ranges_tell_whether_their_rows_are_the_same(harness: &dyn Harness) -> Outcome {
    let schema = table("items", &[("id", DataType::Int64), ("code", DataType::TEXT), ("note", DataType::TEXT)], &["id"]);
    let row = |id: i64, code: &str, note: Option<&str>| -> Row {
        vec![Value::Int(id), text(code.to_owned()), note.map_or(Value::Null, |note| text(note.to_owned()))]
    };
    let rows = |change: &dyn Fn(i64) -> Option<Row>| -> Vec<Row> { (1..=40).filter_map(change).collect() };
    let same = |id: i64| Some(row(id, &format!("code {id}"), (id % 2 == 0).then_some("")));
    let mut before: Option<Vec<RangeDigest>> = None;
    for (what, content, differ) in [
        ("what it was", rows(&same), vec![]),
        ("written in another order", rows(&same).into_iter().rev().collect(), vec![]),
        ("one cell", rows(&|id| if id == 15 { Some(row(15, "code  15", None)) } else { same(id) }), vec![1]),
        ("NULL and empty", rows(&|id| if id == 16 { Some(row(16, "code 16", None)) } else { same(id) }), vec![1]),
        ("one row less", rows(&|id| if id == 30 { None } else { same(id) }), vec![2]),
        (
            "cells that changed places between rows",
            rows(&|id| match id {
                3 => Some(row(3, "code 5", None)),
                5 => Some(row(5, "code 3", None)),
                id => same(id),
            }),
            vec![0],
        ),
        (
            "cells that changed places in a row",
            rows(&|id| if id == 2 { Some(row(2, "", Some("code 2"))) } else { same(id) }),
            vec![0],
        ),
    ] {
        let reading = Reading::of(harness, &schema, &content).await?;
        let mut snapshot = reading.snapshot().await?;
        let key = |id: i64| Key::from_values(&[Value::Int(id)]);
        let request = reading.request().with_range(KeyRange { after: None, up_to: Some(key(40)) });
        let ends = [10, 20, 30, 40].map(key);
        let found = snapshot.digest(&request, &ends).await?.ok_or_else(|| Failure::new("there are no digests".to_owned()))?;
        ensure_eq(found.iter().map(|d| d.rows).sum::<u64>(), content.len() as u64, &format!("the rows of all ranges, {what}"))?;
        let before = before.get_or_insert_with(|| found.clone());
        let differing: Vec<usize> = (0..4).filter(|range| before[*range] != found[*range]).collect();
        ensure_eq(differing, differ, &format!("the ranges that differ: {what}"))?;
        // A part of the ranges, under a filter, and none at all.
        let filter = Filter::parse("\"id\" <> 21", &BTreeMap::new())?;
        let request = request.with_range(KeyRange { after: Some(key(10)), up_to: None }).with_filter(Some(&filter));
        let some = snapshot.digest(&request, &ends[1..3]).await?.unwrap_or_default();
        ensure_eq(&some[..1], &found[1..2], &format!("a range by itself: {what}"))?;
        ensure_eq(some.get(1).map(|d| d.rows), Some(found[2].rows - 1), &format!("the rows under the filter: {what}"))?;
        ensure_eq(snapshot.digest(&request, &[]).await?, Some(Vec::new()), "no ranges")?;
    }
    Ok(())
}

pub(super) async fn rows_of_some_keys_come_in_key_order(harness: &dyn Harness) -> Outcome {
    let reading = Reading::of(harness, &items(), &item_rows(40)).await?;
    let mut snapshot = reading.snapshot().await?;
    let landmark = snapshot.survey(&reading.request(), None).await?.landmark.unwrap_or_default();
    let all = snapshot.read_keys(&reading.request(), &landmark).await?.keys;
    let wanted: Vec<Key> = [30, 3, 17, 99].iter().map(|id| row_key(&items(), &item(*id))).collect();
    let pages = snapshot.read_all(&reading.request().with_only(&wanted).with_limits(1 << 20, 2)).await?;
    let found: Vec<Key> = rows_of(&pages)?.iter().map(|row| row_key(&items(), row)).collect();
    let expected: Vec<Key> = all.into_iter().filter(|key| wanted.contains(key)).collect();
    ensure_eq(expected.len(), 3, "the keys that exist")?;
    ensure_eq(found, expected, "the rows in the order of the keys")
}

pub(super) async fn a_parameter_is_compared_as_the_column_beside_it(harness: &dyn Harness) -> Outcome {
    let schema = table("items", &[("id", DataType::Int64), ("code", DataType::TEXT)], &["id"]);
    let rows: Vec<Row> = (1..=30).map(|n| vec![Value::Int(n), text(n.to_string())]).collect();
    let reading = Reading::of(harness, &schema, &rows).await?;
    let mut snapshot = reading.snapshot().await?;
    for value in [Parameter::Int(12), Parameter::Text("12".to_owned())] {
        let parameters = BTreeMap::from([("it".to_owned(), value.clone())]);
        for (column, count) in [("\"code\" = :it", 1), ("\"id\" = :it", 1), ("\"id\" < :it", 11)] {
            let filter = Filter::parse(column, &parameters)?;
            let found = snapshot.count_rows(&reading.table, Some(&filter)).await?;
            ensure_eq(found, count, &format!("the number of rows where {column}, which is {value:?}"))?;
        }
    }
    Ok(())
}

pub(super) async fn keys_that_are_not_unique_are_found(harness: &dyn Harness) -> Outcome {
    let schema = table("bag", &[("a", DataType::Int64), ("b", DataType::TEXT)], &[]);
    let rows: Vec<Row> = (0..12).map(|n| vec![Value::Int(n / 2), text(format!("b{}", n % 2))]).collect();
    let reading = Reading::of(harness, &schema, &rows).await?;
    let mut snapshot = reading.snapshot().await?;
    let (unique, doubled) = (["a".to_owned(), "b".to_owned()], ["a".to_owned()]);
    let none = snapshot.duplicate_keys(&PageRequest::new(&reading.table, &reading.columns, &unique), 10).await?;
    ensure(none.is_empty(), || "a unique key is said to have duplicates".to_owned())?;
    let all = snapshot.duplicate_keys(&PageRequest::new(&reading.table, &reading.columns, &doubled), 10).await?;
    ensure_eq(all.len(), 6, "the number of keys that more than one row has")?;
    ensure(all.iter().any(|k| k == "5"), || "a key is not printed as text".to_owned())?;
    let some = snapshot.duplicate_keys(&PageRequest::new(&reading.table, &reading.columns, &doubled), 2).await?;
    ensure_eq(some.len(), 2, "the number of examples where two are asked for")
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

pub(super) async fn rows_without_their_parent_are_found(harness: &dyn Harness) -> Outcome {
    let schema = table("people", &[("id", DataType::Int64), ("boss", DataType::Int64), ("place", DataType::TEXT)], &["id"]);
    // Row 1 refers to nothing, row 2 to row 1, rows 3 and 4 to one that is not there, row 5 to one that a filter may leave out.
    let row = |id, boss, place: &str| vec![Value::Int(id), boss, text(place)];
    let rows = [
        row(1, Value::Null, "here"),
        row(2, Value::Int(1), "here"),
        row(3, Value::Int(99), "here"),
        row(4, Value::Int(99), "there"),
        row(5, Value::Int(4), "here"),
    ];
    let reading = Reading::of(harness, &schema, &rows).await?;
    let (boss, id) = (["boss".to_owned()], ["id".to_owned()]);
    let mut snapshot = reading.snapshot().await?;
    let request = OrphanRequest::new(&reading.table, &boss, &reading.table, &id).with_key(&id);
    let Some(mut found) = snapshot.find_orphans(&request).await? else { return Ok(()) };
    found.keys.sort();
    ensure_eq((found.rows, found.keys), (2, vec!["3".to_owned(), "4".to_owned()]), "the rows without a parent")?;
    ensure(found.parents == [Key::from_values(&[Value::Int(99)])], || "the parent that is missed, once".to_owned())?;
    let one = snapshot.find_orphans(&request.clone().with_limit(1)).await?.unwrap_or_default();
    ensure_eq((one.rows, one.keys.len()), (2, 1), "all rows, and one example")?;
    let place = ["place".to_owned()];
    let by_text = OrphanRequest::new(&reading.table, &place, &reading.table, &place);
    ensure_eq(snapshot.find_orphans(&by_text).await?.unwrap_or_default().rows, 0, "rows that are their own parents")
}

pub(super) async fn rows_without_their_parent_are_found_under_filters(harness: &dyn Harness) -> Outcome {
    let schema = table("people", &[("id", DataType::Int64), ("boss", DataType::Int64), ("place", DataType::TEXT)], &["id"]);
    let rows: Vec<Row> = (1..=8)
        .map(|id| vec![Value::Int(id), Value::Int((id + 1) % 8 + 1), text(if id % 2 == 0 { "here" } else { "there" })])
        .collect();
    let reading = Reading::of(harness, &schema, &rows).await?;
    // One job's parameters: the same for the filters of both sides.
    let texts = [("here", "here"), ("there", "there")];
    let parameters = BTreeMap::from(texts.map(|(name, value)| (name.to_owned(), Parameter::Text(value.to_owned()))));
    let here = Filter::parse("\"place\" = :here", &parameters)?;
    let low = Filter::parse("\"id\" < 6", &parameters)?;
    let there = Filter::parse("\"place\" = :there", &parameters)?;
    let (boss, id) = (["boss".to_owned()], ["id".to_owned()]);
    let mut snapshot = reading.snapshot().await?;
    let request = OrphanRequest::new(&reading.table, &boss, &reading.table, &id).with_key(&id);
    // Row n refers to row n + 2, so that an even one refers to an even one, which is "here".
    let request = request.with_filter(Some(&here)).with_filter(Some(&low));
    let Some(found) = snapshot.find_orphans(&request).await? else { return Ok(()) };
    ensure_eq(found.rows, 0, "rows whose parents are all there")?;
    let found = snapshot.find_orphans(&request.with_parent_filter(Some(&there))).await?.unwrap_or_default();
    let mut keys = found.keys;
    keys.sort();
    ensure_eq(keys, ["2", "4"].map(str::to_owned).to_vec(), "the rows whose parents a filter leaves out")
}
