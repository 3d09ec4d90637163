//! A transaction of a plan: says what would become of each row, and writes none.

use super::sink::DrySink;
use super::state::takes_rows_out;
use super::tally::{Cell, Change, Sample, Samples, Tally, shown_key};
use super::touched::Touched;
use super::view::columns_of;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::TableSchema;
use crate::sink::{Choose, DeleteRequest, Outcome, SinkTransaction, WriteMode, WriteRequest};
use crate::source::PageRequest;
use crate::state::StateChanges;
use crate::value::conform::conform;
use crate::value::{Encoding, Key, Page, PageBuilder, PageColumn, Value, canonical};
use async_trait::async_trait;
use std::collections::HashSet;
use std::fmt;

/// A transaction whose commit adds to the tally.
pub(super) struct DryTransaction {
    sink: DrySink,
    tally: Tally,
    /// Changed rows of whichever entity the next change of state is of.
    samples: Samples,
    touched: Touched,
    /// State that was put ahead of the commit. A walk's own blocks are not kept: nothing reads them again.
    state: Vec<StateChanges>,
    /// Where state is written to, if anywhere.
    real: Option<Box<dyn SinkTransaction>>,
}

impl fmt::Debug for DryTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DryTransaction").field("sink", &self.sink).finish_non_exhaustive()
    }
}

impl DryTransaction {
    /// Begins one that writes state to a real transaction, or to memory.
    pub(super) fn begin(sink: DrySink, real: Option<Box<dyn SinkTransaction>>) -> Self {
        let (samples, touched) = (Samples::default(), Touched::default());
        DryTransaction { sink, tally: Tally::default(), samples, touched, state: Vec::new(), real }
    }

    /// Gives what was done since the last change of state to the entity that this one is of.
    fn attribute(&mut self, state: &StateChanges) {
        let Some(scope) = &state.scope else { return };
        let entity = self.tally.entity(&scope.entity);
        entity.samples.add(std::mem::take(&mut self.samples));
        state.quarantine.iter().for_each(|row| entity.refuse(row));
    }

    /// Compares rows with what is there, and takes note of those that would be inserted, or changed: by `change`.
    async fn compare(&mut self, request: &WriteRequest<'_>, change: Change) -> Result<Vec<Outcome>> {
        let names: Vec<String> = request.page.columns().iter().map(|c| c.name.clone()).collect();
        let places: Vec<usize> = request.key.iter().filter_map(|k| names.iter().position(|c| c == k)).collect();
        let mut rows = Vec::with_capacity(request.row_count());
        for row in request.row_indexes() {
            let values = request.page.row(row).values()?;
            let key = Key::from_values(places.iter().map(|place| &values[*place]));
            rows.push((key, row));
        }
        let keys: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
        let there = self.sink.view().look_up(&PageRequest::new(request.table, &names, request.key), &keys).await?;
        let types = columns_of(request.table, &names)?;
        let table = self.tally.table(&request.table.name.to_string());
        let mut outcomes = Vec::with_capacity(rows.len());
        for (key, row) in &rows {
            let row = request.page.row(*row);
            let Some(before) = there.get(key) else {
                table.note(Change::Insert, key.as_bytes(), row.data());
                self.samples.keep(Change::Insert, || Sample { change: Change::Insert, key: shown_key(key), columns: Vec::new() });
                outcomes.push(Outcome::Inserted);
                continue;
            };
            if request.mode == WriteMode::InsertMissing {
                table.skip(key.as_bytes());
                outcomes.push(Outcome::Skipped);
                continue;
            }
            let mut cells = Vec::new();
            for (((before, after), name), column) in before.iter().zip(row.values()?).zip(&names).zip(types.iter()) {
                let after = conform(after.clone(), &column.data_type).unwrap_or(after);
                if !same(before, &after) {
                    cells.push(Cell::new(name, before, &after));
                }
            }
            if cells.is_empty() {
                outcomes.push(Outcome::Unchanged);
                continue;
            }
            let refers =
                |cell: &Cell| request.table.foreign_keys.iter().any(|reference| reference.columns.contains(&cell.column));
            if cells.iter().any(refers) {
                let moved = self.touched.moved.entry(request.table.name.clone());
                moved.or_insert_with(|| (request.key.to_vec(), HashSet::new())).1.insert(key.clone());
            }
            // A mark is another one each time: that the row gets one is all that a plan says.
            table.note(change, key.as_bytes(), if change == Change::Delete { &[] } else { row.data() });
            self.samples.keep(change, || Sample { change, key: shown_key(key), columns: cells });
            outcomes.push(Outcome::Updated);
        }
        Ok(outcomes)
    }
}

#[async_trait]
impl SinkTransaction for DryTransaction {
    async fn write(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        if request.mode != WriteMode::Load {
            return self.compare(&request, Change::Update).await.map(Some);
        }
        let table = self.tally.table(&request.table.name.to_string());
        for row in request.row_indexes() {
            table.note(Change::Insert, &[], request.page.row(row).data());
        }
        Ok(None)
    }

    async fn mark(&mut self, request: WriteRequest<'_>) -> Result<Option<Vec<Outcome>>> {
        self.compare(&request, Change::Delete).await.map(Some)
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        if self.sink.view().is_missing(request.table) {
            let columns: Vec<PageColumn> = columns_of(request.table, request.columns)?.to_vec();
            return Ok(PageBuilder::new(columns.into(), Encoding::CANONICAL).finish(None));
        }
        self.sink.view().read_rows(request, keys).await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        let before = |touched: &Touched| touched.columns(&table.name).map(<[String]>::to_vec);
        let shared = before(&self.sink.touched());
        let own = shared.or_else(|| before(&self.touched)).unwrap_or_default();
        let mut columns = key.to_vec();
        columns.extend(own.iter().filter(|name| !key.contains(name)).cloned());
        let places: Vec<usize> = own.iter().filter_map(|name| columns.iter().position(|c| c == name)).collect();
        let mut rows = Vec::new();
        self.sink.view().each(&PageRequest::new(table, &columns, key), keys, |found, values| rows.push((found, values))).await?;
        let shared = self.sink.touched();
        let (elsewhere, none) = (own != key, own.is_empty());
        let hidden = |values: &[Value<'static>]| {
            let of = Key::from_values(places.iter().map(|place| &values[*place]));
            !none && [&*shared, &self.touched].iter().any(|touched| touched.hides(&table.name, &of, elsewhere))
        };
        let there: HashSet<Key> = rows.into_iter().filter(|(_, values)| !hidden(values)).map(|(found, _)| found).collect();
        Ok(keys.iter().filter(|key| there.contains(key)).cloned().collect())
    }

    async fn reserve(&mut self, table: &TableSchema, column: &str, _count: usize) -> Result<Vec<Value<'static>>> {
        let message = "nothing is drawn from the target by a run that only looks";
        Err(Error::new(ErrorKind::Unsupported, message).with("column", column).with("table", &table.name))
    }

    async fn delete(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<u64> {
        let there = self.sink.view().look_up(&PageRequest::new(table, key, key), keys).await?;
        let tally = self.tally.table(&table.name.to_string());
        for key in there.keys() {
            tally.note(Change::Delete, key.as_bytes(), &[]);
            self.samples.keep(Change::Delete, || Sample { change: Change::Delete, key: shown_key(key), columns: Vec::new() });
        }
        let count = there.len() as u64;
        let deleted = self.touched.deleted.entry(table.name.clone()).or_insert_with(|| (key.to_vec(), HashSet::new()));
        deleted.1.extend(there.into_keys());
        Ok(count)
    }

    async fn delete_at_once(&mut self, requests: &[DeleteRequest<'_>]) -> Result<Vec<u64>> {
        let mut counts = Vec::with_capacity(requests.len());
        for request in requests {
            counts.push(self.delete(request.table, request.key, &request.keys).await?);
        }
        Ok(counts)
    }

    async fn delete_chosen(&mut self, request: &PageRequest<'_>, choose: &mut Choose<'_>) -> Result<u64> {
        if self.sink.view().is_missing(request.table) {
            return Ok(0);
        }
        let tally = self.tally.table(&request.table.name.to_string());
        let mut request = PageRequest::new(request.table, request.columns, &[]).with_limits(request.max_bytes, request.max_rows);
        let mut deleted = 0;
        loop {
            let page = self.sink.view().read_page(&request).await?;
            for place in choose(&page)? {
                tally.note(Change::Delete, &[], page.row(place as usize).data());
                deleted += 1;
            }
            match page.next {
                Some(next) => request.range.after = Some(next),
                None => return Ok(deleted),
            }
        }
    }

    async fn clear(&mut self, _table: &TableSchema) -> Result<u64> {
        Ok(0)
    }

    async fn put_state(&mut self, state: StateChanges) -> Result<()> {
        self.attribute(&state);
        if let Some(real) = &mut self.real {
            return real.put_state(state).await;
        }
        let kept = match takes_rows_out(&state) {
            true => state,
            false => StateChanges { blocks: Vec::new(), removed_blocks: Vec::new(), ..state },
        };
        self.state.push(kept);
        Ok(())
    }

    async fn commit(mut self: Box<Self>, state: &StateChanges) -> Result<()> {
        self.attribute(state);
        if let Some(real) = self.real {
            real.commit(state).await?;
        }
        if let Some(overlay) = self.sink.overlay() {
            self.state.iter().chain([state]).for_each(|state| overlay.apply(state));
        }
        self.sink.touched().add(self.touched);
        let of = self.state.iter().chain([state]).find_map(|state| state.scope.as_ref());
        self.sink.add(of.map_or("", |scope| &scope.entity), self.tally);
        Ok(())
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        match self.real {
            Some(real) => real.rollback().await,
            None => Ok(()),
        }
    }
}

fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    canonical::encode_value(a, &mut left);
    canonical::encode_value(b, &mut right);
    left == right
}
