//! Reading tables within one snapshot.

use crate::changes;
use crate::codec::ENCODING;
use crate::copy_out::{Packing, PageStream, collect, of_reading};
use crate::cursor;
use crate::digests;
use crate::orphans;
use crate::select::{
    columns_of, conditions, from_item, null_key, order_by, page_columns, select_list, select_list_of, some_keys,
};
use crate::sql::{quote_ident, quote_list, quote_table};
use crate::view::{Session, View};
use async_trait::async_trait;
use migrate_core::filter::{Filter, Parameter};
use migrate_core::job::CursorColumn;
use migrate_core::schema::{ColumnSchema, TableKind, TableName, TableSchema};
use migrate_core::source::{KeyPage, OrphanRequest, Orphans, PageRequest, Position, RangeDigest, Snapshot, Survey};
use migrate_core::value::{Key, Page, PageBuilder};
use migrate_core::{Error, ErrorKind, Result, ResultExt};
use sqlx::{AssertSqlSafe, Row};
use std::sync::Arc;

/// Rows asked for by key in one statement.
const KEYS_PER_STATEMENT: usize = 1_000;
/// Blocks that are looked at to cut a table into ranges of about the same size.
const SAMPLED_BLOCKS: i64 = 1_000;

/// One reader of a snapshot.
pub(crate) struct PgSnapshot {
    view: Arc<View>,
    position: Position,
    open: Option<OpenStream>,
    /// Tables whose nullable key columns were found to hold no NULL in this snapshot.
    without_null_keys: Vec<(TableName, Vec<String>, Option<Filter>)>,
}

struct OpenStream {
    request: Shape,
    /// Where the pages handed out so far end; the start of the range before the first.
    reached: Option<Key>,
    pages: PageStream,
}

/// All of a request but the place that it starts from.
struct Shape {
    table: TableName,
    columns: Vec<String>,
    key: Vec<String>,
    up_to: Option<Key>,
    filter: Option<Filter>,
    only: Option<Vec<Key>>,
    limits: (usize, usize),
}

impl Shape {
    fn of(request: &PageRequest<'_>) -> Self {
        Shape {
            table: request.table.name.clone(),
            columns: request.columns.to_vec(),
            key: request.key.to_vec(),
            up_to: request.range.up_to.clone(),
            filter: request.filter.cloned(),
            only: request.only.map(<[Key]>::to_vec),
            limits: (request.max_rows, request.max_bytes),
        }
    }

    fn fits(&self, request: &PageRequest<'_>) -> bool {
        self.table == request.table.name
            && self.columns == request.columns
            && self.key == request.key
            && self.up_to == request.range.up_to
            && self.filter.as_ref() == request.filter
            && self.only.as_deref() == request.only
            && self.limits == (request.max_rows, request.max_bytes)
    }
}

impl PgSnapshot {
    pub(crate) fn new(view: Arc<View>, position: Position) -> Self {
        PgSnapshot { view, position, open: None, without_null_keys: Vec::new() }
    }

    async fn start(&mut self, request: &PageRequest<'_>) -> Result<PageStream> {
        let columns = columns_of(request.table, request.columns)?;
        let key = columns_of(request.table, request.key)?;
        if key.is_empty() && request.range.after.is_some() {
            let message = "a table without a key can only be read from its start";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        self.refuse_null_keys(request, &key).await?;
        let places = request.key.iter().map(|name| request.columns.iter().position(|c| c == name)).collect::<Option<Vec<_>>>();
        let places = places.ok_or_else(|| Error::new(ErrorKind::Internal, "a key column is not among the columns to read"))?;
        let from = from_item(request.table);
        let mut session = self.view.session(request.table, request.filter, &key).await?;
        let condition = session.render_filter(&from, request.filter).await?;
        let selected = session.selected(request.table, &columns).await?;
        let sql = format!(
            "COPY (SELECT {} FROM {from}{}{}) TO STDOUT (FORMAT BINARY)",
            select_list_of(&selected),
            conditions(request, &key, &condition)?,
            order_by(request.table, &key)
        );
        let packing = Packing {
            columns: page_columns(&columns),
            key: places,
            max_rows: request.max_rows.max(1),
            max_bytes: request.max_bytes.max(1),
        };
        Ok(PageStream::start(self.view.clone(), session, sql, packing))
    }

    /// A NULL among the key's values compares with nothing: such a row would fall out of every range but the first.
    async fn refuse_null_keys(&mut self, request: &PageRequest<'_>, key: &[&ColumnSchema]) -> Result<()> {
        let nullable: Vec<&&ColumnSchema> = key.iter().filter(|c| c.nullable).collect();
        let checked = (request.table.name.clone(), request.key.to_vec(), request.filter.cloned());
        if nullable.is_empty() || self.without_null_keys.contains(&checked) {
            return Ok(());
        }
        for column in nullable {
            let from = from_item(request.table);
            let mut session = self.view.session(request.table, request.filter, key).await?;
            let condition = session.render_filter(&from, request.filter).await?;
            let and = condition.0.map(|c| format!(" AND ({c}\n)")).unwrap_or_default();
            let sql = format!("SELECT EXISTS (SELECT FROM {from} WHERE {} IS NULL{and})", quote_ident(&column.name));
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut session.connection).await.map_err(of_reading)?;
            let found: bool = row.try_get(0).map_err(of_reading)?;
            self.view.give_back(session);
            if found {
                return Err(null_key(request.table, &column.name));
            }
        }
        self.without_null_keys.push(checked);
        Ok(())
    }

    async fn split(&self, request: &PageRequest<'_>, parts: usize) -> Result<Vec<Key>> {
        let key = columns_of(request.table, request.key)?;
        let sampled = match request.table.kind {
            TableKind::Table | TableKind::Partitioned | TableKind::Partition | TableKind::MaterializedView => true,
            TableKind::View | TableKind::Foreign | TableKind::Virtual => false,
        };
        if key.is_empty() || parts < 2 || !sampled {
            return Ok(Vec::new());
        }
        let from = from_item(request.table);
        let mut session = self.view.session(request.table, request.filter, &key).await?;
        let condition = session.render_filter(&from, request.filter).await?;
        let columns = page_columns(&key);
        let (list, wher, order) = (select_list(&key), conditions(request, &key, &condition)?, order_by(request.table, &key));
        let row = sqlx::query(
            "SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_relation_size(t.relid)), 0)::pg_catalog.int8 \
             / pg_catalog.current_setting('block_size')::pg_catalog.int8 \
             FROM (SELECT relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.regclass) \
             UNION SELECT $1::pg_catalog.regclass) t",
        )
        .bind(quote_table(&request.table.name))
        .fetch_one(&mut session.connection)
        .await
        .map_err(of_reading)?;
        let blocks: i64 = row.try_get(0).map_err(of_reading)?;
        let mut builder = PageBuilder::new(columns.clone(), ENCODING);
        if blocks > 2 * SAMPLED_BLOCKS {
            // Which rows are looked at decides how even the ranges are and nothing else. The seed makes a repeated run cut alike.
            let percent = 100.0 * SAMPLED_BLOCKS as f64 / blocks as f64;
            let sql = format!(
                "COPY (SELECT {list} FROM {from} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (42){wher}{order}) \
                 TO STDOUT (FORMAT BINARY)"
            );
            collect(&mut session.connection, &sql, &mut builder, key.len()).await?;
        }
        if builder.row_count() < 100 * parts {
            builder = PageBuilder::new(columns, ENCODING);
            let sql = format!("SELECT pg_catalog.count(*) FROM {from}{wher}");
            let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut session.connection).await.map_err(of_reading)?;
            let count = row.try_get::<i64, _>(0).map_err(of_reading)?.unsigned_abs();
            let step = count.div_ceil(parts as u64).max(1);
            let names = quote_list(request.key);
            // No sane column has the name of the row's place; an odd one makes this an error, not a wrong cut.
            let (place, alias) = ("\"migrate: place\"", quote_ident(&request.table.name.name));
            let sql = format!(
                "COPY (SELECT {list} FROM (SELECT {names}, pg_catalog.row_number() OVER ({}) AS {place} FROM {from}{wher}) \
                 AS {alias} WHERE {place} % {step} = 0 AND {place} < {count}{order}) TO STDOUT (FORMAT BINARY)",
                order.trim_start(),
            );
            collect(&mut session.connection, &sql, &mut builder, key.len()).await?;
        }
        self.view.give_back(session);
        let page = builder.finish(None);
        let mut cuts: Vec<Key> = Vec::new();
        for row in even_places(page.row_count(), parts) {
            let cut = Key::from_values(&page.row(row).values()?);
            if cuts.last() != Some(&cut) {
                cuts.push(cut);
            }
        }
        Ok(cuts)
    }
}

/// Counts the rows of a table.
pub(crate) async fn count(session: &mut Session, table: &TableSchema, filter: Option<&Filter>) -> Result<u64> {
    let from = from_item(table);
    let condition = session.render_filter(&from, filter).await?;
    let wher = condition.0.map(|c| format!(" WHERE ({c}\n)")).unwrap_or_default();
    let sql = format!("SELECT pg_catalog.count(*) FROM {from}{wher}");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut session.connection).await.map_err(of_reading)?;
    let count: i64 = row.try_get(0).map_err(of_reading)?;
    Ok(count.unsigned_abs())
}

/// Reads rows by their keys.
pub(crate) async fn rows_by_key(session: &mut Session, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
    let columns = columns_of(request.table, request.columns)?;
    let key = columns_of(request.table, request.key)?;
    let mut builder = PageBuilder::new(page_columns(&columns), ENCODING);
    let from = from_item(request.table);
    let condition = session.render_filter(&from, request.filter).await?;
    let and = condition.0.map(|c| format!(" AND ({c}\n)")).unwrap_or_default();
    let list = select_list_of(&session.selected(request.table, &columns).await?);
    for some in keys.chunks(KEYS_PER_STATEMENT) {
        let wanted = some_keys(some, &key, request.table)?;
        let sql = format!("COPY (SELECT {list} FROM {from} WHERE {wanted}{and}) TO STDOUT (FORMAT BINARY)");
        collect(&mut session.connection, &sql, &mut builder, columns.len()).await.context("table", &request.table.name)?;
    }
    Ok(builder.finish(None))
}

/// Chooses up to `parts - 1` of so many ascending keys, evenly.
fn even_places(keys: usize, parts: usize) -> Vec<usize> {
    let wanted = (parts - 1).min(keys);
    (1..=wanted).map(|n| (keys * n).div_ceil(wanted + 1).min(keys) - 1).collect()
}

#[async_trait]
impl Snapshot for PgSnapshot {
    fn position(&self) -> &Position {
        &self.position
    }

    async fn fork(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(PgSnapshot::new(self.view.clone(), self.position.clone())))
    }

    async fn read_page(&mut self, request: &PageRequest<'_>) -> Result<Page> {
        let goes_on = self.open.as_ref().is_some_and(|open| open.request.fits(request) && open.reached == request.range.after);
        if !goes_on {
            self.open = None;
            let pages = self.start(request).await.context("table", &request.table.name)?;
            self.open = Some(OpenStream { request: Shape::of(request), reached: request.range.after.clone(), pages });
        }
        let Some(open) = &mut self.open else { return Err(Error::new(ErrorKind::Internal, "no stream is open")) };
        match open.pages.next().await {
            Ok(page) if page.next.is_some() => {
                open.reached.clone_from(&page.next);
                Ok(page)
            }
            Ok(page) => {
                self.open = None;
                Ok(page)
            }
            Err(error) => {
                self.open = None;
                Err(error.with("table", &request.table.name))
            }
        }
    }

    async fn read_rows(&mut self, request: &PageRequest<'_>, keys: &[Key]) -> Result<Page> {
        let columns = columns_of(request.table, request.columns)?;
        let key = columns_of(request.table, request.key)?;
        if keys.is_empty() {
            return Ok(PageBuilder::new(page_columns(&columns), ENCODING).finish(None));
        }
        let mut session = self.view.session(request.table, request.filter, &key).await?;
        let page = rows_by_key(&mut session, request, keys).await?;
        self.view.give_back(session);
        Ok(page)
    }

    async fn survey(&mut self, request: &PageRequest<'_>, since: Option<&str>) -> Result<Survey> {
        changes::survey(&self.view, &self.position, request, since).await.context("table", &request.table.name)
    }

    async fn read_keys(&mut self, request: &PageRequest<'_>, since: &str) -> Result<KeyPage> {
        changes::read_keys(&self.view, &self.position, request, since).await
    }

    async fn digest(&mut self, request: &PageRequest<'_>, ends: &[Key]) -> Result<Option<Vec<RangeDigest>>> {
        digests::compute(&self.view, request, ends).await.context("table", &request.table.name)
    }

    async fn cursor(&mut self, request: &PageRequest<'_>, cursor: &CursorColumn) -> Result<Option<Parameter>> {
        cursor::reached(&self.view, request, cursor).await.context("table", &request.table.name)
    }

    async fn count_rows(&mut self, table: &TableSchema, filter: Option<&Filter>) -> Result<u64> {
        let mut session = self.view.session(table, filter, &[]).await?;
        let count = count(&mut session, table, filter).await.context("table", &table.name)?;
        self.view.give_back(session);
        Ok(count)
    }

    async fn split_keys(&mut self, request: &PageRequest<'_>, parts: usize) -> Result<Vec<Key>> {
        self.split(request, parts).await.context("table", &request.table.name)
    }

    async fn duplicate_keys(&mut self, request: &PageRequest<'_>, limit: usize) -> Result<Vec<String>> {
        let key = columns_of(request.table, request.key)?;
        if key.is_empty() {
            return Ok(Vec::new());
        }
        self.refuse_null_keys(request, &key).await?;
        if request.table.is_unique(request.key) {
            return Ok(Vec::new());
        }
        let from = from_item(request.table);
        let mut session = self.view.session(request.table, request.filter, &key).await?;
        let condition = session.render_filter(&from, request.filter).await?;
        let names = quote_list(request.key);
        // Grouping takes for equal what a unique index would.
        let sql = format!(
            "SELECT pg_catalog.concat_ws(', ', {}) FROM {from}{} GROUP BY {names} HAVING pg_catalog.count(*) > 1 LIMIT {limit}",
            select_list(&key),
            conditions(request, &key, &condition)?
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut session.connection).await.map_err(of_reading)?;
        self.view.give_back(session);
        rows.iter().map(|row| row.try_get::<String, _>(0).map_err(of_reading)).collect()
    }

    async fn find_orphans(&mut self, request: &OrphanRequest<'_>) -> Result<Option<Orphans>> {
        orphans::find(&self.view, request).await.context("table", &request.child.name).map(Some)
    }
}
