//! Runs every example and holds its output against `expected/`.

use std::path::Path;
use std::process::Command;

fn run(program: &str, arguments: &[&Path]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the example starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn expected(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn quickstart_copies_the_music_shop() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("copy.sqlite");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("chinook/chinook.sqlite");
    assert_eq!(run(env!("CARGO_BIN_EXE_quickstart"), &[&from, &to]), expected("quickstart.txt"));
    let copy = rusqlite::Connection::open(&to).expect("the copy opens");
    let title: String = copy
        .query_row(
            "SELECT Title FROM Album JOIN Artist USING (ArtistId) WHERE Artist.Name = 'Miles Davis' AND AlbumId = 157",
            [],
            |row| row.get(0),
        )
        .expect("the album is there");
    assert_eq!(title, "Miles Ahead");
}

#[test]
fn custom_source_keeps_what_the_sensors_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("readings.sqlite");
    assert_eq!(run(env!("CARGO_BIN_EXE_custom_source"), &[&to]), expected("custom_source.txt"));
    let archive = rusqlite::Connection::open(&to).expect("the archive opens");
    let warmest: f64 = archive.query_row("SELECT max(celsius) FROM reading", [], |row| row.get(0)).expect("rows are there");
    assert_eq!(warmest.to_bits(), 19.0_f64.to_bits());
}
