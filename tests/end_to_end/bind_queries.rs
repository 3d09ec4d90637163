//! What it takes to bind references late, and to find ids that the target has given: statements, more for more references and batches
//! and none more for more rows; and rows that the server reads, a few for each one that is written, however large its table is.

use migrate_tests::{Database, Engine, Postgres, Project, Proxy, Server};
use std::time::Duration;

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
        assert!(batches[run] > few[run] && batches[run] <= few[run] * 8, "{few:?} {batches:?}");
    }
    // A load looks for nobody's parents, nor does the walk that binds them: the constraints do. One that finds changes looks once for
    // those of each reference.
    assert_eq!((references[0], references[1]), (few[0], few[1] + 2), "{few:?} {references:?}");
}

/// Returns how many rows of a table the server has read so far, whole scans and indexes together.
fn rows_read(target: &Postgres, table: &str) -> u64 {
    settled(
        target,
        &format!(
            "SELECT t.seq_tup_read + COALESCE((SELECT sum(i.idx_tup_read) FROM pg_stat_all_indexes i WHERE i.relid = t.relid), 0)::bigint \
             FROM pg_stat_all_tables t WHERE t.relid = '{table}'::regclass"
        ),
    )
}

/// Returns a number of the server's statistics, once it does not change any more: sessions tell as they end.
fn settled(target: &Postgres, sql: &str) -> u64 {
    let mut before = None;
    loop {
        let now = target.count(sql);
        if before.replace(now) == Some(now) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn rows_are_bound_without_reading_the_whole_table_for_each_batch() {
    const ROWS: u64 = 20_000;
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Postgres::new(Server::Second);
    source.run("CREATE TABLE person (id integer PRIMARY KEY, name text, boss integer)");
    target.run("CREATE TABLE person (id integer PRIMARY KEY, name text, boss integer REFERENCES person (id))");
    source.run(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) INSERT INTO person SELECT i, 'n' || i, {ROWS} FROM n"
    ));
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nbatch_rows = 400\nparallel = 1\n");
    let report = project.copy();
    assert_eq!(report["entities"][0]["inserted"].as_u64(), Some(ROWS), "{report}");
    assert_eq!(target.count(&format!("SELECT count(*) FROM person WHERE boss = {ROWS}")), ROWS);
    // Fifty batches bind them.
    let read = rows_read(&target, "person");
    assert!((ROWS..15 * ROWS).contains(&read), "{read} rows were read to bind {ROWS}");
}

#[test]
fn rows_are_loaded_with_the_parents_that_come_before_them_in_their_own_part_of_the_table() {
    let project = Project::new();
    let (source, target) = (Postgres::new(Server::First), Postgres::new(Server::Second));
    let table = "CREATE TABLE person (id integer PRIMARY KEY, name text, boss integer REFERENCES person (id))";
    source.run(table);
    target.run(table);
    source.run("INSERT INTO person SELECT i, 'n' || i, nullif(i - 1, 0) FROM generate_series(1, 20000) i");
    source.run("ANALYZE person");
    project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nparallel = 2\npart_bytes = 65536\n");
    let report = project.copy();
    assert_eq!(report["entities"][0]["inserted"].as_u64(), Some(20_000), "{report}");
    assert_eq!(target.count("SELECT count(*) FROM migrate.checkpoint"), 2, "two parts");
    assert_eq!(target.count("SELECT count(*) FROM person WHERE boss = id - 1"), 19_999);
    // The first row of the second part alone has a parent elsewhere.
    let updated = settled(&target, "SELECT n_tup_upd FROM pg_stat_all_tables WHERE relid = 'person'::regclass");
    assert_eq!(updated, 1, "rows were written twice");
}

#[test]
fn ids_are_found_and_taken_note_of_without_reading_the_whole_key_map_for_each_batch() {
    const ROWS: u64 = 20_000;
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Postgres::new(Server::Second);
    source.run("CREATE TABLE parent (id integer PRIMARY KEY, name text)");
    source.run("CREATE TABLE child (id integer PRIMARY KEY, parent integer NOT NULL REFERENCES parent (id))");
    target.run("CREATE TABLE parent (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)");
    target.run(
        "CREATE TABLE child (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent integer NOT NULL REFERENCES parent (id))",
    );
    let fill = |table: &str, columns: &str| {
        source.run(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) INSERT INTO {table} SELECT {columns} FROM n"
        ));
    };
    fill("parent", "i, 'n' || i");
    fill("child", &format!("i, 1 + (i * 7919) % {ROWS}"));
    let entity = |name: &str| format!("[[jobs.copy.entities]]\nsource = \"{name}\"\ngenerated = [\"id\"]\n");
    let limits = "mode = \"replace\"\nbatch_rows = 400\nparallel = 1\n";
    project.write_job(&source.url(), &target.url(), &format!("{limits}{}{}", entity("parent"), entity("child")));
    let report = project.copy();
    assert_eq!(report["entities"][1]["inserted"].as_u64(), Some(ROWS), "{report}");
    let right = format!(
        "SELECT count(*) FROM child c JOIN parent p ON p.id = c.parent WHERE p.name = 'n' || (1 + (c.id::bigint * 7919) % {ROWS})"
    );
    assert_eq!(target.count(&right), ROWS, "both sides count from one");
    // A hundred batches take note of an entry for each row; the parents' new ids are those that this very run has given.
    let read = rows_read(&target, "migrate.key_map");
    assert_eq!(target.count("SELECT count(*) FROM migrate.key_map"), 2 * ROWS);
    assert!(read < ROWS, "{read} entries were read for {ROWS} parents and as many children");
}
