//! How a server is reached.

use migrate_core::{Error, ErrorKind, Result, hint};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

const PARAMETERS: [&str; 10] =
    ["application_name", "connect_timeout", "dbname", "host", "password", "port", "sslcert", "sslkey", "sslmode", "sslrootcert"];

/// Says how a server is reached: address, role, password and TLS.
///
/// Everything comes from the URL. The `PG*` environment variables and password files that other clients read decide nothing
/// here, so that a job file means the same wherever it runs. `Debug` and `Display` leave the password out.
#[derive(Clone)]
pub struct PostgresConfig {
    options: PgConnectOptions,
    server: String,
    database: String,
    connect_timeout: Duration,
    /// The files that the URL names, with the parameters that name them.
    files: Vec<(&'static str, String)>,
}

impl PostgresConfig {
    /// Parses a `postgres://user:password@host:port/database?parameter=value` URL.
    ///
    /// Known parameters: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host` (a folder for Unix sockets), `port`, `user`,
    /// `password`, `dbname`, `application_name` and `connect_timeout` (seconds, 30 by default). Without a host the local socket is
    /// taken where there is one, without a user the operating system's, without a database the one named like the user.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] saying which part is wrong; the message never holds the URL, which may hold a password.
    pub fn from_url(url: &str) -> Result<Self> {
        let url = Url::parse(url).map_err(|e| config(format!("the PostgreSQL URL cannot be parsed: {e}")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(config("a PostgreSQL URL starts with postgres:// or postgresql://"));
        }
        let mut parts = Parts::default();
        if let Some(host) = url.host_str().filter(|h| !h.is_empty()) {
            parts.host = Some(decode(host, "host")?);
        }
        parts.port = url.port();
        if !url.username().is_empty() {
            parts.user = Some(decode(url.username(), "user")?);
        }
        parts.password = url.password().map(|p| decode(p, "password")).transpose()?;
        let path = url.path().trim_start_matches('/');
        if !path.is_empty() {
            parts.database = Some(decode(path, "database")?);
        }
        for (name, value) in url.query_pairs() {
            parts.set(&name, &value)?;
        }
        parts.build()
    }

    /// Returns `host:port`, or the socket's folder, for messages.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Returns the database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Returns the role's name.
    pub fn user(&self) -> &str {
        self.options.get_username()
    }

    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Checks that the certificates and keys that the URL names can be read.
    ///
    /// # Errors
    /// [`migrate_core::ErrorKind::Config`] naming the parameter and the file.
    pub(crate) fn check_files(&self) -> Result<()> {
        for (parameter, file) in &self.files {
            std::fs::File::open(file).map_err(|error| {
                config(format!("the file of the URL's {parameter} cannot be read")).with("file", file).caused_by(error)
            })?;
        }
        Ok(())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }
}

impl fmt::Display for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}/{}", self.user(), self.server, self.database)
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresConfig({self})")
    }
}

#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    application_name: Option<String>,
    ssl_mode: Option<PgSslMode>,
    ssl_root_cert: Option<String>,
    ssl_cert: Option<String>,
    ssl_key: Option<String>,
    connect_timeout: Option<Duration>,
}

impl Parts {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let text = || Some(value.to_owned());
        match name {
            "host" | "hostaddr" => self.host = text(),
            "port" => self.port = Some(value.parse().map_err(|_| config("the URL's port must be a number up to 65535"))?),
            "user" => self.user = text(),
            "password" => self.password = text(),
            "dbname" => self.database = text(),
            "application_name" => self.application_name = text(),
            "sslrootcert" | "ssl-root-cert" => self.ssl_root_cert = text(),
            "sslcert" | "ssl-cert" => self.ssl_cert = text(),
            "sslkey" | "ssl-key" => self.ssl_key = text(),
            "sslmode" | "ssl-mode" => {
                self.ssl_mode = Some(PgSslMode::from_str(value).map_err(|_| {
                    config("the URL's sslmode must be disable, allow, prefer, require, verify-ca or verify-full")
                })?);
            }
            "connect_timeout" => {
                let seconds: u64 = value.parse().map_err(|_| config("the URL's connect_timeout must be a number of seconds"))?;
                self.connect_timeout = Some(Duration::from_secs(seconds));
            }
            // A setting that is passed over in silence (a misspelt sslmode) may cost more than an error.
            other => {
                let nearest = hint::nearest(other, PARAMETERS);
                return Err(config(format!("the PostgreSQL URL has an unknown parameter {other}{nearest}")));
            }
        }
        Ok(())
    }

    fn build(self) -> Result<PostgresConfig> {
        let port = self.port.unwrap_or(5432);
        let host = self.host.unwrap_or_else(|| default_host(port));
        if host.contains(',') {
            return Err(config("the PostgreSQL URL names more than one host; name one"));
        }
        let user = match self.user.or_else(|| std::env::var("USER").ok().filter(|u| !u.is_empty())) {
            Some(user) => user,
            None => return Err(config("the PostgreSQL URL names no user")),
        };
        let database = self.database.unwrap_or_else(|| user.clone());
        for (what, text) in [("host", &host), ("user", &user), ("database", &database)] {
            if text.contains('\0') {
                return Err(config(format!("the PostgreSQL URL's {what} holds a zero byte")));
            }
        }
        // Each field is set, so that nothing is left to the environment that the constructor looks at.
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&host)
            .port(port)
            .username(&user)
            .password(self.password.as_deref().unwrap_or_default())
            .database(&database)
            .ssl_mode(self.ssl_mode.unwrap_or(PgSslMode::Prefer))
            .application_name(self.application_name.as_deref().unwrap_or("migrate"))
            .extra_float_digits(1)
            .disable_statement_logging();
        let mut files = Vec::new();
        if let Some(path) = self.ssl_root_cert {
            options = options.ssl_root_cert(&path);
            files.push(("sslrootcert", path));
        }
        if let Some(path) = self.ssl_cert {
            options = options.ssl_client_cert(&path);
            files.push(("sslcert", path));
        }
        if let Some(path) = self.ssl_key {
            options = options.ssl_client_key(&path);
            files.push(("sslkey", path));
        }
        let server = if host.starts_with('/') { format!("{host}:{port}") } else { format!("{}:{port}", bracketed(&host)) };
        let connect_timeout = self.connect_timeout.filter(|t| !t.is_zero()).unwrap_or(Duration::from_secs(30));
        Ok(PostgresConfig { options, server, database, connect_timeout, files })
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn default_host(port: u16) -> String {
    let socket = |folder: &&str| std::path::Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    ["/var/run/postgresql", "/tmp"].iter().find(|f| socket(f)).unwrap_or(&"localhost").to_string()
}

/// Decodes `%2F` and the like.
fn decode(text: &str, what: &str) -> Result<String> {
    let wrong = || config(format!("the PostgreSQL URL's {what} is not well percent-encoded UTF-8"));
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        if bytes[i] == b'%' {
            let digits = bytes.get(i + 1..i + 3).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(wrong)?;
            out.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).map_err(|_| wrong())
}

fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> PostgresConfig {
        PostgresConfig::from_url(url).expect("the url is well formed")
    }

    #[test]
    fn all_parts_of_a_url_are_understood() {
        let config = parse("postgres://al%40ice:s%3Acret@db.example:5433/my%20db?sslmode=require&connect_timeout=7");
        assert_eq!(config.to_string(), "postgres://al@ice@db.example:5433/my db");
        assert_eq!(config.options().get_ssl_mode() as u8, PgSslMode::Require as u8);
        assert_eq!(config.connect_timeout(), Duration::from_secs(7));
        let socket = parse("postgresql:///db?host=/tmp/sock&user=bob&port=5501");
        assert_eq!((socket.server(), socket.user(), socket.database()), ("/tmp/sock:5501", "bob", "db"));
        assert_eq!(parse("postgres://u@%2Ftmp%2Fx/d").server(), "/tmp/x:5432");
        assert_eq!(parse("postgres://u@[::1]:5499/d").server(), "[::1]:5499");
    }

    #[test]
    fn p9_the_password_is_never_printed() {
        let config = parse("postgres://u:hunter2@h/d?password=hunter3");
        let printed = format!("{config} {config:?}");
        assert!(!printed.contains("hunter"), "{printed}");
        for url in ["postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=hunter3", "mysql://u:hunter2@h/d"] {
            let error = PostgresConfig::from_url(url).expect_err("the url is wrong");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_a_hint() {
        let error = PostgresConfig::from_url("postgres://u@h/d?sslmod=require").expect_err("misspelt");
        assert!(error.to_string().contains("sslmode"), "{error}");
    }
}
