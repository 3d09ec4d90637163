//! How many statements it takes to bind references late: more for more references and batches, and none more for more rows.

use migrate_tests::{Database, Engine, Postgres, Project, Proxy, Server};

/// Counts the statements that reach the target while so many rows, each of which refers to later ones by so many columns, are copied into
/// a table whose constraints are live; and of a second run after each of them has got other parents.
fn statements(rows: u64, references: usize, batch: u64) -> [u64; 2] {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Postgres::new(Server::Second);
    let columns = |live: bool| -> String {
        let refers = if live { " REFERENCES person (id)" } else { "" };
        (0..references).map(|number| format!(", r{number} integer{refers}")).collect()
    };
    source.run(&format!("CREATE TABLE person (id integer PRIMARY KEY, name text{})", columns(false)));
    target.run(&format!("CREATE TABLE person (id integer PRIMARY KEY, name text{})", columns(true)));
    // The last is everybody's parent in the end, so that none can be bound when it is written first.
    let parents = |step: u64| -> String { (0..references).map(|_| format!(", min({rows}, i + {step})")).collect() };
    source.run(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) INSERT INTO person SELECT i, 'n' || i{} FROM n",
        parents(1)
    ));
    let proxy = Proxy::counting(&target.url());
    let url = proxy.url(&target.url());
    let limits = format!("batch_rows = {batch}\npage_bytes = 8388608\nparallel = 1\nverify = \"counts\"");
    project.write_job(&source.url(), &url, &format!("mode = \"replace\"\n{limits}\n"));
    let (_, graph) = (project.run(["target", "init", "copy"]), project.run(["graph"]).expect(0).output());
    assert!(graph.contains("NULL until the parent is there"), "{graph}");
    let mut counts = [0; 2];
    for count in &mut counts {
        let before = proxy.statements();
        let report = project.copy();
        *count = proxy.statements() - before;
        let number = |counter: &str| report["entities"][0][counter].as_u64();
        assert_eq!((number("read"), number("pending")), (Some(rows), Some(0)), "{report}");
        assert_eq!(target.count("SELECT count(*) FROM person WHERE r0 IS NOT NULL"), rows);
        // Everybody gets a parent that comes with this very run.
        let set: Vec<String> = (0..references).map(|number| format!("r{number} = {rows}")).collect();
        source.run(&format!("UPDATE person SET {}", set.join(", ")));
    }
    counts
}

#[test]
fn a_bind_pass_issues_statements_for_references_and_batches_and_not_for_rows() {
    let few = statements(800, 1, 10_000);
    let many = statements(8_000, 1, 10_000);
    let references = statements(800, 3, 10_000);
    let batches = statements(8_000, 1, 1_000);
    for run in 0..2 {
        // The server is told about the rows of a large batch (ANALYZE) before it joins them.
        assert!(many[run] >= few[run] && many[run] <= few[run] + 1, "ten times the rows in one batch: {few:?} {many:?}");
        // One look at the parents of each reference, in each of two walks.
        assert!(references[run] > few[run] && references[run] <= few[run] + 2 * 2, "{few:?} {references:?}");
        assert!(batches[run] > few[run] && batches[run] <= few[run] * 8, "{few:?} {batches:?}");
    }
}
