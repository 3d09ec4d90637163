//! What others do to the target.

use super::{Model, TargetRow, sql};
use crate::case::{NUMBERS, TEXTS, TargetEdit};

impl Model {
    /// Changes the target as others do, and returns the statements that do it there.
    pub(crate) fn edit_target(&mut self, table: &str, edit: TargetEdit) -> Vec<String> {
        let place = |number: usize, rows: usize| if rows == 0 { None } else { Some(number % rows) };
        let rows = self.target.len();
        match edit {
            TargetEdit::Insert(class, content) => {
                if self.shape.refuses() || self.target.iter().any(|row| row.class == class) {
                    return Vec::new();
                }
                let cells = self.cells(content, &self.target_columns.clone());
                let key = self.keys.at_target(class, content.spelling);
                let statement = self.insert_sql(table, class, &self.keys.quoted(&key), &cells);
                let note = if self.shape.created { None } else { Some("own".to_owned()) };
                self.target.push(TargetRow { class, key, cells, note, marked: false });
                vec![statement]
            }
            TargetEdit::SetText(row, text) => self.set_target(table, place(row, rows), "a", TEXTS[text].map(str::to_owned)),
            TargetEdit::SetNumber(row, number) => {
                // Whether a row is refused must not depend on what others have made of it.
                let row = place(row, rows).filter(|_| !self.shape.refuses());
                self.set_target(table, row, "n", NUMBERS[number].map(|n| n.to_string()))
            }
            TargetEdit::SetNote(row, note) => {
                let Some(place) = place(row, rows).filter(|_| !self.shape.created) else { return Vec::new() };
                self.target[place].note = Some(note.to_string());
                vec![format!("UPDATE {table} SET note = '{note}' WHERE {}", self.is_target(place))]
            }
            TargetEdit::Delete(row) => {
                let Some(place) = place(row, rows).filter(|_| !self.shape.refuses()) else { return Vec::new() };
                let statement = format!("DELETE FROM {table} WHERE {}", self.is_target(place));
                self.target.remove(place);
                vec![statement]
            }
        }
    }

    fn is_target(&self, place: usize) -> String {
        let row = &self.target[place];
        self.is(row.class, &self.keys.quoted(&row.key))
    }

    fn set_target(&mut self, table: &str, place: Option<usize>, column: &str, value: Option<String>) -> Vec<String> {
        let Some(place) = place else { return Vec::new() };
        let statement = format!("UPDATE {table} SET {column} = {} WHERE {}", sql(column, &value), self.is_target(place));
        self.target[place].cells.insert(column.to_owned(), value);
        vec![statement]
    }
}
