//! Cases about runs of which nothing stays.

use super::check::{Failure, Outcome, ensure, ensure_eq, ensure_error, ensure_rows, rows_of};
use super::harness::Harness;
use super::sample::{item, item_rows, items};
use super::work::{Writing, checkpoint, key_of, names, none, owner, page, row_key, scope, write};
use crate::error::{ErrorKind, Result};
use crate::schema::TableSchema;
use crate::sink::{Rehearsal, Sink, WriteMode};
use crate::source::PageRequest;
use crate::state::{Fence, StateChanges};
use crate::value::Row;
use std::sync::Arc;

/// A rehearsal with its state made, on a target where a run may write.
struct Rehearsing {
    writing: Writing,
    rehearsal: Box<dyn Rehearsal>,
    sink: Arc<dyn Sink>,
    fence: Fence,
}

impl Rehearsing {
    async fn on(harness: &dyn Harness, tables: &[&TableSchema]) -> std::result::Result<Self, Failure> {
        Self::of(Writing::to(harness, tables).await?).await
    }

    async fn of(writing: Writing) -> std::result::Result<Self, Failure> {
        let rehearsal = writing.sink.rehearse().await?;
        let sink = rehearsal.sink();
        sink.state().initialize().await?;
        let fence = sink.state().acquire("job", &owner("rehearsal")).await?;
        Ok(Rehearsing { writing, rehearsal, sink, fence })
    }

    async fn write(&self, rows: &[Row], mode: WriteMode, state: &StateChanges) -> Result<()> {
        let target = self.writing.table(&items().name).await?;
        let page = page(&target, &names(&items()), rows)?;
        let mut transaction = self.sink.begin(&self.fence).await?;
        write(&mut *transaction, &target, &key_of(&items()), &page, mode).await?;
        transaction.commit(state).await
    }

    /// The rows that the rehearsal sees, of some that may be there.
    async fn seen(&self, rows: &[Row]) -> Result<Vec<Row>> {
        let target = self.writing.table(&items().name).await?;
        let (columns, key) = (names(&items()), key_of(&items()));
        let keys: Vec<_> = rows.iter().map(|row| row_key(&items(), row)).collect();
        let mut snapshot = self.sink.as_source().open_snapshot().await?;
        let page = snapshot.read_rows(&PageRequest::new(&target, &columns, &key), &keys).await?;
        rows_of([&page])
    }

    async fn count(&self, table: &TableSchema) -> Result<u64> {
        self.sink.as_source().open_snapshot().await?.count_rows(table, None).await
    }
}

pub(super) async fn a_rehearsal_sees_what_it_writes_and_leaves_nothing(harness: &dyn Harness) -> Outcome {
    let writing = Writing::to(harness, &[&items()]).await?;
    writing.database.insert(&items(), &[item(1)]).await?;
    let on = Rehearsing::of(writing).await?;
    on.write(&item_rows(300), WriteMode::Upsert, &checkpoint(scope("items"), 7)).await?;
    let target = on.writing.table(&items().name).await?;
    ensure_eq(on.count(&target).await?, 300, "the number of rows that the rehearsal sees")?;
    ensure_rows(&on.seen(&item_rows(300)).await?, &item_rows(300), "the rows that the rehearsal sees")?;
    let found = on.sink.state().checkpoints("job", "items").await?;
    ensure_eq(found.into_iter().map(|(_, c)| c.sequence).collect(), vec![7], "the checkpoint that the rehearsal sees")?;
    on.rehearsal.end().await?;
    ensure_rows(&on.writing.database.rows(&items()).await?, &[item(1)], "the target after the rehearsal")?;
    let state = on.writing.sink.state();
    ensure(state.checkpoints("job", "items").await?.is_empty(), || "a checkpoint of the rehearsal has stayed".to_owned())?;
    // The fence that was taken before is still good.
    on.writing.write(&items(), &[item(2)], WriteMode::Load).await?;
    ensure_rows(&on.writing.database.rows(&items()).await?, &[item(1), item(2)], "the target after a run")
}

pub(super) async fn a_transaction_of_a_rehearsal_that_fails_leaves_those_before_it(harness: &dyn Harness) -> Outcome {
    let on = Rehearsing::on(harness, &[&items()]).await?;
    on.write(&[item(1), item(2)], WriteMode::Load, &none()).await?;
    // The first row would fit.
    let refused = on.write(&[item(3), item(2)], WriteMode::Load, &none()).await;
    ensure_error(refused, &[ErrorKind::RowRejected, ErrorKind::Constraint], "a load of a key that the rehearsal has written")?;
    let target = on.writing.table(&items().name).await?;
    let page = page(&target, &names(&items()), &[item(4)])?;
    for rolls_back in [true, false] {
        let mut transaction = on.sink.begin(&on.fence).await?;
        write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Load).await?;
        if rolls_back {
            transaction.rollback().await?;
        }
    }
    ensure_rows(&on.seen(&item_rows(4)).await?, &item_rows(2), "the rows that the rehearsal sees")?;
    on.write(&[item(3)], WriteMode::Upsert, &none()).await?;
    ensure_rows(&on.seen(&item_rows(4)).await?, &item_rows(3), "the rows after another transaction")?;
    on.rehearsal.end().await?;
    ensure_rows(&on.writing.database.rows(&items()).await?, &[], "the target after the rehearsal")
}

pub(super) async fn tables_that_a_rehearsal_creates_are_gone_after_it(harness: &dyn Harness) -> Outcome {
    let on = Rehearsing::on(harness, &[]).await?;
    let schema = items();
    let plan = on.writing.plan(std::slice::from_ref(&schema))?;
    let target = plan.tables[0].table.clone();
    on.sink.prepare(&plan, &on.fence).await?;
    let page = page(&target, &names(&schema), &item_rows(2))?;
    let mut transaction = on.sink.begin(&on.fence).await?;
    write(&mut *transaction, &target, &key_of(&schema), &page, WriteMode::Load).await?;
    transaction.commit(&none()).await?;
    on.sink.build_keys(&plan, &on.fence).await?;
    on.sink.finish(&plan, &on.fence, &|_| {}).await?;
    ensure_eq(on.count(&target).await?, 2, "the number of rows that the rehearsal sees")?;
    ensure(on.sink.state().unfinished_tables("job").await?.is_empty(), || "the table was finished".to_owned())?;
    on.rehearsal.end().await?;
    let left = on.writing.sink.schema().await?;
    ensure(left.tables.is_empty(), || {
        format!("tables have stayed: {:?}", left.tables.iter().map(|t| &t.name).collect::<Vec<_>>())
    })
}

pub(super) async fn a_dropped_rehearsal_leaves_nothing(harness: &dyn Harness) -> Outcome {
    let on = Rehearsing::on(harness, &[&items()]).await?;
    on.write(&[item(1)], WriteMode::Load, &none()).await?;
    let target = on.writing.table(&items().name).await?;
    let page = page(&target, &names(&items()), &[item(2)])?;
    let mut transaction = on.sink.begin(&on.fence).await?;
    write(&mut *transaction, &target, &key_of(&items()), &page, WriteMode::Load).await?;
    drop(transaction);
    let Rehearsing { writing, rehearsal, sink, .. } = on;
    drop((sink, rehearsal));
    ensure_rows(&writing.database.rows(&items()).await?, &[], "the target after the rehearsal")?;
    writing.write(&items(), &item_rows(2), WriteMode::Load).await?;
    ensure_rows(&writing.database.rows(&items()).await?, &item_rows(2), "the target after a run")
}
