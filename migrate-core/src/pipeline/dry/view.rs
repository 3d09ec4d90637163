//! The target as a plan sees it: one view, in which what a run makes first is missing.

use crate::error::{Error, ErrorKind, Result};
use crate::schema::{TableName, TableSchema};
use crate::sink::{SchemaPlan, Sink};
use crate::source::{PageRequest, Snapshot};
use crate::value::conform::conform;
use crate::value::{Encoding, Key, Page, PageBuilder, PageColumn, Value};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Rows of the target that are looked up together.
const AT_ONCE: usize = 1_000;

/// The view of the target that all transactions of a plan read.
pub(super) struct TargetView {
    sink: Arc<dyn Sink>,
    /// Opened once a transaction has to read: there may be no target yet.
    open: Mutex<Option<Box<dyn Snapshot>>>,
    /// Tables that are not there yet.
    missing: Arc<HashSet<TableName>>,
    /// Columns that tables which are there lack, and a run adds: they hold NULL.
    added: HashMap<TableName, HashSet<String>>,
}

impl fmt::Debug for TargetView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetView").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl TargetView {
    /// A view of the target as it is.
    pub(super) fn of(sink: Arc<dyn Sink>) -> Self {
        TargetView { sink, open: Mutex::new(None), missing: Arc::default(), added: HashMap::new() }
    }

    /// The same, where these tables, and the columns that the plan adds to others, are not there.
    pub(super) fn without(self, missing: Arc<HashSet<TableName>>, plan: &SchemaPlan) -> Self {
        TargetView { missing, added: added_by(plan), ..self }
    }

    /// Returns the view of the target, and opens it if it is not open yet.
    async fn opened<'v>(&self, view: &'v mut Option<Box<dyn Snapshot>>) -> Result<&'v mut Box<dyn Snapshot>> {
        if view.is_none() {
            *view = Some(self.sink.as_source().open_snapshot().await?);
        }
        view.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "no view of the target is open"))
    }

    /// Reads a page of the target, from the same view.
    pub(super) async fn read_page(&self, request: &PageRequest<'_>) -> Result<Page> {
        let mut view = self.open.lock().await;
        self.opened(&mut view).await?.read_page(request).await
    }

    /// Reads rows of the target by key, all from one view.
    pub(super) async fn read_rows(&self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let mut view = self.open.lock().await;
        let view = self.opened(&mut view).await?;
        match self.added.get(&request.table.name) {
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

    /// Whether a table is one that a run makes first.
    pub(super) fn is_missing(&self, table: &TableSchema) -> bool {
        self.missing.contains(&table.name)
    }

    /// Reads rows of the target and conforms them to its columns, by key.
    pub(super) async fn look_up(&self, request: &PageRequest<'_>, keys: &[Key]) -> Result<HashMap<Key, Vec<Value<'static>>>> {
        let mut found = HashMap::with_capacity(keys.len());
        self.each(request, keys, |key, values| {
            found.insert(key, values);
        })
        .await?;
        Ok(found)
    }

    /// Reads rows of the target and conforms them to its columns; several may have one key, where it is not the table's own.
    pub(super) async fn each(
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

pub(super) fn columns_of(table: &TableSchema, names: &[String]) -> Result<Arc<[PageColumn]>> {
    let find = |name: &String| {
        table.column(name).map(|column| PageColumn { name: column.name.clone(), data_type: column.data_type.clone() }).ok_or_else(
            || Error::new(ErrorKind::Schema, "there is no such column").with("column", name).with("table", &table.name),
        )
    };
    names.iter().map(find).collect()
}
