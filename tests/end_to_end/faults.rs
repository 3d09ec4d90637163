//! Servers, connections, disks and neighbours that fail in the middle of a run (P2, P3, P11).

use crate::kills::{BATCH, TABLES, executions, fill, total};
use migrate_tests::{Database, Engine, Fault, OwnServer, Postgres, Project, Proxy, Run, Running, Server, Sqlite};
use serde_json::Value;
use std::process::Command;

const JOB: &str = "mode = \"replace\"\nentities = \"*\"\n";

/// A filled source of this engine in the project's folder.
fn source(engine: Engine, project: &Project) -> Database {
    let source = Database::new(engine, project.path(), "source");
    fill(&source);
    source
}

/// The target equals the source, every row has one outcome, and the record says that all has come to its end.
fn assert_exact(project: &Project, report: &Value, source: &Database, target: &Database) {
    assert_eq!(report["status"], "succeeded", "{report}");
    source.assert_holds(target, TABLES);
    let rows = TABLES.iter().map(|table| source.count(table)).sum::<u64>();
    let counted = ["inserted", "updated", "unchanged", "skipped", "filtered", "quarantined"];
    assert_eq!(total(report, "read"), rows, "{report}");
    assert_eq!(counted.iter().map(|counter| total(report, counter)).sum::<u64>(), rows, "{report}");
    for execution in executions(project) {
        assert_eq!(execution["state"], "succeeded", "{execution}");
    }
    // AND it knows that: nothing is left to do.
    let again = project.copy();
    assert_eq!(total(&again, "unchanged"), rows, "{again}");
}

/// Starts a run and waits until it is well under way.
fn under_way(project: &Project) -> Running {
    let mut running = project.start(BATCH);
    assert!(running.wait_for_commits(6), "it ends before it is disturbed");
    running
}

fn went_on(run: &Run) {
    assert!(run.stderr.contains("trying again"), "nothing had to be tried again:\n{}", run.stderr);
}

/// The one document on standard output, of a run that prints one also when it fails.
fn failed_with(run: &Run, pieces: &[&str]) {
    let text = run.output().to_lowercase();
    for piece in pieces {
        assert!(text.contains(piece), "{piece:?} is expected in:\n{text}");
    }
}

#[test]
fn a_run_goes_on_by_itself_when_the_target_server_crashes_and_comes_back() {
    let server = OwnServer::new();
    let project = Project::new();
    let source = source(Engine::Sqlite, &project);
    let target = Database::Postgres(Postgres::on(&server));
    project.write_job(&source.url(), &target.url(), JOB);

    // WHEN the server crashes in the middle of the copy and is started again
    let running = under_way(&project);
    let before = running.commits();
    server.kill();
    server.up();

    // THEN the same run comes to its end.
    let run = running.finish().expect(0);
    went_on(&run);
    assert!(run.stderr.matches("\"message\":\"committed\"").count() > before as usize, "nothing was left to be done");
    assert_exact(&project, &run.json(), &source, &target);
}

#[test]
fn the_next_run_finishes_what_a_crash_of_the_target_server_and_of_the_process_left() {
    let server = OwnServer::new();
    let project = Project::new();
    let source = source(Engine::Postgres(Server::First), &project);
    let target = Database::Postgres(Postgres::on(&server));
    project.write_job(&source.url(), &target.url(), JOB);
    let running = under_way(&project);
    server.kill();
    let _ = running.kill();
    // While it is down, the error says so and nothing is made of it.
    let refused = project.run(["run", "--json"]).expect(1);
    failed_with(&refused, &["connect"]);
    server.up();
    let report = project.copy();
    assert_exact(&project, &report, &source, &target);
}

/// A run to PostgreSQL through a proxy that breaks connections.
fn finishes_in_spite_of(fault: Fault, times: u64) {
    for from in [Engine::Sqlite, Engine::Postgres(Server::First)] {
        let project = Project::new();
        let source = source(from, &project);
        let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
        let proxy = Proxy::new(&target.url(), fault, times);
        project.write_job(&source.url(), &proxy.url(&target.url()), JOB);
        let run = project.start(BATCH).finish().expect(0);
        went_on(&run);
        assert_eq!(proxy.happened(), times, "the connection was not broken as often as it should:\n{}", run.stderr);
        assert_exact(&project, &run.json(), &source, &target);
    }
}

#[test]
fn connections_cut_inside_a_copy_lose_and_double_nothing() {
    finishes_in_spite_of(Fault::CutCopy(20_000), 5);
}

#[test]
fn commits_that_happened_but_whose_answer_is_lost_are_counted_once() {
    finishes_in_spite_of(Fault::SwallowAnswer(4), 6);
}

#[test]
fn commits_that_never_reached_the_server_are_done_again() {
    finishes_in_spite_of(Fault::SwallowCommit(4), 6);
}

#[test]
fn a_process_that_wakes_up_after_another_took_over_its_job_writes_nothing_more() {
    let (project, other) = (Project::new(), Project::new());
    let source = source(Engine::Sqlite, &project);
    let target = Database::new(Engine::Postgres(Server::First), project.path(), "target");
    // Two records, so that neither process knows of the other but through the target.
    project.write_job(&source.url(), &target.url(), JOB);
    other.write_job(&source.url(), &target.url(), JOB);

    // WHEN one is stopped as by a long pause, and the other does all the work meanwhile
    let paused = under_way(&project);
    paused.signal("STOP");
    let report = other.copy();
    paused.signal("CONT");

    // THEN the one finds itself fenced out, and says so.
    let run = paused.finish().expect(1);
    failed_with(&run, &["another process"]);
    assert!(!executions(&project).iter().any(|e| e["state"] == "succeeded"), "{:?}", executions(&project));
    assert_exact(&other, &report, &source, &target);
}

#[test]
fn a_second_process_with_the_same_record_takes_the_execution_over() {
    let project = Project::new();
    let source = source(Engine::Sqlite, &project);
    let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
    project.write_job(&source.url(), &target.url(), JOB);
    let paused = under_way(&project);
    paused.signal("STOP");
    let report = project.copy();
    paused.signal("CONT");
    let run = paused.finish().expect(1);
    failed_with(&run, &["another process"]);
    // What the first has to say about its end does not cover up that the execution succeeded.
    assert_eq!(executions(&project).len(), 1);
    assert_exact(&project, &report, &source, &target);
}

/// Two processes at once, with the same record or each with its own.
fn two_processes_into_one_sqlite_file(same_record: bool) {
    let (project, separate) = (Project::new(), Project::new());
    let source = source(Engine::Sqlite, &project);
    let target = Database::new(Engine::Sqlite, project.path(), "target");
    project.write_job(&source.url(), &target.url(), JOB);
    separate.write_job(&source.url(), &target.url(), JOB);
    let other = if same_record { &project } else { &separate };
    let first = under_way(&project);
    let second = other.start(BATCH).finish();
    let first = first.finish();

    // One is fenced out, or one has waited until the other was done.
    let mut winner = None;
    for (project, run) in [(&project, first), (other, second)] {
        if run.code == Some(0) {
            winner = Some((project, run));
        } else {
            failed_with(&run.expect(1), &["another process"]);
        }
    }
    let (winner, run) = winner.expect("one of them comes to the end");
    assert_exact(winner, &run.json(), &source, &target);
}

#[test]
fn of_two_processes_with_one_record_that_copy_into_one_sqlite_file_one_is_fenced_out() {
    two_processes_into_one_sqlite_file(true);
}

#[test]
fn of_two_processes_that_copy_into_one_sqlite_file_one_is_fenced_out() {
    two_processes_into_one_sqlite_file(false);
}

#[test]
fn a_sqlite_target_locked_by_another_writer_is_waited_for() {
    let project = Project::new();
    let source = source(Engine::Postgres(Server::First), &project);
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job(&source.url(), &format!("{}?busy_timeout=0.1", target.url()), JOB);

    // WHEN somebody holds the lock for longer than the patience, in the middle of the run
    let mut running = under_way(&project);
    let other = target.open();
    other.busy_timeout(std::time::Duration::from_secs(20)).expect("a number");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is given sooner or later");
    assert!(running.wait_for("trying again"), "the lock disturbs nobody");
    other.execute_batch("ROLLBACK").expect("the lock is given back");

    // THEN the run says so and goes on when the lock is gone.
    let run = running.finish().expect(0);
    failed_with(&run, &["locked"]);
    assert_exact(&project, &run.json(), &source, &Database::Sqlite(target));
}

#[test]
fn a_sqlite_target_that_stays_locked_is_an_error_that_the_next_run_makes_good() {
    let project = Project::new();
    let source = source(Engine::Sqlite, &project);
    let target = Sqlite::new(project.path().join("target.sqlite"));
    project.write_job(&source.url(), &format!("{}?busy_timeout=0.1", target.url()), JOB);
    let _ = under_way(&project).kill();
    let other = target.open();
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else holds the lock");
    let refused = project.run(["run", "--json"]).expect(1);
    failed_with(&refused, &["locked"]);
    other.execute_batch("ROLLBACK").expect("the lock is given back");
    let report = project.copy();
    assert_exact(&project, &report, &source, &Database::Sqlite(target));
}

#[test]
fn a_disk_that_is_full_is_an_error_and_the_next_run_with_room_finishes() {
    for engine in [Engine::Sqlite, Engine::Postgres(Server::Second)] {
        let project = Project::new();
        let source = source(engine, &project);
        let target = Database::new(Engine::Sqlite, project.path(), "target");
        project.write_job(&source.url(), &target.url(), JOB);

        // WHEN no file can grow beyond a limit that the target needs to pass
        let inner = project.command(["run", "--json", "-v", BATCH[0], BATCH[1]]);
        let mut limited = Command::new("bash");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 480; exec \"$@\"", "bash"]).arg(inner.get_program()).args(inner.get_args());
        let run = Run::of(limited.current_dir(project.path()).env("NO_COLOR", "1").output().expect("bash starts")).expect(1);

        // THEN the error says what is wrong, also in the record, and what was committed is whole.
        failed_with(&run, &["no_space", "file too large", "make room"]);
        let record = executions(&project);
        assert_eq!(record.first().expect("one execution")["state"], "failed", "{record:?}");
        assert!(target.count("author") > 0, "it failed before anything was written:\n{}", run.output());
        assert!(target.count("book") < source.count("book"), "it failed after everything was written:\n{}", run.output());

        let report = project.copy();
        assert_exact(&project, &report, &source, &target);
    }
}

#[test]
fn a_source_table_that_is_dropped_in_the_middle_of_a_run_is_one_clear_error() {
    let project = Project::new();
    let source = source(Engine::Postgres(Server::First), &project);
    let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
    project.write_job(&source.url(), &target.url(), JOB);

    let mut running = project.start(["--batch-size", "50", "--parallel", "1"]);
    assert!(running.wait_for_commits(3), "it ends before it is disturbed");
    source.run("SET lock_timeout = '5s'; DROP TABLE note");
    let run = running.finish().expect(1);
    // Not the whole output: the plan's notes name the table too.
    let error = run.json()["error"].to_string();
    println!("{error}");
    assert!(error.contains("note"), "{error}");
    let record = executions(&project);
    assert_eq!(record.first().expect("one execution")["state"], "failed", "{record:?}");
}
