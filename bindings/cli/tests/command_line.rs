//! The built binary, run as a user would: files, arguments, exit codes, documents, signals.

use rusqlite::Connection;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with a job file and the databases it names.
struct Project(TempDir);

impl Project {
    fn empty() -> Self {
        Project(tempfile::tempdir().expect("a folder can be made"))
    }

    /// A folder whose job `copy` moves everything from `source.db` to `target.db`.
    fn new(setup: &str) -> Self {
        let project = Project::empty();
        project.write_job("");
        project.sql("source.db", setup);
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path("migrate.toml"), text).expect("the file can be written");
    }

    fn write_job(&self, more: &str) {
        let environments = "[environments.from]\nurl = \"sqlite:source.db\"\n[environments.to]\nurl = \"sqlite:target.db\"\n";
        self.write(&format!("{environments}[jobs.copy]\nsource = \"from\"\ntarget = \"to\"\n{more}"));
    }

    fn sql(&self, file: &str, sql: &str) {
        let connection = Connection::open(self.path(file)).expect("the file opens");
        connection.execute_batch(sql).expect("the statements are right");
    }

    fn number(&self, file: &str, sql: &str) -> i64 {
        let connection = Connection::open(self.path(file)).expect("the file opens");
        connection.query_row(sql, [], |row| row.get(0)).expect("the query is right")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().expect("the binary starts"))
    }
}

/// What a process left behind.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let ended = Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        ended
    }

    fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: not one document: {}", self.stdout))
    }
}

const SMALL: &str = "CREATE TABLE \"Order Details\" (id INTEGER PRIMARY KEY, note TEXT);
                     INSERT INTO \"Order Details\" VALUES (1, 'a'), (2, ''), (3, NULL);
                     CREATE TABLE \"2B\" (\"year.key\" TEXT PRIMARY KEY); INSERT INTO \"2B\" VALUES ('x');";

fn entity<'a>(document: &'a Value, name: &str) -> &'a Value {
    let entities = document["entities"].as_array().expect("there are entities");
    entities.iter().find(|e| e["name"] == name).unwrap_or_else(|| panic!("{name} is missing: {document}"))
}

#[test]
fn init_writes_a_file_that_check_understands_and_never_overwrites_one() {
    let project = Project::empty();
    let first = project.run(&["init"]).with_code(0);
    assert!(first.stdout.contains("migrate check"), "{first:?}");
    let text = std::fs::read_to_string(project.path("migrate.toml")).expect("the file is written");
    let checked = project.run(&["check"]);
    assert!(!checked.stderr.contains("job file is wrong"), "{checked:?}");
    let again = project.run(&["init"]).with_code(2);
    assert!(again.stderr.contains("migrate.toml") && again.stderr.contains("there already"), "{again:?}");
    assert_eq!(std::fs::read_to_string(project.path("migrate.toml")).expect("it is still there"), text);
    project.run(&["init", "-c", "other.toml", "--json"]).with_code(0).json();
    assert!(project.path("other.toml").exists());
}

#[test]
fn wrong_files_and_arguments_end_with_2_one_error_and_an_untouched_target() {
    let job = |more: &str| {
        let environments = "[environments.from]\nurl = \"sqlite:source.db\"\n[environments.to]\nurl = \"sqlite:target.db\"\n";
        format!("{environments}[jobs.copy]\nsource = \"from\"\ntarget = \"to\"\n{more}")
    };
    let good = job("");
    let project = Project::new(SMALL);
    for (file, arguments, parts) in [
        (
            job("mdoe = \"init\"\n"),
            vec!["run"],
            vec!["migrate.toml", "line 8", "[jobs.copy]", "\"mdoe\"", "did you mean \"mode\"?"],
        ),
        (job("mode = \"updaet\"\n"), vec!["run"], vec!["\"updaet\"", "did you mean \"update\"?"]),
        (job("deletes = \"soft\"\n"), vec!["run"], vec!["column = \"deleted_at\"", "copy"]),
        (
            good.replace("sqlite:target.db", "mysql://u:hunter2@h/d"),
            vec!["run"],
            vec!["mysql", "sqlite", "postgres", "environment to"],
        ),
        (good.replace("sqlite:target.db", "${NOT_SET_ANYWHERE}"), vec!["run"], vec!["NOT_SET_ANYWHERE", "environment to"]),
        (good.replace("sqlite:target.db", "sqlite:source.db"), vec!["run"], vec!["source and target are the same database"]),
        (good.clone(), vec!["run", "cpoy"], vec!["\"cpoy\"", "did you mean \"copy\"?"]),
        (good.clone(), vec!["run", "--target", "two"], vec!["\"two\"", "from, to"]),
        (good.clone(), vec!["run", "-c", "none.toml"], vec!["none.toml", "migrate init"]),
        (good.clone(), vec!["run", "--param", "x"], vec!["NAME=VALUE"]),
        (good.clone(), vec!["run", "--max-quarantined", "few"], vec!["\"few\"", "0.5%"]),
        (good.clone(), vec!["run", "--batch-size", "0"], vec!["--batch-size"]),
        (good.clone(), vec!["executions", "list", "--state", "done"], vec!["\"done\""]),
        (String::new(), vec!["run"], vec!["no jobs"]),
        ("[store]\nurl = \"postgres://u:hunter2@h/d\" oops".to_owned(), vec!["executions"], vec!["line 2"]),
    ] {
        project.write(&file);
        let ended = project.run(&arguments).with_code(2);
        for part in parts {
            assert!(ended.stderr.contains(part), "{part:?} is missing: {}", ended.stderr);
        }
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("hunter2"), "{ended:?}");
        assert_eq!(ended.stderr.matches("error: ").count(), 1, "{}", ended.stderr);
        let document = project.run(&[&arguments[..], &["--json"]].concat()).with_code(2).json();
        assert_eq!((&document["status"], &document["error"]["kind"]), (&"failed".into(), &"config".into()), "{document}");
        assert!(!project.path("target.db").exists(), "{arguments:?}");
        assert!(!project.path("migrate.db").exists(), "{arguments:?}");
    }
}

#[test]
fn a_run_prints_its_table_and_the_record_shows_it_again() {
    let project = Project::new(SMALL);
    let ended = project.run(&["run"]).with_code(0);
    for part in ["entity", "Order Details", "2B", "total", "quarantined", "succeeded in"] {
        assert!(ended.stdout.contains(part), "{part:?} is missing: {}", ended.stdout);
    }
    let listed = project.run(&["executions", "--json"]).with_code(0).json();
    let id = listed["executions"][0]["id"].as_str().expect("there is one").to_owned();
    assert!(ended.stdout.contains(&id) && project.run(&["executions"]).with_code(0).stdout.contains(&id));
    let shown = project.run(&["executions", "show", &id, "--json"]).with_code(0).json();
    assert_eq!((&shown["state"], &shown["attempt"], &shown["interrupted"]), (&"succeeded".into(), &1.into(), &false.into()));
    assert_eq!(entity(&shown, "Order Details")["inserted"], 3);
    assert_eq!(shown["command"], "migrate run");
    let human = project.run(&["executions", "show"]).with_code(0).stdout;
    assert!(human.contains(&id) && human.contains("Order Details") && human.contains("source.db"), "{human}");
    let logs = project.run(&["executions", "logs", &id, "--json"]).with_code(0).json();
    let lines = logs["logs"].as_array().expect("there are lines");
    assert!(lines.iter().any(|line| line["entity"] == "2B"), "{logs}");
    let unknown = project.run(&["executions", "show", "nope"]).with_code(2);
    assert!(unknown.stderr.contains("nope") && unknown.stderr.contains("hint: "), "{unknown:?}");
}

#[test]
fn a_run_as_a_document_has_every_field_and_nothing_else_on_standard_output() {
    let project = Project::new(SMALL);
    let first = project.run(&["run", "copy", "--json"]).with_code(0).json();
    assert_eq!(first["status"], "succeeded");
    let counters = [
        "read",
        "inserted",
        "updated",
        "unchanged",
        "skipped",
        "filtered",
        "quarantined",
        "deleted",
        "conflicts",
        "pending",
        "orphans",
    ];
    for name in counters {
        assert!(entity(&first, "2B")[name].is_u64(), "{name}: {first}");
    }
    assert!(entity(&first, "2B")["seconds"].is_f64(), "{first}");
    let second = project.run(&["run", "--json"]).with_code(0).json();
    assert_eq!(entity(&second, "Order Details")["unchanged"], 3, "{second}");
    assert_ne!(first["execution_id"], second["execution_id"]);
}

#[test]
fn plan_and_check_read_only() {
    let project = Project::new(SMALL);
    let plan = project.run(&["plan"]).with_code(0).stdout;
    assert!(plan.contains("Order Details") && plan.contains("create") && plan.contains("Nothing was written"), "{plan}");
    let document = project.run(&["run", "--dry-run", "--json"]).with_code(0).json();
    assert_eq!(document["entities"].as_array().map(Vec::len), Some(2), "{document}");
    let check = project.run(&["check"]).with_code(0).stdout;
    assert!(check.contains("a run can start") && check.contains("2B"), "{check}");
    assert_eq!(project.run(&["check", "--json"]).with_code(0).json()["passed"], true);
    assert!(!project.path("target.db").exists() && !project.path("migrate.db").exists());
    std::fs::remove_file(project.path("source.db")).expect("it is there");
    let failed = project.run(&["check", "--json"]).with_code(4).json();
    assert_eq!(failed["passed"], false, "{failed}");
    project.run(&["plan"]).with_code(1);
    assert!(!project.path("source.db").exists());
}

#[test]
fn a_failed_run_says_why_and_how_to_go_on_in_text_and_as_a_document() {
    let project = Project::new(SMALL);
    project.write_job("mode = \"init\"\n");
    project.sql("target.db", "CREATE TABLE \"2B\" (\"year.key\" TEXT PRIMARY KEY); INSERT INTO \"2B\" VALUES ('theirs')");
    let ended = project.run(&["run"]).with_code(5);
    for part in ["error: ", "2B", "migrate run copy", "migrate executions logs"] {
        assert!(ended.stderr.contains(part), "{part:?} is missing: {}", ended.stderr);
    }
    let document = project.run(&["run", "--json"]).with_code(5).json();
    assert_eq!((&document["status"], &document["error"]["kind"]), (&"failed".into(), &"refused".into()), "{document}");
    assert!(document["execution_id"].is_string(), "{document}");
    let shown = project.run(&["executions", "show"]).with_code(0).stdout;
    assert!(shown.contains("failed") && shown.contains("attempt"), "{shown}");
}

#[test]
fn target_init_makes_the_state_tables_or_prints_their_sql() {
    let project = Project::new(SMALL);
    let printed = project.run(&["target", "init", "--print"]).with_code(0).stdout;
    assert!(printed.contains("CREATE TABLE") && printed.contains("_migrate_"), "{printed}");
    assert!(!project.path("target.db").exists());
    project.run(&["target", "init"]).with_code(0);
    assert!(project.number("target.db", "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_migrate\\_%' ESCAPE '\\'") > 0);
    let again = project.run(&["target", "init", "--target", "to", "--json"]).with_code(0).json();
    assert_eq!(again["created"], false, "{again}");
}

#[test]
fn parameters_are_recorded_by_name_only() {
    let project = Project::new(SMALL);
    project.write_job("[[jobs.copy.entities]]\nsource = \"Order Details\"\nwhere = \"note = :wanted OR id = :id\"\n");
    let report = project.run(&["run", "--json", "--param", "wanted=hunter2", "--param=id=2"]).with_code(0).json();
    assert_eq!(entity(&report, "Order Details")["read"], 1, "{report}");
    let shown = project.run(&["executions", "show", "--json"]).with_code(0).json();
    let command = shown["command"].as_str().expect("it is recorded");
    assert!(command.contains("wanted=…") && command.contains("id=…") && !command.contains("hunter2"), "{command}");
}

#[test]
fn logs_go_to_standard_error_and_are_appended_to_a_file() {
    let project = Project::new(SMALL);
    let length = |path: &Path| std::fs::metadata(path).expect("the file is there").len();
    let human = project.run(&["run", "--log-file", "run.log"]).with_code(0);
    assert!(human.stderr.contains("started") && human.stderr.contains("Order Details"), "{}", human.stderr);
    let once = length(&project.path("run.log"));
    let json = project.run(&["run", "--json", "--log-format", "json", "--log-file", "run.log"]).with_code(0);
    json.json();
    assert!(length(&project.path("run.log")) > once);
    let lines: Vec<Value> = json.stderr.lines().map(|l| serde_json::from_str(l).expect("each line is a document")).collect();
    assert!(lines.iter().any(|line| line["entity"] == "2B" && line["message"] == "started"), "{lines:?}");
    project.run(&["run", "--log-file", "no/such/folder/run.log"]).with_code(2);
}

/// Sends a signal to a process, as a terminal would.
#[cfg(unix)]
fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().expect("kill starts");
    assert!(sent.success());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_stops_at_a_commit_says_how_to_go_on_and_goes_on() {
    let project = Project::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, 'v' || i FROM n;",
    );
    // A commit for each row, so that it cannot be done before it is told to stop.
    let mut command = project.command(&["run", "--json", "--batch-size", "1", "-v"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    while !said.contains("committed") {
        assert!(stderr.read_line(&mut said).expect("it is UTF-8") > 0, "it ended too early: {said}");
    }
    signal("-INT", child.id());
    // The pipe must be emptied, or the process would wait for it.
    std::io::Read::read_to_string(&mut stderr, &mut said).expect("it is UTF-8");
    let ended = Ended::of(child.wait_with_output().expect("it ends")).with_code(130);
    assert!(said.contains("stopping at the next commit") && said.contains("migrate run copy"), "{said}");
    let report = ended.json();
    assert_eq!(report["status"], "cancelled", "{report}");
    let rows = project.number("target.db", "SELECT count(*) FROM t");
    assert!((1..20_000).contains(&rows), "{rows}");
    let next = project.run(&["run", "--json"]).with_code(0).json();
    assert_eq!(next["execution_id"], report["execution_id"], "the same execution goes on");
    assert_eq!(entity(&next, "t")["read"], 20_000, "{next}");
    assert_eq!(project.number("target.db", "SELECT count(*) FROM t"), 20_000);
    let shown = project.run(&["executions", "show", "--json"]).with_code(0).json();
    assert_eq!((&shown["attempts"][0]["state"], &shown["attempts"][1]["state"]), (&"cancelled".into(), &"succeeded".into()));
}

#[cfg(unix)]
#[test]
fn a_killed_run_is_shown_as_interrupted_and_the_next_one_goes_on() {
    let project = Project::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, 'v' || i FROM n;",
    );
    let mut command = project.command(&["run", "--batch-size", "1", "-v"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    while !said.contains("committed") {
        assert!(stderr.read_line(&mut said).expect("it is UTF-8") > 0, "it ended too early: {said}");
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let listed = project.run(&["executions"]).with_code(0).stdout;
    assert!(listed.contains("interrupted"), "{listed}");
    let next = project.run(&["run", "--json"]).with_code(0).json();
    assert_eq!(next["status"], "succeeded", "{next}");
    let shown = project.run(&["executions", "show"]).with_code(0).stdout;
    assert!(shown.contains("succeeded") && shown.contains("interrupted: process"), "{shown}");
    assert_eq!(project.number("target.db", "SELECT count(*) FROM t"), 20_000);
}
