//! No secret and no cell's value leaves (P9): both are planted, and every output is searched.

use migrate_tests::{Postgres, Project, Server, Sqlite};
use std::path::Path;

const PASSWORD: &str = "pw-3f9c2a-secret";
const VALUE: &str = "cell-7d1b8e-secret";
const KEY: &str = "key-5e0a44-secret";

/// Everything that a run leaves in its folder, searched as bytes; the databases that hold the rows themselves are left out.
fn files_that_hold(folder: &Path, needle: &str, except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).expect("a file");
        if !except.contains(&name.as_str()) && bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            found.push(name);
        }
    }
    found
}

#[test]
fn neither_a_password_nor_a_cells_value_is_in_any_output_log_or_record() {
    let target = Postgres::new(Server::First);
    target.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE CHECK (v NOT LIKE '%refused%'), n numeric(3,1), m text); \
         CREATE TABLE child (id int PRIMARY KEY, v text REFERENCES t (v)); \
         DO $$ BEGIN CREATE ROLE guarded LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    );
    let project = Project::new();
    let source = Sqlite::new(project.path().join("source.sqlite"));
    source.run(&format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n, m TEXT);
         INSERT INTO t SELECT column1, column2, column3, 'm' FROM (VALUES (1, '{VALUE} fine', 1.5), (2, '{VALUE} refused', 1.5),
             (3, '{VALUE} fine', 1), (4, '{VALUE} x', '{VALUE}'));
         CREATE TABLE child (id INTEGER PRIMARY KEY, v TEXT);
         INSERT INTO child VALUES (1, '{VALUE} orphan');",
    ));
    let settings = format!(
        "mode = \"replace\"\norphans = \"allow\"\n[[jobs.copy.entities]]\nsource = \"child\"\n[[jobs.copy.entities]]\nsource = \"t\"\n\
         transform = [{{ column = \"m\", mask = {{ pseudonym = {{ key = \"{KEY}\" }} }} }}]\n"
    );
    project.write_job(&source.url(), &target.url_as("guarded", Some(PASSWORD)), &settings);
    let mut output = String::new();
    for arguments in [
        &["check", "-v"][..],
        &["plan", "-v"],
        &["plan", "--json"],
        &["run", "-v", "--log-file", "human.log"],
        &["run", "--json", "--log-format", "json", "--log-file", "json.log", "-v"],
        &["executions", "--json"],
        &["executions"],
    ] {
        let run = project.run(arguments);
        assert!(!run.stderr.contains("panicked at"), "{}", run.stderr);
        output.push_str(&run.output());
    }
    let listed = project.run(["executions", "--json"]).expect(0).json();
    let executions = listed.as_array().or_else(|| listed["executions"].as_array()).expect("a list of executions").clone();
    assert!(!executions.is_empty());
    for execution in &executions {
        let id = execution["id"].as_str().or_else(|| execution["execution_id"].as_str()).expect("an id");
        for command in ["show", "logs"] {
            output.push_str(&project.run(["executions", command, id]).output());
            output.push_str(&project.run(["executions", command, id, "--json"]).output());
        }
    }
    // GIVEN that the bad rows were met at all
    assert!(output.contains("quarantine") || output.contains("refused"), "{output}");
    for secret in [PASSWORD, VALUE, KEY] {
        assert!(!output.contains(secret), "{secret} is printed:\n{output}");
        let found = files_that_hold(project.path(), secret, &["source.sqlite", "migrate.toml"]);
        assert!(found.is_empty(), "{secret} is in {found:?}");
    }
    // The job file alone knows the password and the key.
    for secret in [PASSWORD, KEY] {
        assert_eq!(files_that_hold(project.path(), secret, &[]), ["migrate.toml"]);
    }
    // GIVEN that the step was recorded at all
    assert!(!files_that_hold(project.path(), "pseudonym", &["migrate.toml"]).is_empty());
    assert!(target.count("SELECT count(*) FROM t WHERE length(m) = 32") > 0);
}
