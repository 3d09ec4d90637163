//! The comparison that the other tests rely on must itself be able to fail.

use migrate_tests::{Difference, Postgres, Rows, Server, Sqlite};

fn columns(kinds: &[(&str, &str)]) -> Vec<(String, String)> {
    kinds.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[test]
fn equal_rows_of_two_engines_compare_equal_and_each_changed_cell_is_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Sqlite::new(folder.path().join("x.sqlite"));
    sqlite.run("CREATE TABLE t (i INTEGER, f, n, b BLOB, t TEXT); INSERT INTO t VALUES (1, -0.0, 0.1, x'00ff', ''), (NULL, 'NaN', '1.10', NULL, NULL)");
    let postgres = Postgres::new(Server::Second);
    postgres.run("CREATE TABLE t (i int, f float8, n numeric, b bytea, t text)");
    postgres.run("INSERT INTO t VALUES (1, '-0', 0.10, '\\x00ff', ''), (NULL, 'NaN', 1.1, NULL, NULL)");
    let columns = columns(&[("i", "int4"), ("f", "float8"), ("n", "numeric"), ("b", "bytea"), ("t", "text")]);
    let difference = || Difference::between("t", postgres.printed("t", &columns), sqlite.printed("t", &columns));
    assert!(difference().is_empty(), "{}", difference());

    for change in ["i = '1'", "f = 0.0", "n = 0.10000000000000002", "b = CAST(b AS TEXT)", "t = NULL"] {
        let (column, _) = change.split_once(' ').expect("a column");
        let before = sqlite.rows("SELECT i FROM t").len();
        // Stored through a table without affinity, so that SQLite does not mend what is broken on purpose.
        sqlite.run("CREATE TABLE saved AS SELECT * FROM t; ALTER TABLE t RENAME TO typed; CREATE TABLE t (i, f, n, b, t); INSERT INTO t SELECT * FROM saved");
        sqlite.run(&format!("UPDATE t SET {change} WHERE i = 1"));
        let seen = difference();
        assert_eq!((seen.missing.len(), seen.extra.len()), (1, 1), "{column} of {before} rows: {seen}");
        sqlite.run("DROP TABLE t; DROP TABLE saved; ALTER TABLE typed RENAME TO t");
    }
}

#[test]
fn a_row_that_is_there_twice_differs_from_one_that_is_there_once() {
    let rows = |count| vec!["a".to_owned(); count];
    assert_eq!(Difference::between("t", rows(1), rows(2)).extra.len(), 1);
    assert_eq!(Difference::between("t", rows(3), rows(2)).missing.len(), 1);
    assert!(Difference::between("t", rows(2), rows(2)).is_empty());
}
