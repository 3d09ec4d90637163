//! What only the text of `CREATE TABLE` says: checks, constraint names, collations, generated expressions, deferrability.
//!
//! SQLite has parsed the text before, so it is well formed; whatever is not understood is passed over, never refused.

use super::tokens::{Token, tokens};

/// What was found in the text of one table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ParsedTable {
    /// The columns that say something of their own, by name as written.
    pub(super) columns: Vec<ParsedColumn>,
    /// The primary key's constraint name.
    pub(super) primary_key_name: Option<String>,
    /// Whether AUTOINCREMENT is declared.
    pub(super) autoincrement: bool,
    /// Unique constraints: name and columns.
    pub(super) uniques: Vec<(Option<String>, Vec<String>)>,
    /// Checks: name and condition.
    pub(super) checks: Vec<(Option<String>, String)>,
    /// Foreign keys in the order of the text.
    pub(super) foreign_keys: Vec<ParsedForeignKey>,
    /// What is said beyond all this: conflict clauses, and collations and directions inside a key; in words.
    pub(super) others: Vec<String>,
}

/// What the text says of one column.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct ParsedColumn {
    /// The name.
    pub(super) name: String,
    /// The collation.
    pub(super) collation: Option<String>,
    /// The expression of a generated column.
    pub(super) generated: Option<String>,
}

/// What the text says of one foreign key.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct ParsedForeignKey {
    /// The constraint's name.
    pub(super) name: Option<String>,
    /// The referring columns.
    pub(super) columns: Vec<String>,
    /// Whether it is deferrable.
    pub(super) deferrable: bool,
    /// Whether it is deferred unless told otherwise.
    pub(super) initially_deferred: bool,
    /// Whether MATCH FULL is declared.
    pub(super) match_full: bool,
}

/// Parses the text of a `CREATE TABLE` statement.
pub(super) fn parse(sql: &str) -> ParsedTable {
    let all = tokens(sql);
    let mut table = ParsedTable::default();
    // The first parenthesis opens the body: names before it are quoted if they hold one.
    let Some(open) = all.iter().position(|t| t.is_sign("(")) else { return table };
    let close = matching(&all, open);
    for definition in split_commas(&all[open + 1..close]) {
        parse_definition(sql, definition, &mut table);
    }
    table
}

/// Returns the place of the parenthesis that closes the one at `open`, or the end.
fn matching(all: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, token) in all.iter().enumerate().skip(open) {
        if token.is_sign("(") {
            depth += 1;
        } else if token.is_sign(")") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return i;
            }
        }
    }
    all.len()
}

/// Splits at the commas outside of parentheses.
pub(super) fn split_commas<'t, 's>(all: &'t [Token<'s>]) -> Vec<&'t [Token<'s>]> {
    let (mut parts, mut start, mut i) = (Vec::new(), 0, 0);
    while i < all.len() {
        if all[i].is_sign("(") {
            i = matching(all, i);
        } else if all[i].is_sign(",") {
            parts.push(&all[start..i]);
            start = i + 1;
        }
        i += 1;
    }
    parts.push(&all[start.min(all.len())..]);
    parts.retain(|p| !p.is_empty());
    parts
}

/// A column or a constraint of the table. SQLite lets the comma between two constraints of the table be left out.
fn parse_definition(sql: &str, definition: &[Token<'_>], table: &mut ParsedTable) {
    let first = &definition[0];
    let second_opens = definition.get(1).is_some_and(|t| t.is_sign("("));
    let is_constraint = first.is("CONSTRAINT")
        || (first.is("PRIMARY") && definition.get(1).is_some_and(|t| t.is("KEY")))
        || (first.is("FOREIGN") && definition.get(1).is_some_and(|t| t.is("KEY")))
        || (first.is("UNIQUE") && second_opens)
        || (first.is("CHECK") && second_opens);
    if is_constraint {
        parse_constraints(sql, definition, None, table);
    } else {
        let mut column = ParsedColumn { name: first.name(), ..ParsedColumn::default() };
        parse_constraints(sql, &definition[1..], Some(&mut column), table);
        table.columns.push(column);
    }
}

/// Walks over constraints, of one column or of the table.
fn parse_constraints(sql: &str, words: &[Token<'_>], mut column: Option<&mut ParsedColumn>, table: &mut ParsedTable) {
    let mut name: Option<String> = None;
    let mut i = 0;
    while let Some(word) = words.get(i) {
        let next = words.get(i + 1);
        if word.is("ON") && next.is_some_and(|t| t.is("CONFLICT")) {
            let at = column.as_deref().map_or_else(|| "a constraint".to_owned(), |c| format!("column {}", c.name));
            let action = words.get(i + 2).map(|t| t.name().to_uppercase()).unwrap_or_default();
            table.others.push(format!("ON CONFLICT {action} of {at}"));
            i += 3;
            continue;
        }
        if word.is("PRIMARY") || word.is("UNIQUE") {
            let list = words[i..].iter().take(3).position(|t| t.is_sign("("));
            note_key_parts(words, list.map(|at| i + at), table);
        }
        // The columns of a constraint: its list in parentheses, or the column that it stands at.
        let own = column.as_deref().map(|c| vec![c.name.clone()]);
        let mut used_name = true;
        if word.is("CONSTRAINT") {
            name = next.map(Token::name);
            i += 2;
            continue;
        } else if word.is("PRIMARY") {
            table.primary_key_name = name.take();
            i += 1;
        } else if word.is("AUTOINCREMENT") {
            table.autoincrement = true;
        } else if word.is("UNIQUE") {
            let listed = next.is_some_and(|t| t.is_sign("(")).then(|| column_list(words, i + 1));
            if let Some(columns) = own.or(listed) {
                table.uniques.push((name.take(), columns));
            }
        } else if word.is("CHECK") && next.is_some_and(|t| t.is_sign("(")) {
            table.checks.push((name.take(), inside(sql, words, i + 1).to_owned()));
        } else if word.is("FOREIGN") {
            let columns = words[i..].iter().position(|t| t.is_sign("(")).map_or_else(Vec::new, |at| column_list(words, i + at));
            i += words[i..].iter().position(|t| t.is("REFERENCES")).unwrap_or(0);
            let (key, end) = parse_reference(words, i);
            table.foreign_keys.push(ParsedForeignKey { name: name.take(), columns, ..key });
            i = end;
            continue;
        } else if word.is("REFERENCES") {
            let (key, end) = parse_reference(words, i);
            table.foreign_keys.push(ParsedForeignKey { name: name.take(), columns: own.unwrap_or_default(), ..key });
            i = end;
            continue;
        } else if word.is("COLLATE") {
            if let (Some(column), Some(collation)) = (column.as_deref_mut(), next) {
                column.collation = Some(collation.name());
            }
            i += 1;
        } else if word.is("AS") && next.is_some_and(|t| t.is_sign("(")) {
            if let Some(column) = column.as_deref_mut() {
                column.generated = Some(inside(sql, words, i + 1).to_owned());
            }
        } else if word.is("DEFAULT") {
            // What follows is a value, even where it looks like a keyword.
            if next.is_some_and(|t| !t.is_sign("(")) {
                i += 1;
            }
        } else if word.is("NOT") || word.is("NULL") {
            name = None;
        } else {
            used_name = false;
        }
        if used_name && !word.is("COLLATE") {
            name = None;
        }
        i += 1;
        // What a constraint holds in parentheses was read, or says nothing.
        if words.get(i).is_some_and(|t| t.is_sign("(")) {
            i = matching(words, i) + 1;
        }
    }
}

/// Notes what a key's list says of its columns beyond their names.
fn note_key_parts(words: &[Token<'_>], open: Option<usize>, table: &mut ParsedTable) {
    let Some(open) = open else { return };
    let close = matching(words, open);
    for part in split_commas(&words[open + 1..close.min(words.len())]) {
        let name = part[0].name();
        if let Some(at) = part.iter().position(|t| t.is("COLLATE")) {
            let collation = part.get(at + 1).map(Token::name).unwrap_or_default();
            table.others.push(format!("COLLATE {collation} of {name} inside a key, which may hold rows apart otherwise,"));
        }
        if part.iter().skip(1).any(|t| t.is("DESC")) {
            table.others.push(format!("DESC of {name} inside a key"));
        }
    }
}

/// Reads from REFERENCES on; returns the place behind.
fn parse_reference(words: &[Token<'_>], start: usize) -> (ParsedForeignKey, usize) {
    let mut key = ParsedForeignKey::default();
    // REFERENCES, the parent's name, and perhaps its columns.
    let mut i = start + 2;
    if words.get(i).is_some_and(|t| t.is_sign("(")) {
        i = matching(words, i) + 1;
    }
    while let Some(word) = words.get(i) {
        let next = words.get(i + 1);
        if word.is("ON") {
            // ON DELETE SET NULL, ON UPDATE CASCADE, ON DELETE NO ACTION
            let two = words.get(i + 2).is_some_and(|t| t.is("SET") || t.is("NO"));
            i += if two { 4 } else { 3 };
        } else if word.is("MATCH") {
            key.match_full = next.is_some_and(|t| t.is("FULL"));
            i += 2;
        } else if word.is("NOT") && next.is_some_and(|t| t.is("DEFERRABLE")) {
            // NOT DEFERRABLE INITIALLY DEFERRED is not deferred either.
            i += 2;
            if words.get(i).is_some_and(|t| t.is("INITIALLY")) {
                i += 2;
            }
        } else if word.is("DEFERRABLE") {
            key.deferrable = true;
            i += 1;
        } else if word.is("INITIALLY") {
            key.initially_deferred = key.deferrable && next.is_some_and(|t| t.is("DEFERRED"));
            i += 2;
        } else {
            break;
        }
    }
    (key, i)
}

/// Returns the text between a parenthesis and the one that closes it.
fn inside<'s>(sql: &'s str, words: &[Token<'s>], open: usize) -> &'s str {
    let close = matching(words, open);
    let end = words.get(close).map_or(sql.len(), |t| t.start);
    sql[words[open].end()..end].trim()
}

/// Returns the first names of the parts of a list in parentheses.
fn column_list(words: &[Token<'_>], open: usize) -> Vec<String> {
    let close = matching(words, open);
    split_commas(&words[open + 1..close.min(words.len())]).iter().map(|part| part[0].name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_and_constraints_are_taken_apart() {
        let sql = r#"CREATE TABLE "odd (name" ( -- a comment, with (
            id INTEGER CONSTRAINT the_pk PRIMARY KEY AUTOINCREMENT,
            "check" TEXT COLLATE NOCASE DEFAULT 'x, (y' CHECK ("check" <> ')' /* ) */),
            [a b] NUMERIC(10, 2) NOT NULL CONSTRAINT pos CHECK ([a b] > 0) UNIQUE,
            total INT GENERATED ALWAYS AS (id * (2 + 1)) STORED,
            p INT CONSTRAINT fk1 REFERENCES parent(x) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED CHECK (p > 1),
            q INT DEFAULT (1 + 2) REFERENCES other,
            CONSTRAINT u2 UNIQUE (id, "a b" DESC) ON CONFLICT IGNORE
            CONSTRAINT fk2 FOREIGN KEY (p, q) REFERENCES two(a, b) ON UPDATE NO ACTION MATCH FULL NOT DEFERRABLE INITIALLY DEFERRED,
            CHECK (p < q)
        ) WITHOUT ROWID"#;
        let table = parse(sql);
        assert_eq!(table.primary_key_name.as_deref(), Some("the_pk"));
        assert!(table.autoincrement);
        let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["id", "check", "a b", "total", "p", "q"]);
        assert_eq!(table.columns[1].collation.as_deref(), Some("NOCASE"));
        assert_eq!(table.columns[3].generated.as_deref(), Some("id * (2 + 1)"));
        let checks: Vec<(Option<&str>, &str)> = table.checks.iter().map(|(n, e)| (n.as_deref(), e.as_str())).collect();
        assert_eq!(checks, [(None, "\"check\" <> ')' /* ) */"), (Some("pos"), "[a b] > 0"), (None, "p > 1"), (None, "p < q")]);
        assert_eq!(
            table.uniques,
            [(None, vec!["a b".to_owned()]), (Some("u2".to_owned()), vec!["id".to_owned(), "a b".to_owned()])]
        );
        let keys: Vec<(Option<&str>, usize, bool, bool, bool)> = table
            .foreign_keys
            .iter()
            .map(|k| (k.name.as_deref(), k.columns.len(), k.deferrable, k.initially_deferred, k.match_full))
            .collect();
        assert_eq!(
            keys,
            [(Some("fk1"), 1, true, true, false), (None, 1, false, false, false), (Some("fk2"), 2, false, false, true)]
        );
    }

    #[test]
    fn what_has_no_place_in_the_description_is_listed_in_words() {
        let table = parse(
            "CREATE TABLE t(a INT PRIMARY KEY ON CONFLICT REPLACE, b TEXT NOT NULL ON CONFLICT IGNORE, c, UNIQUE (b COLLATE NOCASE, c DESC) ON CONFLICT FAIL)",
        );
        assert_eq!(
            table.others,
            [
                "ON CONFLICT REPLACE of column a",
                "ON CONFLICT IGNORE of column b",
                "COLLATE NOCASE of b inside a key, which may hold rows apart otherwise,",
                "DESC of c inside a key",
                "ON CONFLICT FAIL of a constraint",
            ]
        );
        assert!(
            parse("CREATE TABLE t(a INT PRIMARY KEY, b TEXT COLLATE NOCASE REFERENCES u (x) ON DELETE CASCADE)")
                .others
                .is_empty()
        );
    }

    #[test]
    fn a_default_that_looks_like_a_keyword_is_no_constraint() {
        let table = parse("CREATE TABLE t(a DEFAULT unique, b DEFAULT -1 CHECK(b), c TEXT DEFAULT current_timestamp UNIQUE)");
        assert_eq!(table.uniques, [(None, vec!["c".to_owned()])]);
        assert_eq!(table.checks, [(None, "b".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(sql in "CREATE TABLE t\\((a|CHECK|UNIQUE|\\(|\\)|,|CONSTRAINT|REFERENCES|FOREIGN KEY|'|\"| |DEFAULT|AS|COLLATE|ON|NOT)*") {
            let _ = parse(&sql);
        }
    }
}
