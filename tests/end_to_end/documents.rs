//! What the documents say must be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The pieces of a document that stand in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_documents_cite_exists() {
    let folder = root().join("tests/end_to_end");
    let modules: BTreeMap<String, String> = std::fs::read_dir(folder)
        .expect("the folder of these tests")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            (path.file_stem().expect("a name").to_string_lossy().into_owned(), std::fs::read_to_string(path).expect("a test"))
        })
        .collect();
    let mut cited = 0;
    for document in ["docs/guarantees.md", "docs/requirements.md"] {
        let text = read(document);
        for (module, test) in quoted(&text).filter_map(|piece| piece.split_once("::")) {
            let Some(source) = modules.get(module) else {
                assert!(module == "module" || module.starts_with("migrate_"), "{document} cites the unknown module {module}");
                continue;
            };
            assert!(source.contains(&format!("#[test]\nfn {test}()")), "{document} cites {module}::{test}, which is no test");
            cited += 1;
        }
    }
    assert!(cited > 40, "{cited} tests are cited");
}

#[test]
fn every_requirement_has_a_row() {
    let text = read("docs/requirements.md");
    for (system, last) in [("T", 24), ("M", 9), ("C", 26), ("D", 19), ("S", 17)] {
        for number in 1..=last {
            let rows = text.lines().filter(|line| line.starts_with(&format!("| {system}{number} |"))).count();
            assert_eq!(rows, 1, "{system}{number}");
        }
    }
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "examples/README.md",
        "examples/mirubato/README.md",
        "docs/guarantees.md",
        "docs/types.md",
        "docs/writing-an-adapter.md",
    ] {
        let folder = root().join(document).parent().expect("a folder").to_owned();
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{document} links to {path}");
            }
        }
    }
}
