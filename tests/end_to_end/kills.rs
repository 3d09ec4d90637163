//! A process killed at any moment leaves nothing half done, and the next one goes on (P2, P3).

use migrate_tests::{Database, Engine, Project, Random, Server};
use serde_json::Value;

pub(crate) const TABLES: &[&str] = &["author", "book", "tag", "note"];
/// Small, so that a run has many commits to be killed between.
pub(crate) const BATCH: [&str; 2] = ["--batch-size", "150"];

/// Keys of several kinds, references, a unique column, a table without a key. Both engines understand all of it.
pub(crate) fn fill(database: &Database) {
    let number = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <";
    database.run(&format!(
        "CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(80) UNIQUE NOT NULL, born DATE);
         CREATE TABLE book (id BIGINT PRIMARY KEY, author INTEGER NOT NULL REFERENCES author (id), title TEXT, price NUMERIC(8,2));
         CREATE TABLE tag (book BIGINT NOT NULL REFERENCES book (id), tag TEXT NOT NULL, PRIMARY KEY (book, tag));
         CREATE TABLE note (body TEXT, weight INTEGER);
         {number} 600) INSERT INTO author SELECT i - 300, 'author ' || i, '1970-01-01' FROM n;
         {number} 2500) INSERT INTO book SELECT i * 10, i % 600 - 299, 'title ' || i, i % 90 FROM n;
         {number} 2500) INSERT INTO tag SELECT i * 10, 'tag ' || (i % 7) FROM n;
         {number} 400) INSERT INTO note SELECT 'note ' || (i % 50), i % 3 FROM n;"
    ));
}

/// Inserts, updates and deletes on both sides of wherever the checkpoint may be.
pub(crate) fn change(database: &Database, round: u64) {
    let k = round % 89;
    database.run(&format!(
        "UPDATE author SET name = name || '!' WHERE id % 41 = {k} % 41;
         UPDATE book SET title = NULL, price = price + 1 WHERE id % 89 = {k};
         DELETE FROM tag WHERE book % 97 = {k};
         DELETE FROM tag WHERE book IN (SELECT id FROM book WHERE id % 83 = {k});
         DELETE FROM book WHERE id % 83 = {k};
         INSERT INTO author VALUES ({low}, 'new {low}', NULL), ({high}, 'new {high}', NULL);
         INSERT INTO book VALUES ({low}, {low}, '', 0.25), ({high}, {high}, 'x', NULL), ({between}, {low}, 'between', 1);
         INSERT INTO tag VALUES ({low}, 'a'), ({high}, ''), ({between}, 'b');
         DELETE FROM note WHERE weight = {k} % 3 AND body = 'note 7';
         INSERT INTO note VALUES ('late', {k});",
        low = -100_000 - i64::try_from(round).expect("few rounds"),
        high = 100_000 + round,
        between = 5_001 + round * 10,
    ));
}

pub(crate) fn total(report: &Value, counter: &str) -> u64 {
    report["entities"].as_array().expect("entities").iter().map(|e| e[counter].as_u64().expect("a number")).sum()
}

/// The executions that the record lists, newest first.
pub(crate) fn executions(project: &Project) -> Vec<Value> {
    let listed = project.run(["executions", "--json"]).expect(0).json();
    listed["executions"].as_array().expect("a list").clone()
}

/// Kills runs at random moments and has the next run finish them.
fn killed_runs_resume(from: Engine, to: Engine) {
    let kills: u64 = std::env::var("MIGRATE_SOAK_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let rounds = kills.div_ceil(4);
    let mut random = Random::seeded(&format!("{from:?} → {to:?}"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut source = Database::new(from, folder.path(), "source");
    fill(&source);

    // An undisturbed run says how many commits there are.
    let clean = Project::new();
    let target = Database::new(to, clean.path(), "target");
    clean.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
    let mut running = clean.start(BATCH);
    running.wait_for_commits(u32::MAX);
    let commits = running.commits();
    let _ = running.finish().expect(0);
    source.assert_holds(&target, TABLES);
    assert!(commits > 20, "{commits} commits are too few to be killed between");

    let mut between = 0;
    for round in 0..rounds {
        if round > 0 && round % 20 == 0 {
            // Changes delete more than they add: a source that has seen many is too small to be interrupted in.
            source = Database::new(from, folder.path(), &format!("source-{round}"));
            fill(&source);
        }
        let project = Project::new();
        let target = Database::new(to, project.path(), "target");
        // Each entity in several parts, where both sides can, or in one.
        let parts = if round % 4 < 2 { "parallel = 3\npart_bytes = 1\n" } else { "" };
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{parts}entities = \"*\"\n"));
        // WHEN the process is killed, once or several times before it gets to the end
        let kills = if random.below(4) == 0 { 2 } else { 1 };
        for kill in 0..kills {
            let mut running = project.start(BATCH);
            running.wait_for_commits(u32::try_from(random.below(u64::from(commits))).expect("few commits"));
            // Somewhere in the work that follows that commit.
            for _ in 0..random.below(400_000) {
                std::hint::spin_loop();
            }
            let after = running.kill();
            println!("{from:?} → {to:?}: round {round}: killed after commit {after} of {commits}");
            if kill == 0 && 0 < after && after < commits {
                between += 1;
            }
            if executions(&project).first().is_some_and(|newest| newest["state"] == "succeeded") {
                // It was done before the signal came.
                break;
            }
            if round % 2 == 1 {
                change(&source, round * 2 + kill);
            }
        }

        // THEN the next run finishes it: the target equals the source, and each row has one outcome.
        let report = project.copy();
        assert_eq!(report["status"], "succeeded", "{report}");
        source.assert_holds(&target, TABLES);
        assert_eq!(total(&report, "read"), TABLES.iter().map(|table| source.count(table)).sum::<u64>(), "{report}");
        let again = project.copy();
        assert_eq!(total(&again, "unchanged"), total(&again, "read"), "{again}");

        // AND the record is truthful: all has come to its end.
        for execution in executions(&project) {
            assert_eq!(execution["state"], "succeeded", "{execution}");
        }
    }
    println!("{from:?} → {to:?}: {between} of {rounds} fell between the first and the last commit");
    assert!(between * 2 >= rounds, "{between} of {rounds} fell between the first and the last commit");
}

#[test]
fn killed_runs_from_sqlite_to_sqlite_are_finished_by_the_next() {
    killed_runs_resume(Engine::Sqlite, Engine::Sqlite);
}

#[test]
fn killed_runs_from_postgresql_to_sqlite_are_finished_by_the_next() {
    killed_runs_resume(Engine::Postgres(Server::Second), Engine::Sqlite);
}

#[test]
fn killed_runs_from_sqlite_to_postgresql_are_finished_by_the_next() {
    killed_runs_resume(Engine::Sqlite, Engine::Postgres(Server::Second));
}

#[test]
fn killed_runs_from_postgresql_to_postgresql_are_finished_by_the_next() {
    killed_runs_resume(Engine::Postgres(Server::First), Engine::Postgres(Server::Second));
}
