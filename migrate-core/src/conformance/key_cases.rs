//! Cases about reading by key: ranges, pages one after the other, and rows of given keys.

use super::check::{Outcome, canonical_bytes, ensure, ensure_eq, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{item, item_rows, items, keyed, text};
use super::work::{Reading, logical, row_key};
use crate::error::Result;
use crate::memory::table;
use crate::source::{PageRequest, SnapshotExt};
use crate::value::{DataType, Key, KeyRange, Row, Value};

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
