//! What happens to the source between two runs, and how it is undone.

/// The table that keeps what the changes overwrite; no job moves it.
pub(crate) const SAVED: &str = "undo.saved";

/// Keeps the rows aside that will be changed: 0.15 % of all, spread over all keys.
pub(crate) const SAVE: &[&str] = &[
    "DROP SCHEMA IF EXISTS undo CASCADE; CREATE SCHEMA undo",
    "CREATE TABLE undo.saved AS SELECT * FROM events WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n \
     FROM events) r WHERE n % 1000 = 7 OR n % 2000 = 13)",
];

/// Two thirds of them are updated and one third deleted; as many as these are inserted where keys are free, spread over all keys.
pub(crate) const CHANGE: &[&str] = &[
    "UPDATE events SET title = title || ' (changed)', score = score + 1 WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER \
     (ORDER BY id) AS n FROM undo.saved) r WHERE n % 3 <> 0)",
    "INSERT INTO events (id, xmlid, user_id, project_id, kind, title, body, amount, score, is_active, tags, meta, created_at, updated_at) \
     SELECT id + 1, 'new ' || xmlid, user_id, project_id, kind, title, body, amount, score, is_active, tags, meta, created_at, updated_at \
     FROM (SELECT *, row_number() OVER (ORDER BY id) AS n, count(*) OVER () AS gaps FROM (SELECT *, lead(id) OVER (ORDER BY id) AS next \
     FROM events) l WHERE next > id + 1) g WHERE n % (gaps / (SELECT greatest(1, count(*) / 3) FROM undo.saved)) = 0",
    "DELETE FROM events WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM undo.saved) r WHERE n % 3 = 0)",
];

/// Takes all of that back.
pub(crate) const UNDO: &[&str] = &[
    "DELETE FROM events WHERE xmlid LIKE 'new %' OR id IN (SELECT id FROM undo.saved)",
    "INSERT INTO events SELECT * FROM undo.saved",
    "DROP SCHEMA undo CASCADE",
    "VACUUM (ANALYZE) events",
];
