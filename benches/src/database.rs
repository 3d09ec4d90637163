//! PostgreSQL servers of the bench's own, and `psql` to talk to them.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A folder with throw-away servers and files, cleared away with this value.
///
/// A process of its own does that: it reads a pipe that ends with this process, however that comes about.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    keeper: Child,
}

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = tempfile::Builder::new().prefix("migrate-benches.").tempdir()?.keep();
        // The servers run as another user where this one is root.
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let clear = "trap '' INT TERM HUP; cat >/dev/null; for dir in \"$1\"/*/; do \"$0\" remove \"$dir\"; done; rm -rf \"$1\"";
        let keeper = Command::new("sh").arg("-c").arg(clear).arg(script()).arg(&path).stdin(Stdio::piped()).spawn()?;
        Ok(Folder { path, keeper })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Nothing can be done about what does not go away.
        let _ = self.keeper.wait();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/postgres.sh")
}

/// A throw-away server.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
}

impl Server {
    /// Makes and starts a server in a folder; with PostgreSQL's defaults but for memory and the distance of checkpoints.
    pub(crate) fn start(folder: &Folder, name: &str) -> Result<Self> {
        let settings = ["shared_buffers = '512MB'", "max_wal_size = '8GB'"];
        let output = Command::new(script())
            .arg("create")
            .arg(folder.path().join(name))
            .args(settings)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{} did not start a server", script().display()).into());
        }
        Ok(Server { url: String::from_utf8(output.stdout)?.trim().to_owned() })
    }

    /// The url of one of the server's databases.
    pub(crate) fn url(&self, database: &str) -> String {
        match self.url.rsplit_once('/') {
            Some((server, _)) => format!("{server}/{database}"),
            None => self.url.clone(),
        }
    }

    /// Makes a database anew, runs statements in it, and writes everything to disk so that what is timed starts from rest.
    pub(crate) fn fresh(&self, database: &str, sql: &str) -> Result<()> {
        let admin = self.url("postgres");
        run(
            &admin,
            &[
                &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
                &format!("CREATE DATABASE {database} TEMPLATE template0"),
            ],
        )?;
        run(&self.url(database), &[sql, "CHECKPOINT"])
    }
}

/// Starts `psql` for one session. The settings that change what is printed are fixed.
pub(crate) fn psql(url: &str, statements: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command.env("PGOPTIONS", "-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1 -c client_min_messages=warning");
    statements.iter().filter(|s| !s.is_empty()).for_each(|s| {
        command.args(["-c", s]);
    });
    command.stdin(Stdio::null());
    command
}

fn program() -> PathBuf {
    match std::env::var_os("MIGRATE_PG_BIN") {
        Some(bin) => PathBuf::from(bin).join("psql"),
        None => PathBuf::from("psql"),
    }
}

/// Runs statements.
pub(crate) fn run(url: &str, statements: &[&str]) -> Result<()> {
    ended(psql(url, statements).stdout(Stdio::null()).spawn()?)
}

/// Runs a query and returns what it prints.
pub(crate) fn query(url: &str, sql: &str) -> Result<String> {
    let output = psql(url, &[sql]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("psql refused a query".into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Starts a COPY to the server; write its rows, close the pipe, then call [`ended`].
pub(crate) fn copy_in(url: &str, sql: &str) -> Result<(Child, ChildStdin)> {
    let mut child = psql(url, &[sql]).stdin(Stdio::piped()).spawn()?;
    let pipe = child.stdin.take().ok_or("psql has no input")?;
    Ok((child, pipe))
}

/// Starts a COPY from the server; read its rows, then call [`ended`].
pub(crate) fn copy_out(url: &str, sql: &str) -> Result<(Child, ChildStdout)> {
    let mut child = psql(url, &[sql]).stdout(Stdio::piped()).spawn()?;
    let pipe = child.stdout.take().ok_or("psql has no output")?;
    Ok((child, pipe))
}

/// Waits for a program and checks that it succeeded.
pub(crate) fn ended(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("psql ended with {status}").into()) }
}
