//! Runs the examples of `docs/types.md`.

use super::*;

/// Finds a type by the name that refusals and plans print.
fn type_named(name: &str) -> DataType {
    let fraction = Some(2);
    let more = [
        DataType::Text { max_chars: Some(4) },
        DataType::Char { chars: 4 },
        DataType::Timestamp { precision: fraction },
        other("oid"),
        other("inet"),
        other("money"),
    ];
    let found = targets().into_iter().chain(more).find(|t| t.to_string() == name);
    found.unwrap_or_else(|| panic!("no test knows a type {name}"))
}

/// Builds the value of a kind from its text form.
fn value_of(kind: &str, form: &str) -> Value<'static> {
    let data_type = match kind {
        "json" => return json(form),
        "jsonb" => return jsonb(form),
        "typed text" => return typed(form),
        "integer" => DataType::Int64,
        "float" => DataType::Float64,
        kind => type_named(kind),
    };
    crate::value::text::parse(form, &data_type).unwrap_or_else(|| panic!("{form} is no {kind}"))
}

#[test]
fn every_example_of_the_documentation_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/types.md");
    let document = std::fs::read_to_string(path).expect("docs/types.md is there");
    let (_, examples) = document.split_once("\n## Examples\n").expect("there is a section of examples");
    let mut run = 0;
    for line in examples.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [kind, form, target, becomes_cell] = cells[..] else { panic!("a row of four cells: {line}") };
        let value = value_of(kind, form.trim_matches('`'));
        let target = type_named(target);
        match becomes_cell.split_once(" `") {
            None if becomes_cell == "refused" => refused(value, &target),
            Some((kind, form)) => becomes(value, &target, value_of(kind, form.trim_end_matches('`'))),
            None => panic!("refused, or what it becomes: {line}"),
        }
        run += 1;
    }
    assert!(run > 100, "only {run} examples were found");
}
