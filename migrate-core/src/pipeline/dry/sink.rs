//! A sink that looks where it would write.

use super::state::{DryState, OfEntity, takes_rows_out};
use super::tally::{Cell, Change, Sample, Samples, Tally, shown_key};
use crate::error::{Error, ErrorKind, Result};
use crate::schema::{DatabaseSchema, TableName, TableSchema};
use crate::sink::{
    Choose, CreateRequest, DeleteRequest, OnStep, Outcome, SchemaPlan, Sink, SinkCapabilities, SinkTransaction, TablePlan,
    WriteMode, WriteRequest,
};
use crate::source::{PageRequest, Snapshot, Source};
use crate::state::{Fence, StateChanges, TargetState};
use crate::value::conform::conform;
use crate::value::{Encoding, Key, Page, PageBuilder, PageColumn, Value, canonical};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Mutex as AsyncMutex;

/// Rows of the target that are looked up together.
const AT_ONCE: usize = 1_000;

/// A sink over another one that reads there and writes nowhere.
#[derive(Debug, Clone)]
pub(super) struct DrySink {
    inner: Arc<dyn Sink>,
    state: Arc<dyn TargetState>,
    /// What commits leave in memory; `None` where they are made, and only rows are not written.
    overlay: Option<Arc<DryState>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The view of the target that all transactions read, once one has to: there may be no target yet.
    view: AsyncMutex<Option<Box<dyn Snapshot>>>,
    /// Tables that are not there yet.
    missing: Arc<HashSet<TableName>>,
    /// Columns that tables which are there lack, and a run adds: they hold NULL.
    added: HashMap<TableName, HashSet<String>>,
    /// By the entity of which it was written.
    tally: Mutex<BTreeMap<String, Tally>>,
    touched: Mutex<Touched>,
}

/// What would have been written of an entity, and what would be remembered of it.
#[derive(Debug)]
pub(super) struct Known {
    tally: Tally,
    state: Option<OfEntity>,
}

/// Rows that would not be found any more where they are, by their tables and keys.
#[derive(Debug, Default)]
struct Touched {
    /// Rows that would be deleted.
    deleted: Keys,
    /// Rows that would refer to another parent.
    moved: Keys,
}

type Keys = HashMap<TableName, (Vec<String>, HashSet<Key>)>;

impl Touched {
    fn add(&mut self, other: Touched) {
        for (own, other) in [(&mut self.deleted, other.deleted), (&mut self.moved, other.moved)] {
            for (table, (columns, keys)) in other {
                own.entry(table).or_insert_with(|| (columns, HashSet::new())).1.extend(keys);
            }
        }
    }

    /// The columns by which the rows of a table are known.
    fn columns(&self, table: &TableName) -> Option<&[String]> {
        self.deleted.get(table).or_else(|| self.moved.get(table)).map(|(columns, _)| &columns[..])
    }

    /// Whether a row is not found any more, where another column than its key is asked for if `elsewhere`.
    fn hides(&self, table: &TableName, key: &Key, elsewhere: bool) -> bool {
        let has = |keys: &Keys| keys.get(table).is_some_and(|(_, keys)| keys.contains(key));
        has(&self.deleted) || (elsewhere && has(&self.moved))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl DrySink {
    /// Opens a view of the target in which these tables, and the columns that the plan adds to others, are missing.
    pub(super) async fn over(inner: Arc<dyn Sink>, missing: Arc<HashSet<TableName>>, plan: &SchemaPlan) -> Result<Self> {
        let overlay = Arc::new(DryState::over(inner.state()).await?);
        Ok(DrySink {
            inner,
            state: overlay.clone(),
            overlay: Some(overlay),
            shared: Arc::new(Shared {
                view: AsyncMutex::new(None),
                missing,
                added: added_by(plan),
                tally: Mutex::default(),
                touched: Mutex::default(),
            }),
        })
    }

    /// Writes no row, yet commits what is said of them: the target remembers rows that it holds already.
    pub(super) fn remembering(inner: Arc<dyn Sink>) -> Self {
        let (missing, added) = (Arc::default(), HashMap::new());
        let shared = Shared { view: AsyncMutex::new(None), missing, added, tally: Mutex::default(), touched: Mutex::default() };
        DrySink { state: inner.state(), inner, overlay: None, shared: Arc::new(shared) }
    }

    /// Returns the view of the target, and opens it if it is not open yet.
    async fn open<'v>(&self, view: &'v mut Option<Box<dyn Snapshot>>) -> Result<&'v mut Box<dyn Snapshot>> {
        if view.is_none() {
            *view = Some(self.inner.as_source().open_snapshot().await?);
        }
        view.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "no view of the target is open"))
    }

    /// Reads a page of the target, from the same view.
    async fn read_page(&self, request: &PageRequest<'_>) -> Result<Page> {
        let mut view = self.shared.view.lock().await;
        self.open(&mut view).await?.read_page(request).await
    }

    /// Reads rows of the target by key, all from one view.
    async fn read_rows(&self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let mut view = self.shared.view.lock().await;
        let view = self.open(&mut view).await?;
        match self.shared.added.get(&request.table.name) {
            Some(added) if request.columns.iter().any(|c| added.contains(c)) => {
                let there: Vec<String> = request.columns.iter().filter(|c| !added.contains(*c)).cloned().collect();
                let mut table = request.table.clone();
                table.columns.retain(|c| !added.contains(&c.name));
                let page = view.read_rows(&PageRequest { table: &table, columns: &there, ..request.clone() }, keys).await?;
                with_nulls(request, &page)
            }
            Some(_) | None => view.read_rows(request, keys).await,
        }
    }

    fn is_missing(&self, table: &TableSchema) -> bool {
        self.shared.missing.contains(&table.name)
    }

    /// Reads rows of the target and conforms them to its columns, by key.
    async fn look_up(&self, request: &PageRequest<'_>, keys: &[Key]) -> Result<HashMap<Key, Vec<Value<'static>>>> {
        let mut found = HashMap::with_capacity(keys.len());
        self.each(request, keys, |key, values| {
            found.insert(key, values);
        })
        .await?;
        Ok(found)
    }

    /// Reads rows of the target and conforms them to its columns; several may have one key, where it is not the table's own.
    async fn each(
        &self,
        request: &PageRequest<'_>,
        keys: &[Key],
        mut take: impl FnMut(Key, Vec<Value<'static>>) + Send,
    ) -> Result<()> {
        if self.is_missing(request.table) {
            return Ok(());
        }
        let types = columns_of(request.table, request.columns)?;
        let places: Vec<usize> = request.key.iter().filter_map(|k| request.columns.iter().position(|c| c == k)).collect();
        for some in keys.chunks(AT_ONCE) {
            let page = self.read_rows(request, some).await?;
            for row in page.rows() {
                let values = row.values()?.into_iter().zip(types.iter());
                // What the target's column holds against its own type is compared as it is.
                let values: Vec<Value<'static>> =
                    values.map(|(v, c)| conform(v.clone(), &c.data_type).unwrap_or(v).into_owned()).collect();
                take(Key::from_values(places.iter().map(|place| &values[*place])), values);
            }
        }
        Ok(())
    }

    /// Returns what commits have left in memory, if they leave anything there.
    pub(super) fn overlay(&self) -> Option<&DryState> {
        self.overlay.as_deref()
    }

    /// Returns what would have been written so far.
    pub(super) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|tally| sum.add(tally.clone()));
        sum
    }

    /// Returns what is known of an entity by now.
    pub(super) fn of(&self, job: &str, entity: &str) -> Known {
        let tally = self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).get(entity).cloned().unwrap_or_default();
        Known { tally, state: self.overlay().map(|overlay| overlay.of(job, entity)) }
    }

    /// Forgets what has become known of an entity since. Rows that would not be found any more would not be after another walk either.
    pub(super) fn back_to(&self, job: &str, entity: &str, before: Known) {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).insert(entity.to_owned(), before.tally);
        if let (Some(overlay), Some(state)) = (self.overlay(), before.state) {
            overlay.back_to(job, entity, state);
        }
    }
}

#[async_trait]
impl Sink for DrySink {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> SinkCapabilities {
        self.inner.capabilities()
    }

    async fn schema(&self) -> Result<DatabaseSchema> {
        self.inner.schema().await
    }

    fn default_schema(&self) -> Option<String> {
        self.inner.default_schema()
    }

    fn plan_table(&self, request: &CreateRequest<'_>) -> Result<TablePlan> {
        self.inner.plan_table(request)
    }

    async fn check_writable(&self, table: &TableSchema) -> Result<()> {
        self.inner.check_writable(table).await
    }

    async fn check_alterable(&self, plan: &TablePlan) -> Result<()> {
        self.inner.check_alterable(plan).await
    }

    async fn check_creatable(&self) -> Result<()> {
        self.inner.check_creatable().await
    }

    fn can_choose(&self, table: &TableSchema) -> bool {
        self.inner.can_choose(table)
    }

    async fn prepare(&self, _plan: &SchemaPlan, _fence: &Fence) -> Result<()> {
        Ok(())
    }

    async fn build_keys(&self, _plan: &SchemaPlan, _fence: &Fence) -> Result<()> {
        Ok(())
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn SinkTransaction>> {
        let real = match self.overlay {
            Some(_) => None,
            None => Some(self.inner.begin(fence).await?),
        };
        Ok(Box::new(DryTransaction {
            sink: self.clone(),
            tally: Tally::default(),
            samples: Samples::default(),
            touched: Touched::default(),
            state: Vec::new(),
            real,
        }))
    }

    async fn finish(&self, _plan: &SchemaPlan, _fence: &Fence, _progress: &OnStep<'_>) -> Result<()> {
        Ok(())
    }

    fn state(&self) -> Arc<dyn TargetState> {
        self.state.clone()
    }

    fn as_source(&self) -> Arc<dyn Source> {
        self.inner.as_source()
    }
}

/// A transaction whose commit adds to the tally.
struct DryTransaction {
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
        let there = self.sink.look_up(&PageRequest::new(request.table, &names, request.key), &keys).await?;
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
        if self.sink.is_missing(request.table) {
            let columns: Vec<PageColumn> = columns_of(request.table, request.columns)?.to_vec();
            return Ok(PageBuilder::new(columns.into(), Encoding::CANONICAL).finish(None));
        }
        self.sink.read_rows(request, keys).await
    }

    async fn existing(&mut self, table: &TableSchema, key: &[String], keys: &[Key]) -> Result<HashSet<Key>> {
        let before = |touched: &Touched| touched.columns(&table.name).map(<[String]>::to_vec);
        let shared = before(&self.sink.shared.touched.lock().unwrap_or_else(PoisonError::into_inner));
        let own = shared.or_else(|| before(&self.touched)).unwrap_or_default();
        let mut columns = key.to_vec();
        columns.extend(own.iter().filter(|name| !key.contains(name)).cloned());
        let places: Vec<usize> = own.iter().filter_map(|name| columns.iter().position(|c| c == name)).collect();
        let mut rows = Vec::new();
        self.sink.each(&PageRequest::new(table, &columns, key), keys, |found, values| rows.push((found, values))).await?;
        let shared = self.sink.shared.touched.lock().unwrap_or_else(PoisonError::into_inner);
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
        let there = self.sink.look_up(&PageRequest::new(table, key, key), keys).await?;
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
        if self.sink.is_missing(request.table) {
            return Ok(0);
        }
        let tally = self.tally.table(&request.table.name.to_string());
        let mut request = PageRequest::new(request.table, request.columns, &[]).with_limits(request.max_bytes, request.max_rows);
        let mut deleted = 0;
        loop {
            let page = self.sink.read_page(&request).await?;
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
        if let Some(overlay) = &self.sink.overlay {
            self.state.iter().chain([state]).for_each(|state| overlay.apply(state));
        }
        self.sink.shared.touched.lock().unwrap_or_else(PoisonError::into_inner).add(self.touched);
        let of = self.state.iter().chain([state]).find_map(|state| state.scope.as_ref());
        let of = of.map(|scope| scope.entity.clone()).unwrap_or_default();
        self.sink.shared.tally.lock().unwrap_or_else(PoisonError::into_inner).entry(of).or_default().add(self.tally);
        Ok(())
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        match self.real {
            Some(real) => real.rollback().await,
            None => Ok(()),
        }
    }
}

/// The columns that a plan adds to tables which are there.
fn added_by(plan: &SchemaPlan) -> HashMap<TableName, HashSet<String>> {
    let mut added: HashMap<TableName, HashSet<String>> = HashMap::new();
    for table in plan.tables.iter().filter(|t| !t.added.is_empty()) {
        added.entry(table.table.name.clone()).or_default().extend(table.added.iter().cloned());
    }
    added
}

/// The rows as they would be with the columns that they lack.
fn with_nulls(request: &PageRequest<'_>, page: &Page) -> Result<Page> {
    let columns = columns_of(request.table, request.columns)?;
    let places: Vec<Option<usize>> = columns.iter().map(|c| page.column_index(&c.name)).collect();
    let types = columns.iter().zip(&places).map(|(column, place)| match place {
        // Cells are what the view has read them as.
        Some(place) => page.columns()[*place].clone(),
        None => column.clone(),
    });
    let mut builder = PageBuilder::new(types.collect(), Encoding::CANONICAL);
    for row in page.rows() {
        let values = row.values()?;
        builder.begin_row();
        places.iter().try_for_each(|place| builder.push_value(place.map_or(&Value::Null, |place| &values[place])))?;
        builder.end_row();
    }
    Ok(builder.finish(None))
}

fn columns_of(table: &TableSchema, names: &[String]) -> Result<Arc<[PageColumn]>> {
    let find = |name: &String| {
        table.column(name).map(|column| PageColumn { name: column.name.clone(), data_type: column.data_type.clone() }).ok_or_else(
            || Error::new(ErrorKind::Schema, "there is no such column").with("column", name).with("table", &table.name),
        )
    };
    names.iter().map(find).collect()
}

fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    canonical::encode_value(a, &mut left);
    canonical::encode_value(b, &mut right);
    left == right
}
