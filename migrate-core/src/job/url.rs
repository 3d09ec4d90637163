//! Urls of databases: secrets that print without their password.

use super::variables;
use crate::error::{Error, ErrorKind, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::Path;

/// The url of a database. `Debug`, `Display` and serialization leave the password out; [`ConnectionUrl::expose`] does not.
///
/// `sqlite:PATH` and `sqlite://PATH` name a file, `postgres://` and `postgresql://` a server's database.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ConnectionUrl(String);

impl ConnectionUrl {
    /// Wraps a url; nothing is checked.
    pub fn new(url: impl Into<String>) -> Self {
        ConnectionUrl(url.into())
    }

    /// Returns the url as it is, password included: for connecting only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns what stands before the first colon, in lower case; `None` if there is none.
    pub fn scheme(&self) -> Option<String> {
        let (scheme, _) = self.0.split_once(':')?;
        let valid = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        valid.then(|| scheme.to_ascii_lowercase())
    }

    /// Returns the path of a `sqlite` url, its query included.
    fn sqlite_path(&self) -> Option<&str> {
        if self.scheme()? != "sqlite" {
            return None;
        }
        let path = &self.0["sqlite:".len()..];
        Some(path.strip_prefix("//").unwrap_or(path))
    }

    /// Returns the url with `${NAME}` replaced by what `lookup` knows.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the variable that is missing, or an opening `${` without its end.
    pub fn substitute(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        variables::substitute(&self.0, "url", lookup).map(ConnectionUrl)
    }

    /// Returns the url with a relative `sqlite` path taken from a folder.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the folder's name is not UTF-8.
    pub fn relative_to(&self, folder: &Path) -> Result<Self> {
        let Some(path) = self.sqlite_path() else { return Ok(self.clone()) };
        if path.is_empty() || path.starts_with(":memory:") || Path::new(path).is_absolute() || folder.as_os_str().is_empty() {
            return Ok(self.clone());
        }
        let Some(folder) = folder.to_str() else {
            return Err(Error::new(ErrorKind::Config, "the folder of the job file has a name that is not UTF-8"));
        };
        // What means something in a url must not be read into the folder's name.
        let folder = folder.replace('%', "%25").replace('?', "%3F");
        let slash = if folder.ends_with('/') { "" } else { "/" };
        Ok(ConnectionUrl(format!("sqlite:{folder}{slash}{path}")))
    }
}

impl fmt::Display for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sqlite_path().is_some() {
            return f.write_str(&self.0);
        }
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => ("", self.0.as_str()),
        };
        if !scheme.is_empty() {
            write!(f, "{scheme}://")?;
        }
        // The last @ ends the password even where somebody forgot to escape an @, / or ? inside it: rather too much hidden.
        let rest = match rest.rsplit_once('@') {
            Some((user, host)) => {
                match user.split_once(':') {
                    Some((user, _)) if !scheme.is_empty() => write!(f, "{user}:***@")?,
                    None if !scheme.is_empty() => write!(f, "{user}@")?,
                    Some(_) | None => f.write_str("***@")?,
                }
                host
            }
            None => rest,
        };
        let Some((path, query)) = rest.split_once('?') else { return f.write_str(rest) };
        f.write_str(path)?;
        for (i, parameter) in query.split('&').enumerate() {
            f.write_str(if i == 0 { "?" } else { "&" })?;
            match parameter.split_once('=') {
                Some((name, _)) if is_secret(name) => write!(f, "{name}=***")?,
                Some(_) | None => f.write_str(parameter)?,
            }
        }
        Ok(())
    }
}

/// Whether a url parameter of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "%"].iter().any(|part| name.contains(part))
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionUrl({self})")
    }
}

impl Serialize for ConnectionUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_a_url_prints_its_password() {
        for url in [
            "postgres://user:hunter2@host:5432/db",
            "postgresql://user:hun@hunter2@host/db",
            "postgres://user:a/hunter2?x@host/db",
            "postgres://host/db?user=me&password=hunter2",
            "postgres://host/db?sslmode=require&sslpassword=hunter2",
            "postgres://host/db?PassWord=hunter2&x=y",
            "user:hunter2@host/db",
            "mysql:user:hunter2@host/db",
            "hunter2@host",
        ] {
            let url = ConnectionUrl::new(url);
            let json = serde_json::to_string(&url).expect("a text serializes");
            for printed in [url.to_string(), format!("{url:?}"), json] {
                assert!(!printed.contains("hunter2"), "{printed}");
                assert!(printed.contains("***"), "{printed}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_printed() {
        for url in ["postgres://user@host:5432/db?sslmode=require", "sqlite:a@b:c.db", "sqlite:///tmp/x.db", "postgres:///db"] {
            assert_eq!(ConnectionUrl::new(url).to_string(), url);
        }
        assert_eq!(ConnectionUrl::new("postgres://me:x@h/db").to_string(), "postgres://me:***@h/db");
    }

    #[test]
    fn variables_are_replaced_and_a_missing_one_is_named() {
        let lookup = |name: &str| (name == "PW").then(|| "s3cret".to_owned());
        let url = ConnectionUrl::new("postgres://u:${PW}@h/${PW}").substitute(&lookup).expect("the variable is known");
        assert_eq!(url.expose(), "postgres://u:s3cret@h/s3cret");
        let error = ConnectionUrl::new("${NOPE}").substitute(&lookup).expect_err("the variable is unknown");
        assert!(error.to_string().contains("NOPE"), "{error}");
        assert!(ConnectionUrl::new("a${PW").substitute(&lookup).is_err());
    }

    #[test]
    fn only_relative_sqlite_paths_move_with_the_folder() {
        for (url, resolved) in [
            ("sqlite:a.db", "sqlite:/jobs/a.db"),
            ("sqlite://a b/c.db", "sqlite:/jobs/a b/c.db"),
            ("sqlite:/abs.db", "sqlite:/abs.db"),
            ("sqlite:///abs.db", "sqlite:///abs.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://h/db", "postgres://h/db"),
        ] {
            let url = ConnectionUrl::new(url).relative_to(Path::new("/jobs")).expect("the folder is UTF-8");
            assert_eq!(url.expose(), resolved);
        }
        let url = ConnectionUrl::new("sqlite:a.db?mode=ro").relative_to(Path::new("/odd%20?")).expect("the folder is UTF-8");
        assert_eq!(url.expose(), "sqlite:/odd%2520%3F/a.db?mode=ro");
    }
}
