//! `examples/mirubato`: three tables of a practice app become one, compared with what SQL over the source says.

use super::mirubato_seed::{by_id, expected, refused};
use migrate_tests::{Cell, Database, Engine, Postgres, Project, Run, Server, Sqlite};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ENGINES: [Engine; 2] = [Engine::Sqlite, Engine::Postgres(Server::Second)];
const TYPES: [&str; 3] = ["logbook_entry", "goal", "practice_session"];

/// The example's own files in a folder of their own, with both databases made.
struct Example {
    project: Project,
    source: Sqlite,
    target: Database,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/mirubato").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

impl Example {
    fn new(engine: Engine) -> Self {
        let project = Project::new();
        project.write("migrate.toml", &text("migrate.toml"));
        let source = Sqlite::new(project.path().join("backend.db"));
        source.run(&text("backend.sql"));
        let target = match engine {
            Engine::Sqlite => Database::Sqlite(Sqlite::new(project.path().join("sync.db"))),
            Engine::Postgres(server) => Database::Postgres(Postgres::new(server)),
        };
        target.run(&text(match engine {
            Engine::Sqlite => "sync_data.sqlite.sql",
            Engine::Postgres(_) => "sync_data.postgresql.sql",
        }));
        Example { project, source, target }
    }

    /// Runs a command against this target.
    fn migrate(&self, arguments: &str) -> Run {
        let mut command = self.project.command(arguments.split_whitespace());
        if let Database::Postgres(database) = &self.target {
            command.args(["--target", "production"]).env("SYNC_DATABASE_URL", database.url());
        }
        Run::of(command.output().expect("migrate starts"))
    }

    fn texts(&self, sqlite: &str, postgres: &str) -> Vec<String> {
        match &self.target {
            Database::Sqlite(database) => database.texts(sqlite),
            Database::Postgres(database) => {
                database.rows(postgres).into_iter().map(|mut row| row.remove(0).expect("not NULL")).collect()
            }
        }
    }

    /// What the target holds that is not marked as deleted, as the engine itself prints it.
    fn found(&self) -> BTreeMap<String, Value> {
        by_id(self.texts(
            "SELECT json_array(id, entity_type, entity_id, user_id, json(data), created_at, updated_at, version) FROM sync_data \
             WHERE deleted_at IS NULL",
            "SELECT json_build_array(id, entity_type, entity_id, user_id, data, created_at::text, updated_at::text, version)::text \
             FROM sync_data WHERE deleted_at IS NULL",
        ))
    }

    fn assert_holds(&self, expected: &BTreeMap<String, Value>) {
        let found = self.found();
        for (id, row) in expected {
            assert_eq!(found.get(id), Some(row), "{id}");
        }
        let more: Vec<&String> = found.keys().filter(|id| !expected.contains_key(*id)).collect();
        assert!(more.is_empty(), "nobody expects {more:?}");
    }

    fn marked(&self) -> BTreeSet<String> {
        let sql = "SELECT id FROM sync_data WHERE deleted_at IS NOT NULL";
        self.texts(sql, sql).into_iter().collect()
    }
}

/// A counter of each entity, and of all.
fn counter(report: &Value, entities: &str, name: &str) -> u64 {
    report[entities].as_array().expect("a list of entities").iter().filter_map(|entity| entity[name].as_u64()).sum()
}

fn counters(report: &Value) -> [u64; 5] {
    ["inserted", "updated", "unchanged", "quarantined", "deleted"].map(|name| counter(report, "entities", name))
}

#[test]
fn three_tables_arrive_in_one_as_sql_over_the_source_says_and_a_second_run_writes_nothing() {
    for engine in ENGINES {
        let example = Example::new(engine);
        let (expected, refused) = (expected(&example.source, "true"), refused(&example.source));
        let count = |table: &str| example.source.count(&format!("SELECT count(*) FROM {table}"));
        let read = ["logbook_entries", "goals", "practice_sessions"].map(count);
        assert_eq!((read, expected.len(), refused.len()), ([1200, 1000, 1500], 3693, 7), "the seed is what its file says");

        // WHEN it is planned THEN the rows are counted and none is written
        let plan = example.migrate("plan sync --json").expect(0).json();
        assert_eq!(["inserted", "quarantined"].map(|name| counter(&plan, "changes", name)), [3693, 7], "{plan}");
        assert_eq!(example.target.count("sync_data"), 0);

        let hash = plan["hash"].as_str().expect("a hash");
        let report = example.migrate(&format!("run sync --json --plan {hash}")).expect(3).json();
        assert_eq!(counters(&report), [3693, 0, 0, 7, 0], "{engine:?} {report}");
        example.assert_holds(&expected);
        for kind in TYPES {
            let wanted = expected.values().filter(|row| row[1] == kind).count();
            assert_eq!(example.target.matching("sync_data", &format!("entity_type = '{kind}'")), wanted as u64, "{kind}");
        }

        let list = example.migrate("quarantine list sync --json").expect(0).json();
        let rows = list["rows"].as_array().expect("a list").iter();
        let listed: BTreeSet<String> = rows.map(|row| json!([row["entity"], row["key"], row["column"]]).to_string()).collect();
        assert_eq!(listed, refused);

        let again = example.migrate("run sync --json").expect(3).json();
        assert_eq!(counters(&again), [0, 0, 3693, 7, 0], "P4: {again}");
        assert_eq!(example.migrate("verify sync --json").expect(0).json()["equal"], true);
    }
}

#[test]
fn each_checksum_is_that_of_the_data_beside_it_to_the_letter_in_both_engines() {
    let [lite, pg] = ENGINES.map(|engine| {
        let example = Example::new(engine);
        let _ = example.migrate("run sync").expect(3);
        let columns = "id || ' ' || checksum || ' '";
        let mut rows = example.texts(
            &format!("SELECT {columns} || data FROM sync_data"),
            &format!("SELECT {columns} || data::text FROM sync_data"),
        );
        rows.sort();
        if let Database::Postgres(database) = &example.target {
            let right = "checksum = encode(sha256(convert_to(data::text, 'UTF8')), 'hex')";
            assert_eq!(database.count(&format!("SELECT count(*) FROM sync_data WHERE {right}")), 3693);
        }
        rows
    });
    assert_eq!(lite.len(), 3693);
    assert_eq!(lite, pg);
    // What JSON parsers would respell has stayed: a number's last zero, and all digits of a double.
    assert_eq!(lite.iter().filter(|row| row.contains(".50}")).count(), 400);
    assert!(lite.iter().any(|row| row.starts_with("session-0001 ") && row.contains("\"accuracy\":0.30000000000000004,")));
}

#[test]
fn changes_at_the_backend_arrive_what_is_gone_is_marked_and_what_is_mended_comes_out_of_quarantine() {
    for engine in ENGINES {
        let example = Example::new(engine);
        let _ = example.migrate("run sync").expect(3);
        example.source.run(
            "UPDATE logbook_entries SET notes = '' WHERE id IN ('entry-0003', 'entry-0006');
             UPDATE practice_sessions SET completed_at = started_at + 1 WHERE id = 'session-0010';
             UPDATE goals SET milestones = '[]' WHERE id = 'goal-0500';
             UPDATE goals SET status = 'ACTIVE' WHERE id IN ('goal-0006', 'goal-0007');
             UPDATE goals SET milestones = 'broken since' WHERE id = 'goal-0004';
             DELETE FROM goals WHERE id IN ('goal-0005', 'goal-0010');
             DELETE FROM practice_sessions WHERE id LIKE 'session-14%';
             INSERT INTO goals (id, user_id, title, created_at, updated_at) VALUES ('goal-9000', 'user_1', 'ä ö ü', 1, 2);",
        );
        let report = example.migrate("run sync --json").expect(3).json();
        // Two goals whose status was missing or empty now say what that was taken for: no change.
        assert_eq!(counters(&report), [2, 3, 3588, 6, 101], "{engine:?} {report}");
        let mut gone: BTreeSet<String> = (1400..1500).map(|i| format!("session-{i}")).collect();
        gone.insert("goal-0005".to_owned());
        assert_eq!(example.marked(), gone);
        let mut expected = expected(&example.source, "true");
        // A row that was taken before and is refused now stays as it was.
        let stayed = example.found().remove("goal-0004").expect("it is there");
        assert_eq!(stayed[4]["title"], "Gammes à ♩ = 64");
        expected.insert("goal-0004".to_owned(), stayed);
        example.assert_holds(&expected);
        assert_eq!(counters(&example.migrate("run sync --json").expect(3).json()), [0, 0, 3593, 6, 0], "P4");
        let _ = example.migrate("verify sync").expect(0);

        // WHEN a row is back THEN its mark goes
        example.source.run(
            "INSERT INTO goals (id, user_id, title, created_at, updated_at) VALUES ('goal-0005', 'user_6', 'once more', 1, 2)",
        );
        let report = example.migrate("run sync --json").expect(3).json();
        assert_eq!((counter(&report, "entities", "inserted"), counter(&report, "entities", "updated")), (0, 1), "{report}");
        assert!(!example.marked().contains("goal-0005"));
    }
}

#[test]
fn a_row_that_was_edited_in_the_target_is_found_by_its_key_and_column_and_repaired() {
    for engine in ENGINES {
        let example = Example::new(engine);
        let _ = example.migrate("run sync").expect(3);
        example
            .target
            .run("UPDATE sync_data SET data = '{}' WHERE id = 'entry-0007'; DELETE FROM sync_data WHERE id = 'goal-0001'");
        let report = example.migrate("verify sync --json").expect(4).json();
        let differences: Vec<Value> = report["entities"]
            .as_array()
            .expect("entities")
            .iter()
            .filter_map(|entity| entity["differences"].as_array())
            .flatten()
            .map(|one| json!([one["kind"], one["key"][0], one["columns"][0]["column"]]))
            .collect();
        assert_eq!(differences, [json!(["different", "entry-0007", "data"]), json!(["missing", "goal-0001", null])], "{report}");
        let _ = example.migrate("verify sync --repair").expect(0);
        example.assert_holds(&expected(&example.source, "true"));
    }
}

#[test]
fn one_user_or_one_entity_is_moved_alone_and_the_whole_finds_it_unchanged() {
    for engine in ENGINES {
        let example = Example::new(engine);
        example.migrate("run sync_user").expect(2).says(&["user", "no value"]);
        let own = expected(&example.source, "user_id = 'user_3'");
        let plan = example.migrate("plan sync_user --param user=user_3 --json").expect(0).json();
        assert_eq!(counter(&plan, "changes", "inserted"), own.len() as u64);
        let report = example.migrate("run sync_user --param user=user_3 --json").expect(3).json();
        assert_eq!(counters(&report), [own.len() as u64, 0, 0, 1, 0], "{engine:?} {report}");
        example.assert_holds(&own);
        let again = example.migrate("run sync_user --param user=user_3 --json").expect(3).json();
        assert_eq!(counters(&again), [0, 0, own.len() as u64, 1, 0], "P4: {again}");
        let _ = example.migrate("verify sync_user --param user=user_3").expect(0);

        // WHEN only goals are moved, everybody's
        let report = example.migrate("run sync --entity goals --json").expect(3).json();
        let of = |user: &str| expected(&example.source, user).values().filter(|row| row[1] == "goal").count() as u64;
        let (all, known) = (of("true"), of("user_id = 'user_3'"));
        assert_eq!(counters(&report), [all - known, 0, known, 3, 0], "{engine:?} {report}");
        let sessions = example.target.matching("sync_data", "entity_type = 'practice_session' AND user_id <> 'user_3'");
        assert_eq!(sessions, 0, "nobody else's sessions were asked for");

        let report = example.migrate("run sync --json").expect(3).json();
        let known = all + own.values().filter(|row| row[1] != "goal").count() as u64;
        assert_eq!(counters(&report), [3693 - known, 0, known, 7, 0], "{engine:?} {report}");
        example.assert_holds(&expected(&example.source, "true"));
        let _ = example.migrate("verify sync_user --param user=user_8").expect(0);
        let _ = example.migrate("verify sync").expect(0);

        // WHEN one of the user's rows is gone THEN the user's own job marks it, too, and nobody else's
        let _ = example.migrate("run sync_user --param user=user_3").expect(3);
        example.source.run("DELETE FROM logbook_entries WHERE id IN ('entry-0002', 'entry-0003')");
        let report = example.migrate("run sync_user --param user=user_3 --json").expect(3).json();
        assert_eq!(counter(&report, "entities", "deleted"), 1, "{engine:?} {report}");
        assert_eq!(example.marked(), BTreeSet::from(["entry-0002".to_owned()]));
    }
}

#[test]
fn the_backend_stays_as_it_is_and_an_entry_without_its_session_keeps_the_name_of_it() {
    let example = Example::new(Engine::Sqlite);
    let before = std::fs::read(example.source.path()).expect("the backend is there");
    let _ = example.migrate("run sync").expect(3);
    assert!(before == std::fs::read(example.source.path()).expect("the backend is there"));
    assert_eq!(example.source.rows("PRAGMA foreign_key_check").len(), 1, "the seed has one");
    assert_eq!(example.found()["entry-0400"][4]["session_id"], "session-9999");
    assert_eq!(
        example.source.rows("SELECT notes FROM logbook_entries WHERE id IN ('entry-0003', 'entry-0004') ORDER BY id"),
        [[Cell::Null], [Cell::Text(Vec::new())]]
    );
    assert_eq!(
        (&example.found()["entry-0003"][4]["notes"], &example.found()["entry-0004"][4]["notes"]),
        (&Value::Null, &"".into())
    );
}

/// Runs the readme from top to bottom, and looks for every line that it shows in what the command before it printed.
#[test]
fn the_readmes_commands_do_what_it_says_and_print_what_it_shows() {
    let project = Project::new();
    for name in ["migrate.toml", "backend.sql", "sync_data.sqlite.sql", "sync_data.postgresql.sql"] {
        project.write(name, &text(name));
    }
    let postgres = Postgres::new(Server::First);
    let (mut block, mut printed, mut commands, mut shown) = ("", String::new(), 0, 0);
    let readme = text("README.md");
    for line in readme.lines() {
        match (line.strip_prefix("```"), block) {
            (Some(kind), _) => block = kind,
            (None, "sh") => {
                printed = command(&project, &postgres, line);
                commands += 1;
            }
            (None, "text") => {
                assert!(
                    printed.lines().any(|one| words(one) == words(line)),
                    "{line:?} is shown, but this is printed:\n{printed}"
                );
                shown += 1;
            }
            (None, _) => {}
        }
    }
    assert!(commands >= 25 && shown >= 15, "{commands} commands and {shown} lines are not the whole readme");
}

/// Runs a line of the readme and returns what it printed.
fn command(project: &Project, postgres: &Postgres, line: &str) -> String {
    let (line, note) = line.split_once(" # ").unwrap_or((line, ""));
    let code = note
        .trim()
        .strip_prefix("exit code ")
        .map_or(0, |rest| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|code| code.parse().ok()).expect("a number"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let database = |name: &str| Sqlite::new(project.path().join(name));
    match words[..] {
        ["migrate", ref arguments @ ..] => {
            let output = project.command(arguments).env("SYNC_DATABASE_URL", postgres.url()).output().expect("migrate starts");
            return Run::of(output).expect(code).output();
        }
        ["sqlite3", file, "<", script] => database(file).run(&text(script)),
        ["sqlite3", file, ..] => database(file).run(line.split('"').nth(1).expect("statements in quotes")),
        ["psql", "\"$SYNC_DATABASE_URL\"", "-f", script] => postgres.run(&text(script)),
        ["export", _] => {}
        _ => panic!("nobody knows how to run {line:?}"),
    }
    String::new()
}

/// A line's words, but for those that differ each time: seconds, dates, hours and the names of executions.
fn words(line: &str) -> Vec<&str> {
    let changes = |word: &str| {
        let number = |part: &str| part.chars().all(|c| c.is_ascii_digit());
        word.split_once('.').is_some_and(|(whole, rest)| number(whole) && number(rest))
            || word.split(':').all(number) && word.contains(':')
            || word.starts_with("20") && word.contains('-')
    };
    line.split_whitespace().filter(|word| !changes(word)).collect()
}
