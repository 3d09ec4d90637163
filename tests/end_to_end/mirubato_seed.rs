//! What SQL over the source of `examples/mirubato` says must come of its rows.

use migrate_tests::Sqlite;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Rows that are spelled as JSON arrays, by their first member, the id.
pub(super) fn by_id(rows: Vec<String>) -> BTreeMap<String, Value> {
    let rows = rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON"));
    rows.map(|row| (row[0].as_str().expect("an id").to_owned(), row)).collect()
}

/// The moment of a column of milliseconds, spelled in UTC, down to those before 1970.
fn moment(column: &str) -> String {
    let rest = format!("(({column} % 1000 + 1000) % 1000)");
    format!(
        "(strftime('%Y-%m-%d %H:%M:%S', ({column} - {rest}) / 1000, 'unixepoch') \
         || CASE {rest} WHEN 0 THEN '' ELSE rtrim(printf('.%03d', {rest}), '0') END || '+00')"
    )
}

/// A number with as many digits as read back to it, whole ones without a fraction.
fn number(column: &str) -> String {
    format!(
        "json(CASE WHEN {column} IS NULL THEN NULL WHEN {column} = CAST({column} AS integer) THEN printf('%d', {column}) ELSE printf('%!.17g', {column}) END)"
    )
}

/// JSON that must be right where it is anything, and its condition.
fn strict(column: &str, otherwise: &str) -> (String, String) {
    let given = format!("coalesce(nullif({column}, ''), '{otherwise}')");
    (format!("json({given})"), format!("json_valid({given})"))
}

/// JSON, or an empty list where it is none.
fn lenient(column: &str) -> String {
    format!("json(CASE WHEN json_valid({column}) THEN {column} ELSE '[]' END)")
}

/// What SQL over the source says the target must hold.
pub(super) fn expected(source: &Sqlite, condition: &str) -> BTreeMap<String, Value> {
    let row = |kind: &str, table: &str, data: &str, right: &str| {
        let (created, updated) = (moment("created_at"), moment("updated_at"));
        source.texts(&format!(
            "SELECT json_array(id, '{kind}', id, user_id, json_object({data}), {created}, {updated}, 1) FROM {table} \
             WHERE {right} AND {condition}"
        ))
    };
    let (pieces, pieces_right) = strict("pieces", "[]");
    let (metadata, metadata_right) = strict("metadata", "{\"source\":\"manual\"}");
    let (milestones, milestones_right) = strict("milestones", "[]");
    let mut rows = row(
        "logbook_entry",
        "logbook_entries",
        &format!(
            "'timestamp', {}, 'duration', duration, 'type', type, 'instrument', instrument, 'pieces', {pieces}, 'techniques', {}, \
             'goal_ids', {}, 'notes', notes, 'mood', mood, 'tags', {}, 'session_id', session_id, 'metadata', {metadata}",
            moment("timestamp"),
            lenient("techniques"),
            lenient("goal_ids"),
            lenient("tags"),
        ),
        &format!("{pieces_right} AND {metadata_right}"),
    );
    rows.extend(row(
        "goal",
        "goals",
        &format!(
            "'title', title, 'description', description, 'target_date', {}, 'progress', {}, 'milestones', {milestones}, \
             'status', coalesce(nullif(status, ''), 'ACTIVE'), 'linked_entries', {}, 'completed_at', {}",
            moment("target_date"),
            number("progress"),
            lenient("linked_entries"),
            moment("completed_at"),
        ),
        &milestones_right,
    ));
    rows.extend(row(
        "practice_session",
        "practice_sessions",
        &format!(
            "'instrument', instrument, 'session_type', session_type, 'started_at', {}, 'completed_at', {}, \
             'paused_duration', paused_duration, 'accuracy', {}, 'notes_attempted', notes_attempted, 'notes_correct', notes_correct",
            moment("started_at"),
            moment("completed_at"),
            number("accuracy"),
        ),
        "typeof(started_at) = 'integer'",
    ));
    by_id(rows)
}

/// What SQL over the source says must be refused: entity, key and column.
pub(super) fn refused(source: &Sqlite) -> BTreeSet<String> {
    let broken = |table: &str, column: &str| {
        format!("SELECT json_array('{table}', id, '{column}') FROM {table} WHERE {column} <> '' AND NOT json_valid({column})")
    };
    let sql = [
        broken("logbook_entries", "pieces"),
        broken("logbook_entries", "metadata"),
        broken("goals", "milestones"),
        "SELECT json_array('practice_sessions', id, 'started_at') FROM practice_sessions WHERE typeof(started_at) <> 'integer'"
            .into(),
    ];
    source.texts(&sql.join(" UNION ALL ")).into_iter().collect()
}
