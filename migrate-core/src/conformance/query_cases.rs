//! Cases about what a source works out itself: filters, expressions, changes, digests and orphans.

use super::check::{Failure, Outcome, ensure, ensure_eq, ensure_error, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{item, item_rows, items, text};
use super::work::{Reading, row_key};
use crate::error::ErrorKind;
use crate::expression::Expression;
use crate::filter::{Filter, Parameter};
use crate::memory::table;
use crate::schema::Computed;
use crate::source::{OrphanRequest, PageRequest, RangeDigest, Since, SnapshotExt};
use crate::value::{DataType, Key, KeyRange, Row, Value};
use std::collections::{BTreeMap, HashSet};

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
