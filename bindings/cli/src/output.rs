//! What is printed on standard output: tables and documents.

use migrate_core::state::Counters;
use std::io::Write;

/// Prints a line; that nobody reads it any more is no reason to fail.
pub(crate) fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints a document.
pub(crate) fn print_json(document: &serde_json::Value) {
    print_line(&format!("{document:#}"));
}

/// A table of columns that are as wide as they need to be.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    numbers: Vec<bool>,
}

impl Table {
    /// Creates a table; a column whose title starts with `>` holds numbers, which stand to the right.
    pub(crate) fn new(titles: &[&str]) -> Self {
        let numbers = titles.iter().map(|title| title.starts_with('>')).collect();
        let titles = titles.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        Table { rows: vec![titles], numbers }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Returns the lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| display_width(cell)).max();
        let widths: Vec<usize> = (0..self.numbers.len()).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column].saturating_sub(display_width(cell)));
                let between = if column == 0 { "" } else { "  " };
                line.push_str(between);
                line.push_str(&if self.numbers[column] { format!("{gap}{cell}") } else { format!("{cell}{gap}") });
            }
            line.trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        self.lines().iter().for_each(|line| print_line(line));
    }
}

/// The places a text takes; wide characters of East Asia take two. Near enough for names.
fn display_width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// A name as a terminal may show it: control characters would do things to it.
pub(crate) fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A number with its thousands apart: 1,234,567.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of rows: 1 row, 1,234 rows.
pub(crate) fn rows(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "row" } else { "rows" })
}

/// A duration in the unit that suits it: 0.42 s, 12.3 s, 4 min 05 s, 2 h 03 min.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a shown duration is a small positive number")]
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 9.995 => format!("{:.2} s", seconds.max(0.0)),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        0..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A duration in whole seconds, rounded up: 0 s, 1 s, 59 s, 4 min 05 s.
pub(crate) fn whole_seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).ceil();
    if whole < 60.0 { format!("{whole:.0} s") } else { self::seconds(whole) }
}

/// A number of bytes in the unit that suits it.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// Which of the counters a column shows.
type Count = fn(&Counters) -> u64;

/// An entity's line in a table of results.
pub(crate) struct EntityLine<'a> {
    pub(crate) name: &'a str,
    /// The stage that it is in, where the job names stages.
    pub(crate) stage: Option<&'a str>,
    pub(crate) counters: &'a Counters,
    pub(crate) seconds: f64,
}

/// A table of what became of the rows, with their sum where there is more than one line. Columns that no job of this kind ever
/// fills are left out unless they hold something.
pub(crate) fn results<'a>(lines: impl IntoIterator<Item = EntityLine<'a>>) -> Table {
    let lines: Vec<EntityLine<'a>> = lines.into_iter().collect();
    let mut sum = Counters::default();
    lines.iter().for_each(|line| sum.add(line.counters));
    let rare: [(&str, Count); 4] =
        [(">deleted", |c| c.deleted), (">conflicts", |c| c.conflicts), (">pending", |c| c.pending), (">orphans", |c| c.orphans)];
    let rare: Vec<_> = rare.into_iter().filter(|(_, get)| get(&sum) > 0).collect();
    let mut titles = vec!["entity", ">read", ">inserted", ">updated", ">unchanged", ">skipped", ">filtered", ">quarantined"];
    titles.extend(rare.iter().map(|(title, _)| *title));
    titles.push(">seconds");
    let staged = lines.iter().any(|line| line.stage.is_some());
    titles.extend(staged.then_some("stage"));
    let mut table = Table::new(&titles);
    let mut add = |label: String, c: &Counters, seconds: Option<f64>, stage: Option<&str>| {
        let mut row = vec![label];
        // The source's own count comes when an entity is done; before, what is settled was read.
        let usual = [c.read.max(c.settled()), c.inserted, c.updated, c.unchanged, c.skipped, c.filtered, c.quarantined];
        row.extend(usual.into_iter().map(count));
        row.extend(rare.iter().map(|(_, get)| count(get(c))));
        row.extend(seconds.map(|seconds| format!("{seconds:.2}")));
        row.extend(stage.map(name));
        table.add(row);
    };
    for line in &lines {
        add(name(line.name), line.counters, Some(line.seconds), line.stage);
    }
    if lines.len() > 1 {
        add("total".to_owned(), &sum, None, None);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            (count(0), count(999), count(1_000), count(1_234_567)),
            ("0".into(), "999".into(), "1,000".into(), "1,234,567".into())
        );
        for (given, expected) in [
            (0.0, "0.00 s"),
            (0.424, "0.42 s"),
            (9.999, "10.0 s"),
            (59.96, "1 min 00 s"),
            (245.2, "4 min 05 s"),
            (7_380.0, "2 h 03 min"),
            (180_000.0, "2 d 02 h"),
        ] {
            assert_eq!(seconds(given), expected);
        }
        assert_eq!(
            (whole_seconds(0.01), whole_seconds(59.2), whole_seconds(244.5)),
            ("1 s".into(), "1 min 00 s".into(), "4 min 05 s".into())
        );
        assert_eq!((bytes(512), bytes(1536), bytes(3 << 30)), ("512 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
    }

    #[test]
    fn columns_line_up_whatever_they_hold() {
        let mut table = Table::new(&["name", ">n", "note"]);
        table.add(vec!["Größe".into(), "1".into(), "x".into()]);
        table.add(vec!["日本".into(), "1,000".into(), String::new()]);
        assert_eq!(table.lines(), ["name       n  note", "Größe      1  x", "日本   1,000"]);
    }

    #[test]
    fn results_end_with_their_sum_and_show_rare_columns_only_when_needed() {
        let one = Counters { read: 1_000, inserted: 1_000, ..Counters::default() };
        let two = Counters { read: 5, orphans: 2, ..Counters::default() };
        let line = |name, counters, seconds| EntityLine { name, stage: None, counters, seconds };
        let lines = results([line("a\u{7}", &one, 0.5), line("b", &two, 1.0)]).lines();
        assert!(lines[0].contains("quarantined  orphans  seconds"), "{lines:?}");
        assert!(lines[1].starts_with("a\u{fffd}") && lines[3].starts_with("total") && lines[3].contains("1,005"), "{lines:?}");
        assert!(!results([line("a", &one, 0.5)]).lines()[0].contains("orphans"));
    }
}
