//! Databases on the test servers: a fresh one for each test, gone when the test ends.

use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row, ValueRef};
use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// One of the two servers that `tests/postgres.sh` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// The first, with PostgreSQL's own defaults.
    First,
    /// The second, with defaults that differ wherever something could rely on them.
    Second,
}

impl Server {
    /// Returns the url of the server's superuser.
    ///
    /// # Panics
    /// If the servers are not running: a test that passes without them would prove nothing.
    pub fn url(self) -> String {
        let name = match self {
            Server::First => "MIGRATE_TEST_POSTGRES",
            Server::Second => "MIGRATE_TEST_POSTGRES_2",
        };
        std::env::var(name).unwrap_or_else(|_| {
            panic!("{name} is not set: run `tests/run.sh`, or `eval \"$(tests/postgres.sh start)\"` before cargo test")
        })
    }
}

/// One more server, for tests that kill it; gone with this value.
#[derive(Debug)]
pub struct OwnServer {
    folder: PathBuf,
    url: String,
}

impl Default for OwnServer {
    fn default() -> Self {
        Self::new()
    }
}

impl OwnServer {
    /// Makes and starts a server.
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("migrate-own-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        // Not a private folder of the test's: the server runs as another user.
        let mut server = OwnServer { folder: std::env::temp_dir().join(name), url: String::new() };
        server.url = server.script("create").trim().to_owned();
        server
    }

    /// Makes and starts a server that takes encrypted connections only; it proves itself as 127.0.0.1 with the certificate that is
    /// written to `authority`.
    pub fn encrypted(authority: &Path) -> Self {
        let server = Self::new();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate can be made");
        std::fs::write(authority, certified.cert.pem()).expect("the certificate can be written");
        let data = server.folder.join("data");
        for (name, content) in [("server.crt", certified.cert.pem()), ("server.key", certified.signing_key.serialize_pem())] {
            let path = data.join(name);
            std::fs::write(&path, content).expect("the server's files can be written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("the key can be protected");
            let owner = std::fs::metadata(&data).expect("the server has a folder");
            std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("the server may have its files");
        }
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").expect("the rules can be written");
        run_on(&server.url, "ALTER SYSTEM SET ssl = on");
        server.kill();
        server.up();
        server
    }

    /// Kills the server at once, as a crash would.
    pub fn kill(&self) {
        self.script("kill");
    }

    /// Starts it again, at the same address.
    pub fn up(&self) {
        self.script("up");
    }

    fn script(&self, verb: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/postgres.sh");
        // Into a file: the server inherits what its starter writes to, and would keep a pipe open.
        let (stdout, mut printed) = reopened();
        let done = Command::new(script).arg(verb).arg(&self.folder).stdin(Stdio::null()).stdout(stdout).status();
        assert!(done.expect("postgres.sh starts").success(), "postgres.sh {verb} fails");
        let mut text = String::new();
        printed.rewind().and_then(|()| printed.read_to_string(&mut text)).expect("what was printed can be read");
        text
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = std::panic::catch_unwind(|| self.script("remove"));
    }
}

fn reopened() -> (Stdio, File) {
    let file = tempfile::tempfile().expect("a file can be made");
    (Stdio::from(file.try_clone().expect("the file can be shared")), file)
}

/// A database of its own, dropped with this value.
#[derive(Debug)]
pub struct Postgres {
    server: String,
    name: String,
}

/// Settings that make the server print the same text whatever its defaults are.
const SESSION: &str = "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 1; \
                       SET bytea_output = 'hex'; SET standard_conforming_strings = on; SET search_path = public; SET array_nulls = on; \
                       SET xmloption = 'content'; SET default_transaction_isolation = 'read committed'; SET quote_all_identifiers = off; \
                       SET client_min_messages = 'warning'";

impl Postgres {
    /// Creates an empty database.
    pub fn new(server: Server) -> Self {
        Self::create(server, "template0")
    }

    /// Creates a copy of another database, which nobody may be connected to.
    pub fn create(server: Server, template: &str) -> Self {
        Self::create_on(server.url(), template)
    }

    /// Creates an empty database on a server of the test's own, named by its superuser's url.
    pub fn on(server: &OwnServer) -> Self {
        Self::create_on(server.url.clone(), "template0")
    }

    fn create_on(server: String, template: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t_{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        run_on(&server, &format!("CREATE DATABASE {} TEMPLATE {}", identifier(&name), identifier(template)));
        Postgres { server, name }
    }

    /// Returns the url of the superuser.
    pub fn url(&self) -> String {
        self.url_as("postgres", None)
    }

    /// Returns the url of a role.
    pub fn url_as(&self, role: &str, password: Option<&str>) -> String {
        let (_, host) = self.server.rsplit_once('@').expect("the server's url names a role");
        let (host, _) = host.split_once('/').expect("the server's url names a database");
        let password = password.map(|p| format!(":{p}")).unwrap_or_default();
        format!("postgres://{role}{password}@{host}/{}", self.name)
    }

    /// Returns the database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements, separated by semicolons.
    pub fn run(&self, sql: &str) {
        run_on(&self.url(), sql);
    }

    /// Opens a session that stays, for transactions that go on while something else happens.
    pub fn session(&self) -> Session {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let connection = runtime.block_on(connect(&self.url()));
        Session { connection, runtime }
    }

    /// Returns the result of a query, each cell as the server prints it.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let (url, sql) = (self.url(), sql.to_owned());
        block_on(async move {
            let mut connection = connect(&url).await;
            // The simple protocol: every cell arrives as text, printed by the server itself.
            let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).fetch_all(&mut connection).await;
            let rows = rows.unwrap_or_else(|e| panic!("{sql}\n{e}"));
            let rows = rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect()).collect();
            let _ = connection.close().await;
            rows
        })
    }

    /// Returns the only cell of a query's result.
    pub fn value(&self, sql: &str) -> Option<String> {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "one row is expected of {sql}");
        rows.remove(0).remove(0)
    }

    /// Returns the only cell of a query's result as a number.
    pub fn count(&self, sql: &str) -> u64 {
        self.value(sql).expect("a number, not NULL").parse().unwrap_or_else(|_| panic!("a number is expected of {sql}"))
    }

    /// Feeds a script to `psql`, which alone understands `COPY … FROM stdin` inside one.
    pub fn load(&self, script: &[u8]) {
        use std::io::Write;
        let program = std::env::var("MIGRATE_PG_BIN").map_or("psql".to_owned(), |bin| format!("{bin}/psql"));
        let mut child = Command::new(program)
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url()])
            .env(
                "PGOPTIONS",
                "-c search_path=public -c datestyle=ISO,MDY -c timezone=UTC -c array_nulls=on -c standard_conforming_strings=on \
                 -c client_min_messages=warning -c idle_in_transaction_session_timeout=0",
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("psql starts");
        child.stdin.take().expect("psql reads").write_all(script).expect("psql reads the script");
        assert!(child.wait().expect("psql ends").success(), "psql refuses the script");
    }

    /// Makes the database stay, to be copied by others; returns its name.
    pub fn keep(self) -> String {
        let name = self.name.clone();
        std::mem::forget(self);
        name
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A failing test must show its own failure, not this one.
        let (url, sql) = (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(&self.name)));
        let _ = std::panic::catch_unwind(move || run_on(&url, &sql));
    }
}

/// A session of a [`Postgres`].
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    runtime: tokio::runtime::Runtime,
}

impl Session {
    /// Runs statements, separated by semicolons.
    pub fn run(&mut self, sql: &str) {
        let done = self.runtime.block_on(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut self.connection));
        done.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    }
}

/// Returns a name as SQL: in quotes, quotes doubled.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn run_on(url: &str, sql: &str) {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    block_on(async move {
        let mut connection = connect(&url).await;
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut connection).await;
        done.unwrap_or_else(|e| panic!("{sql}\n{e}"));
        let _ = connection.close().await;
    });
}

async fn connect(url: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.unwrap_or_else(|e| panic!("the test server does not answer: {e}"));
    sqlx::raw_sql(SESSION).execute(&mut connection).await.expect("the session's settings are taken");
    connection
}

fn text(row: &PgRow, column: usize) -> Option<String> {
    let value = row.try_get_raw(column).expect("the column exists");
    if value.is_null() { None } else { Some(value.as_str().expect("the server prints UTF-8").to_owned()) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts").block_on(future)
}
