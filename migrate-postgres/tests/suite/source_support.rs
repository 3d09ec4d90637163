//! A database of its own for each test.

use migrate_core::Error;
use migrate_core::filter::{Filter, Parameter};
use migrate_core::schema::{DatabaseSchema, TableName, TableSchema};
use migrate_core::source::{PageRequest, Snapshot, Source};
use migrate_core::value::{Key, Page, Value};
use migrate_postgres::{PostgresConfig, PostgresSource};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the tests' own statements count on, whatever the server's defaults are.
const SESSION: &str = "SET search_path = public; SET standard_conforming_strings = on; SET xmloption = content; SET timezone = 'UTC'; \
    SET datestyle = 'ISO, MDY'; SET intervalstyle = postgres; SET array_nulls = on; SET quote_all_identifiers = off; \
    SET default_transaction_isolation = 'read committed'; SET client_min_messages = warning; ";

/// A fresh database on the test server, dropped with this value.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
}

impl Database {
    /// Creates an empty database and runs statements in it.
    pub(crate) async fn with(sql: &str) -> Database {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var("MIGRATE_TEST_POSTGRES")
            .expect("MIGRATE_TEST_POSTGRES is not set: `eval \"$(tests/postgres.sh start)\"` before cargo test");
        let name = format!("b_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        run(&server, &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        let (host, _) = server.rsplit_once('/').expect("the server's url names a database");
        let database = Database { url: format!("{host}/{name}"), server, name };
        if !sql.is_empty() {
            database.run(sql).await;
        }
        database
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, sql: &str) {
        run(&self.url, sql).await;
    }

    /// Returns one value as text, as the superuser.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let mut connection = connect(&self.url).await;
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.expect("the query is right")
    }

    /// Returns the first column of all rows, as the superuser.
    pub(crate) async fn lines(&self, sql: &str) -> String {
        let mut connection = connect(&self.url).await;
        let sql = AssertSqlSafe(sql.to_owned());
        let lines: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("the query is right");
        lines.join("\n")
    }

    /// Returns the url for another role.
    pub(crate) fn url_as(&self, role: &str) -> String {
        let (_, host) = self.url.rsplit_once('@').expect("the url names a role");
        format!("postgres://{role}@{host}")
    }

    pub(crate) fn source(&self) -> PostgresSource {
        source(&self.url)
    }

    pub(crate) async fn schema(&self) -> DatabaseSchema {
        self.source().schema().await.expect("the catalogs can be read")
    }

    pub(crate) async fn table(&self, name: &str) -> TableSchema {
        find(&self.schema().await, name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // Within the test's own runtime nothing can be waited for here.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                if let Ok(mut connection) = PgConnection::connect(&server).await {
                    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
                }
            });
        });
        let _ = dropping.join();
    }
}

async fn connect(url: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.expect("the test server answers");
    sqlx::raw_sql(SESSION).execute(&mut connection).await.expect("the settings exist");
    connection
}

async fn run(url: &str, sql: &str) {
    let mut connection = connect(url).await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap_or_else(|e| panic!("{e}\n{sql}"));
}

pub(crate) fn source(url: &str) -> PostgresSource {
    PostgresSource::new(PostgresConfig::from_url(url).expect("the url is well formed"))
}

/// Finds a table in `public`.
pub(crate) fn find(schema: &DatabaseSchema, name: &str) -> TableSchema {
    schema.table(&TableName::new(Some("public"), name), None).expect("the table is listed").clone()
}

pub(crate) fn names(table: &TableSchema) -> Vec<String> {
    table.columns.iter().map(|c| c.name.clone()).collect()
}

pub(crate) fn own(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// Reads a request to its end.
pub(crate) async fn read_all(snapshot: &mut dyn Snapshot, request: &PageRequest<'_>) -> Vec<Page> {
    let (mut request, mut pages) = (request.clone(), Vec::new());
    loop {
        let page = snapshot.read_page(&request).await.expect("the page can be read");
        let next = page.next.clone();
        pages.push(page);
        match next {
            Some(key) => request.range.after = Some(key),
            None => return pages,
        }
    }
}

/// The values of all rows of some pages.
pub(crate) fn values(pages: &[Page]) -> Vec<Vec<Value<'static>>> {
    pages
        .iter()
        .flat_map(|p| p.rows().map(|r| r.values().expect("the row decodes").into_iter().map(Value::into_owned).collect()))
        .collect()
}

/// The first column of all rows of some pages, which holds integers.
pub(crate) fn ints(pages: &[Page]) -> Vec<i64> {
    let int = |row: Vec<Value<'static>>| match row.first() {
        Some(Value::Int(int)) => *int,
        other => panic!("no integer: {other:?}"),
    };
    values(pages).into_iter().map(int).collect()
}

pub(crate) fn key_of(values: &[Value<'_>]) -> Key {
    Key::from_values(values)
}

pub(crate) fn filter(sql: &str, parameters: &[(&str, Parameter)]) -> Filter {
    let given: BTreeMap<String, Parameter> = parameters.iter().map(|(n, p)| ((*n).to_owned(), p.clone())).collect();
    Filter::parse(sql, &given).expect("the filter is well formed")
}

pub(crate) async fn error_of<T>(result: impl Future<Output = migrate_core::Result<T>>) -> Error {
    match result.await {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error,
    }
}
