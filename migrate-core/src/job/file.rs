//! The job file: environments, a store and jobs, in TOML.

use super::definition::Job;
use super::url::ConnectionUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::hint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environments, a store and jobs, as a job file holds them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Job file of migrate")]
#[non_exhaustive]
pub struct JobFile {
    /// Named connections.
    #[serde(default)]
    pub environments: BTreeMap<String, Environment>,
    /// Where executions are recorded.
    #[serde(default)]
    pub store: StoreConfig,
    /// Jobs by name.
    #[serde(default)]
    pub jobs: BTreeMap<String, Job>,
    /// The file that was read.
    #[serde(skip)]
    path: PathBuf,
}

/// A named connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table such as [environments.NAME] with a url")]
#[non_exhaustive]
pub struct Environment {
    /// `sqlite:PATH`, relative to the job file, or `postgres://…`; `${NAME}` is read from the process environment.
    pub url: ConnectionUrl,
}

impl Environment {
    /// Creates an environment of a url.
    pub fn new(url: impl Into<String>) -> Self {
        Environment { url: ConnectionUrl::new(url) }
    }
}

/// Where executions are recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a table such as [store] with a url")]
#[non_exhaustive]
pub struct StoreConfig {
    /// `sqlite:PATH`, relative to the job file, or `postgres://…`; `sqlite:migrate.db` if not said.
    pub url: ConnectionUrl,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { url: ConnectionUrl::new("sqlite:migrate.db") }
    }
}

impl JobFile {
    /// The name that a job file has unless somebody says otherwise.
    pub const DEFAULT_NAME: &'static str = "migrate.toml";

    /// Creates a file without environments and jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an environment.
    #[must_use]
    pub fn with_environment(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.environments.insert(name.into(), Environment::new(url));
        self
    }

    /// Adds a job.
    #[must_use]
    pub fn with_job(mut self, job: Job) -> Self {
        self.jobs.insert(job.name.clone(), job);
        self
    }

    /// Records executions elsewhere.
    #[must_use]
    pub fn with_store(mut self, url: impl Into<String>) -> Self {
        self.store.url = ConnectionUrl::new(url);
        self
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the file, and the line and table where the text is wrong.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such job file; `migrate init` writes one to start from",
                _ => "the job file cannot be read",
            };
            Error::new(ErrorKind::Config, message).with("file", path.display()).caused_by(error)
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::new(ErrorKind::Config, "the job file is not UTF-8 text").with("file", path.display()))?;
        Self::parse(&text, path)
    }

    /// Reads a file's text; `path` is what errors name, and what relative urls start from.
    ///
    /// # Errors
    /// As [`JobFile::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut file: JobFile = toml::from_str(text).map_err(|error| explain(&error, text).with("file", path.display()))?;
        path.clone_into(&mut file.path);
        for (name, job) in &mut file.jobs {
            job.name.clone_from(name);
        }
        Ok(file)
    }

    /// Returns the file that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a job by name, or the only one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the job is unknown or contradicts itself, or a name is needed.
    pub fn job(&self, name: Option<&str>) -> Result<Job> {
        self.find_job(name).and_then(|job| job.validate().map(|()| job.clone())).map_err(|error| self.named(error))
    }

    fn find_job(&self, name: Option<&str>) -> Result<&Job> {
        let names = self.jobs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match name {
            Some(name) => self.jobs.get(name).ok_or_else(|| {
                let hint = hint::nearest(name, self.jobs.keys().map(String::as_str));
                let known = if names.is_empty() { "the file has no jobs".to_owned() } else { format!("the file has: {names}") };
                Error::new(ErrorKind::Config, format!("there is no job \"{name}\"; {known}{hint}"))
            }),
            None => {
                let mut jobs = self.jobs.values();
                match (jobs.next(), jobs.next()) {
                    (Some(job), None) => Ok(job),
                    (None, _) => Err(Error::new(ErrorKind::Config, "the file has no jobs; add one as [jobs.NAME]")),
                    (Some(_), Some(_)) => {
                        Err(Error::new(ErrorKind::Config, format!("the file has several jobs; name one of: {names}")))
                    }
                }
            }
        }
    }

    /// Returns the url of an environment, variables replaced from the process environment and paths resolved.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the environment, if it is unknown or a variable is not set.
    pub fn environment_url(&self, name: &str) -> Result<ConnectionUrl> {
        self.environment_url_with(name, &|variable| std::env::var(variable).ok())
    }

    /// Returns the url of an environment, with variables looked up by the caller.
    ///
    /// # Errors
    /// As [`JobFile::environment_url`].
    pub fn environment_url_with(&self, name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<ConnectionUrl> {
        let environment = self.environments.get(name).ok_or_else(|| {
            let names = self.environments.keys().map(String::as_str);
            let hint = hint::nearest(name, names.clone());
            let known = match names.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "the file has none; add one as [environments.NAME]".to_owned(),
                names => format!("the file has: {names}"),
            };
            self.named(Error::new(ErrorKind::Config, format!("there is no environment \"{name}\"; {known}{hint}")))
        })?;
        self.resolve(&environment.url, lookup).map_err(|error| self.named(error.with("environment", name)))
    }

    /// Returns the url of the store, resolved as those of environments are.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a variable is not set.
    pub fn store_url(&self) -> Result<ConnectionUrl> {
        self.resolve(&self.store.url, &|variable| std::env::var(variable).ok())
            .map_err(|error| self.named(error.with("table", "[store]")))
    }

    fn resolve(&self, url: &ConnectionUrl, lookup: &dyn Fn(&str) -> Option<String>) -> Result<ConnectionUrl> {
        let url = url.substitute(lookup)?;
        if url.expose().trim().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the url is empty"));
        }
        url.relative_to(self.path.parent().unwrap_or(Path::new("")))
    }

    fn named(&self, error: Error) -> Error {
        if self.path.as_os_str().is_empty() { error } else { error.with("file", self.path.display()) }
    }

    /// Returns a commented file to start from.
    pub fn starter() -> &'static str {
        include_str!("starter.toml")
    }

    /// Returns the JSON Schema of job files, for editors.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(JobFile).to_value()
    }
}

/// Turns a parser's error into one that says where and what, with a hint, and without any value: it may be a secret.
fn explain(error: &toml::de::Error, text: &str) -> Error {
    let mut message = without_values(error.message());
    if let Some((unknown, rest)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        let hint = hint::nearest(unknown, rest.split('`').skip(1).step_by(2));
        message = format!("unknown key \"{unknown}\"{}{hint}", rest.replace('`', ""));
    } else if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        message = format!("the key \"{field}\" is missing");
    } else if message.starts_with("data did not match any variant of untagged enum Parameter") {
        message = "expected a truth value, a number or a text (dates in quotes)".to_owned();
    }
    let mut result = Error::new(ErrorKind::Config, format!("the job file is wrong: {}", message.trim_end().replace('\n', ", ")));
    if let Some(span) = error.span() {
        let before = text.get(..span.start).unwrap_or(text);
        // A missing key is reported for the whole table: its first line is the header itself.
        let line = before.matches('\n').count() + 1;
        let up_to = text.lines().take(line).collect::<Vec<_>>();
        if let Some(header) = up_to.iter().rev().map(|l| l.trim()).find(|l| l.starts_with('[') && l.contains(']')) {
            let end = header.rfind(']').unwrap_or(0);
            result = result.with("table", &header[..=end]);
        }
        result = result.with("line", line);
    }
    result
}

/// Takes the value out of serde's `invalid type: string "…", expected …`.
fn without_values(message: &str) -> String {
    let cut = |text: &str| {
        let start = text.find('"')?;
        let end = text.rfind("\", expected ")?;
        (start < end).then(|| format!("{}{}", text[..start].trim_end(), &text[end + 1..]))
    };
    match message.starts_with("invalid type: string") || message.starts_with("invalid value: string") {
        true => cut(message).unwrap_or_else(|| "a text stands where something else is expected".to_owned()),
        false => message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
