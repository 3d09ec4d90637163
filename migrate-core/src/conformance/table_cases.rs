//! Cases about creating tables and completing them after the load.

use super::check::{Failure, Outcome, canonical_bytes, ensure, ensure_eq, ensure_error, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{column, family, item, item_rows, items, odd, text, values};
use super::work::{Writing, abandon, key_of, names, owner, page, write, write_and_commit};
use crate::error::ErrorKind;
use crate::memory::table;
use crate::schema::{TableSchema, UniqueKey};
use crate::sink::Outcome::{Inserted, Unchanged, Updated};
use crate::sink::{SchemaPlan, WriteMode};
use crate::source::{PageRequest, SnapshotExt};
use crate::state::StateChanges;
use crate::value::conform::conform;
use crate::value::{DataType, Row, Value};

async fn finish(writing: &Writing, plan: &SchemaPlan) -> crate::Result<()> {
    writing.sink.finish(plan, &writing.fence, &|_| ()).await
}

/// Writes rows to a planned table, their values conformed to its columns.
async fn load(writing: &Writing, planned: &TableSchema, rows: &[Row], mode: WriteMode) -> Result<Vec<crate::Outcome>, Failure> {
    let target = writing.table(&planned.name).await?;
    let conformed: Vec<Row> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&target.columns);
            cells
                .map(|(v, c)| conform(v.clone(), &c.data_type).map_err(|e| Failure::new(format!("column {}: {e}", c.name))))
                .collect()
        })
        .collect::<Result<_, _>>()?;
    let page = page(&target, &names(&target), &conformed)?;
    let mut transaction = writing.begin().await?;
    let outcomes = write(&mut *transaction, &target, &key_of(planned), &page, mode).await?;
    transaction.commit(&StateChanges::default()).await?;
    Ok(outcomes)
}

pub(super) async fn a_foreign_table_is_created_with_its_columns_and_key(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let mut schema = items();
    schema.columns[2].nullable = false;
    schema.comment = Some("what's \"in\" it".to_owned());
    let plan = writing.plan(std::slice::from_ref(&schema))?;
    ensure(plan.tables[0].create, || "a missing table is not planned to be created".to_owned())?;
    writing.sink.prepare(&plan, &writing.fence).await?;
    load(&writing, &plan.tables[0].table, &item_rows(5), WriteMode::Load).await?;
    finish(&writing, &plan).await?;
    let found = writing.table(&plan.tables[0].table.name).await?;
    ensure_eq(names(&found), names(&schema), "the columns in order")?;
    ensure_eq(key_of(&found), key_of(&schema), "the primary key")?;
    let nullable: Vec<bool> = found.columns.iter().map(|c| c.nullable).collect();
    ensure_eq(nullable, vec![false, true, false], "the columns that allow NULL")?;
    let planned: Vec<_> = plan.tables[0].table.columns.iter().map(|c| c.data_type.clone()).collect();
    ensure_eq(found.columns.iter().map(|c| c.data_type.clone()).collect(), planned, "the types, as planned and as found")?;
    ensure_rows(&writing.read_back(&schema).await?, &item_rows(5), "the target")
}

pub(super) async fn preparing_building_and_finishing_twice_is_once(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let [parents, mut children] = family();
    if harness.lacks(super::Feature::ForeignKeys).is_some() {
        children.foreign_keys.clear();
    }
    let plan = writing.plan(&[parents, children])?;
    for _ in 0..2 {
        writing.sink.prepare(&plan, &writing.fence).await?;
    }
    let [first, second] = [&plan.tables[0].table, &plan.tables[1].table];
    load(&writing, first, &[vec![Value::Int(1), text("a")]], WriteMode::Load).await?;
    load(&writing, second, &[vec![Value::Int(1), Value::Int(1)]], WriteMode::Load).await?;
    // A killed run may come back at any step, after more than it remembers was done.
    for _ in 0..2 {
        writing.sink.build_keys(&plan, &writing.fence).await?;
        writing.sink.prepare(&plan, &writing.fence).await?;
    }
    for _ in 0..2 {
        finish(&writing, &plan).await?;
        writing.sink.prepare(&plan, &writing.fence).await?;
        writing.sink.build_keys(&plan, &writing.fence).await?;
    }
    let found = writing.table(&first.name).await?;
    ensure_eq(found.unique_keys.len() + found.indexes.len(), 1, "the number of unique keys")?;
    let found = writing.table(&second.name).await?;
    ensure_eq(found.foreign_keys.len(), second.foreign_keys.len(), "the number of references")?;
    ensure_eq(found.indexes.len(), second.indexes.len(), "the number of indexes")
}

pub(super) async fn steps_abandoned_on_the_way_can_be_taken_again(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let [parents, mut children] = family();
    if harness.lacks(super::Feature::ForeignKeys).is_some() {
        children.foreign_keys.clear();
    }
    let plan = writing.plan(&[parents, children])?;
    let polls = 0..8;
    for polls in polls.clone() {
        abandon(writing.sink.prepare(&plan, &writing.fence), polls).await;
    }
    writing.sink.prepare(&plan, &writing.fence).await?;
    let [first, second] = [&plan.tables[0].table, &plan.tables[1].table];
    let parent = [vec![Value::Int(1), text("a")]];
    load(&writing, first, &parent, WriteMode::Load).await?;
    load(&writing, second, &[vec![Value::Int(1), Value::Int(1)]], WriteMode::Load).await?;
    for polls in polls.clone() {
        abandon(writing.sink.build_keys(&plan, &writing.fence), polls).await;
    }
    for polls in polls {
        abandon(finish(&writing, &plan), polls).await;
    }
    finish(&writing, &plan).await?;
    let found = writing.table(&second.name).await?;
    ensure_eq(key_of(&found), key_of(second), "the primary key")?;
    ensure_eq(found.foreign_keys.len(), second.foreign_keys.len(), "the number of references")?;
    ensure_eq(writing.sink.state().unfinished_tables("job").await?.len(), 0, "the number of unfinished tables after the end")?;
    let target = writing.table(&first.name).await?;
    ensure_eq(target.unique_keys.len() + target.indexes.len(), 1, "the number of unique keys")?;
    ensure_eq(load(&writing, first, &parent, WriteMode::Upsert).await?, vec![Unchanged], "what became of a row that is there")
}

pub(super) async fn a_created_table_is_unfinished_until_it_is_finished(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let plan = writing.plan(&[items()])?;
    let state = writing.database.sink().await?.state();
    ensure_eq(state.unfinished_tables("job").await?.len(), 0, "the number of unfinished tables before")?;
    writing.sink.prepare(&plan, &writing.fence).await?;
    let unfinished = state.unfinished_tables("job").await?;
    ensure_eq(unfinished.len(), 1, "the number of unfinished tables after the start")?;
    ensure_eq(&unfinished[0].name, &plan.tables[0].table.name, "the unfinished table")?;
    ensure_eq(&unfinished[0].plan, &plan.tables[0], "the plan of the unfinished table")?;
    ensure_eq(state.unfinished_tables("other").await?.len(), 0, "the number of unfinished tables of another job")?;
    finish(&writing, &plan).await?;
    ensure_eq(state.unfinished_tables("job").await?.len(), 0, "the number of unfinished tables after the end")
}

pub(super) async fn keys_built_before_the_end_serve_upserts(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let plan = writing.plan(&[items()])?;
    let planned = &plan.tables[0].table;
    writing.sink.prepare(&plan, &writing.fence).await?;
    load(&writing, planned, &item_rows(3), WriteMode::Load).await?;
    writing.sink.build_keys(&plan, &writing.fence).await?;
    let changed = vec![Value::Int(2), text("changed"), Value::Null];
    let outcomes = load(&writing, planned, &[item(1), changed.clone(), item(4)], WriteMode::Upsert).await?;
    ensure_eq(outcomes, vec![Unchanged, Updated, Inserted], "what became of each row")?;
    finish(&writing, &plan).await?;
    ensure_rows(&writing.read_back(&items()).await?, &[item(1), changed, item(3), item(4)], "the target")
}

pub(super) async fn an_existing_table_is_left_as_it_is(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(2)).await?;
    let before = writing.table(&items().name).await?;
    let plan = SchemaPlan {
        types: Vec::new(),
        tables: vec![crate::sink::TablePlan { table: before.clone(), create: false, added: Vec::new(), notes: Vec::new() }],
    };
    writing.sink.prepare(&plan, &writing.fence).await?;
    writing.sink.build_keys(&plan, &writing.fence).await?;
    finish(&writing, &plan).await?;
    let after = writing.table(&items().name).await?;
    ensure_eq((names(&after), key_of(&after)), (names(&before), key_of(&before)), "columns and key")?;
    ensure_eq(writing.sink.state().unfinished_tables("job").await?.len(), 0, "the number of unfinished tables")?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(2), "the target")
}

pub(super) async fn columns_are_added_to_a_table_that_is_there(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &item_rows(2)).await?;
    let before = writing.table(&items().name).await?;
    let types =
        [("number", DataType::Int64), ("it's \"odd\"", DataType::TEXT), ("moment", DataType::Timestamp { precision: None })];
    let added = writing.plan(&[table("items", &types, &[])])?.tables.remove(0).table.columns;
    let mut table = before.clone();
    table.columns.extend(added.iter().cloned());
    let names_added: Vec<String> = added.iter().map(|c| c.name.clone()).collect();
    let planned = crate::sink::TablePlan { table, create: false, added: names_added, notes: Vec::new() };
    let plan = SchemaPlan { types: Vec::new(), tables: vec![planned] };
    // A killed run may come back after the columns were added.
    for _ in 0..2 {
        writing.sink.prepare(&plan, &writing.fence).await?;
        finish(&writing, &plan).await?;
    }
    let after = writing.table(&items().name).await?;
    ensure_eq(names(&after), names(&plan.tables[0].table), "the columns in order")?;
    ensure_eq(key_of(&after), key_of(&before), "the primary key")?;
    let found = after.columns.iter().skip(before.columns.len());
    let found: Vec<_> = found.map(|c| (c.data_type.clone(), c.nullable, c.default.clone())).collect();
    let expected = added.iter().map(|c| (c.data_type.clone(), true, None)).collect();
    ensure_eq(found, expected, "the added columns, as planned and as found")?;
    let widened = |row: &Row, cells: [Value<'static>; 3]| row.iter().cloned().chain(cells).collect::<Row>();
    let nulls = || [Value::Null, Value::Null, Value::Null];
    let rows: Vec<Row> = item_rows(2).iter().map(|row| widened(row, nulls())).collect();
    ensure_rows(&writing.read_back(&after).await?, &rows, "the rows that were there")?;
    let full = [widened(&item_rows(2)[0], [Value::Int(7), text("x"), Value::Timestamp(0)]), widened(&item(9), nulls())];
    ensure_eq(load(&writing, &after, &full, WriteMode::Upsert).await?, vec![Updated, Inserted], "what became of the rows")
}

pub(super) async fn unique_keys_hold_after_the_end(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let [parents, _] = family();
    let plan = writing.plan(std::slice::from_ref(&parents))?;
    let planned = &plan.tables[0].table;
    writing.sink.prepare(&plan, &writing.fence).await?;
    let row = |id: i64, code: Value<'static>| vec![Value::Int(id), code];
    let rows = [row(1, text("a")), row(2, Value::Null), row(3, Value::Null), row(4, text("A"))];
    load(&writing, planned, &rows, WriteMode::Load).await?;
    finish(&writing, &plan).await?;
    for bad in [row(5, text("a")), row(1, text("b"))] {
        let target = writing.table(&planned.name).await?;
        let page = page(&target, &names(&target), &[bad])?;
        let result =
            write_and_commit(&writing, &target, &key_of(planned), &[&page], WriteMode::Load, &StateChanges::default()).await;
        ensure_error(result, &[ErrorKind::RowRejected, ErrorKind::Constraint], "a key that another row has")?;
    }
    ensure_rows(&writing.read_back(&parents).await?, &rows, "the target")
}

pub(super) async fn references_hold_after_the_end(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let [parents, children] = family();
    // The child is planned first: references are added when all tables are there.
    let plan = writing.plan(&[children.clone(), parents])?;
    writing.sink.prepare(&plan, &writing.fence).await?;
    let (child, parent) = (&plan.tables[0].table, &plan.tables[1].table);
    let rows = [vec![Value::Int(1), Value::Int(7)], vec![Value::Int(2), Value::Null]];
    load(&writing, child, &rows, WriteMode::Load).await?;
    load(&writing, parent, &[vec![Value::Int(7), text("x")]], WriteMode::Load).await?;
    finish(&writing, &plan).await?;
    ensure_eq(writing.table(&child.name).await?.foreign_keys.len(), 1, "the number of references")?;
    let target = writing.table(&child.name).await?;
    let page = page(&target, &names(&target), &[vec![Value::Int(3), Value::Int(8)]])?;
    let result = write_and_commit(&writing, &target, &key_of(child), &[&page], WriteMode::Upsert, &StateChanges::default()).await;
    ensure_error(result, &[ErrorKind::RowRejected, ErrorKind::Constraint], "a row without its parent")?;
    ensure_rows(&writing.read_back(&children).await?, &rows, "the target")
}

pub(super) async fn duplicates_stop_the_end_with_a_constraint_error(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let [parents, _] = family();
    let plan = writing.plan(&[parents])?;
    let planned = &plan.tables[0].table;
    writing.sink.prepare(&plan, &writing.fence).await?;
    load(&writing, planned, &[vec![Value::Int(1), text("a")], vec![Value::Int(2), text("a")]], WriteMode::Load).await?;
    ensure_error(finish(&writing, &plan).await, &[ErrorKind::Constraint], "a unique key with duplicates")?;
    // Repaired, it can be finished.
    let mut transaction = writing.begin().await?;
    let target = writing.table(&planned.name).await?;
    transaction.clear(&target).await?;
    transaction.commit(&StateChanges::default()).await?;
    Ok(finish(&writing, &plan).await?)
}

pub(super) async fn rows_without_their_parents_stop_the_end_with_a_constraint_error(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let [parents, children] = family();
    let plan = writing.plan(&[parents, children])?;
    writing.sink.prepare(&plan, &writing.fence).await?;
    load(
        &writing,
        &plan.tables[1].table,
        &[vec![Value::Int(1), Value::Int(7)], vec![Value::Int(2), Value::Int(8)]],
        WriteMode::Load,
    )
    .await?;
    let error = ensure_error(finish(&writing, &plan).await, &[ErrorKind::Constraint], "rows without their parents")?;
    let message = format!("{error}");
    ensure(message.contains('2'), || format!("the error does not say how many rows: {message}"))?;
    load(&writing, &plan.tables[0].table, &[vec![Value::Int(7), text("x")], vec![Value::Int(8), text("y")]], WriteMode::Load)
        .await?;
    Ok(finish(&writing, &plan).await?)
}

pub(super) async fn another_process_cannot_prepare_or_finish(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let plan = writing.plan(&[items()])?;
    let other = writing.database.sink().await?;
    let second = other.state().acquire("job", &owner("second")).await?;
    let fenced = [ErrorKind::Fenced, ErrorKind::ConnectionLost];
    ensure_error(writing.sink.prepare(&plan, &writing.fence).await, &fenced, "preparing with an old fence")?;
    ensure_eq(other.schema().await?.tables.len(), 0, "the number of tables after that")?;
    other.prepare(&plan, &second).await?;
    ensure_error(finish(&writing, &plan).await, &fenced, "finishing with an old fence")?;
    Ok(other.finish(&plan, &second, &|_| ()).await?)
}

pub(super) async fn every_value_survives_or_is_refused(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let samples = values();
    let tables: Vec<TableSchema> = samples
        .iter()
        .enumerate()
        .map(|(n, (data_type, _))| {
            let mut schema = table(&format!("sample {n}"), &[("id", DataType::Int64)], &["id"]);
            schema.columns.push(column("v", data_type.clone()));
            schema
        })
        .collect();
    let plan = writing.plan(&tables)?;
    writing.sink.prepare(&plan, &writing.fence).await?;
    for ((planned, (data_type, values)), schema) in plan.tables.iter().zip(&samples).zip(&tables) {
        let target = writing.table(&planned.table.name).await?;
        let stored_as = target.column("v").map(|c| c.data_type.clone()).unwrap_or(DataType::TEXT);
        let accepted: Vec<Row> = values
            .iter()
            .filter_map(|v| conform(v.clone(), &stored_as).ok())
            .chain([Value::Null])
            .zip(0..)
            .map(|(v, n)| vec![Value::Int(n), v])
            .collect();
        // A type may have values that this engine lacks, but not more than half of them.
        ensure(accepted.len() * 2 > values.len(), || format!("most values of type {data_type} are refused by {stored_as}"))?;
        let half = accepted.len() / 2;
        load(&writing, &planned.table, &accepted[..half], WriteMode::Load).await?;
        writing.sink.build_keys(&SchemaPlan { types: Vec::new(), tables: vec![planned.clone()] }, &writing.fence).await?;
        let outcomes = load(&writing, &planned.table, &accepted, WriteMode::Upsert).await?;
        let expected = (0..accepted.len()).map(|n| if n < half { Unchanged } else { Inserted }).collect();
        ensure_eq(outcomes, expected, &format!("what became of each value of type {data_type}, half of them written before"))?;
        // Read back and conformed again, as a verification does.
        let (columns, key) = (names(schema), key_of(schema));
        let mut snapshot = writing.sink.as_source().open_snapshot().await?;
        let pages = snapshot.read_all(&PageRequest::new(&target, &columns, &key).with_limits(1 << 20, 4)).await?;
        let mut found = Vec::new();
        for mut row in rows_of(&pages)? {
            let value = row.pop().unwrap_or(Value::Null);
            row.push(
                conform(value, &stored_as)
                    .map_err(|e| Failure::new(format!("a stored value of type {data_type} does not conform: {e}")))?,
            );
            found.push(row);
        }
        ensure_rows(&found, &accepted, &format!("values of type {data_type} in a column of type {stored_as}"))?;
        // And back to the type they came from.
        for row in accepted {
            let returned = conform(row[1].clone(), data_type)
                .map_err(|e| Failure::new(format!("a value of type {data_type} does not return: {e}")))?;
            let known = row[1].is_null()
                || values
                    .iter()
                    .any(|v| canonical_bytes(std::slice::from_ref(v)) == canonical_bytes(std::slice::from_ref(&returned)));
            ensure(known, || format!("{returned:?} came back from {stored_as} and was never a value of {data_type}"))?;
        }
    }
    Ok(finish(&writing, &plan).await?)
}

pub(super) async fn odd_names_are_created(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[]).await?;
    let (mut schema, rows) = odd();
    schema.unique_keys.push(UniqueKey { name: Some("2nd \"key\"; --".to_owned()), ..UniqueKey::new(["it's \"quoted\""]) });
    let plan = writing.plan(std::slice::from_ref(&schema))?;
    writing.sink.prepare(&plan, &writing.fence).await?;
    load(&writing, &plan.tables[0].table, &rows, WriteMode::Load).await?;
    finish(&writing, &plan).await?;
    let found = writing.table(&plan.tables[0].table.name).await?;
    ensure_eq((names(&found), key_of(&found)), (names(&schema), key_of(&schema)), "columns and key")?;
    ensure_rows(&writing.read_back(&schema).await?, &rows, "the target")
}
