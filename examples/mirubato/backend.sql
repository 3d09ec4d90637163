-- The backend of an app in which musicians log their practice. All of it is made up and the same each time:
--
--     sqlite3 backend.db < backend.sql
--
-- Eight users, 1,500 practice sessions, 1,200 logbook entries, 1,000 goals. Times are milliseconds since 1970, lists are JSON in text.
-- As in a real one, some of it is wrong; the last statements say what.

PRAGMA foreign_keys = off;
BEGIN;

CREATE TABLE practice_sessions (
    id              TEXT NOT NULL PRIMARY KEY,
    user_id         TEXT NOT NULL,
    instrument      TEXT NOT NULL CHECK (instrument IN ('PIANO', 'GUITAR')),
    session_type    TEXT NOT NULL CHECK (session_type IN ('FREE_PRACTICE', 'GUIDED_PRACTICE', 'ASSESSMENT')),
    started_at      INTEGER NOT NULL,
    completed_at    INTEGER,
    paused_duration INTEGER DEFAULT 0,
    accuracy        REAL,
    notes_attempted INTEGER DEFAULT 0,
    notes_correct   INTEGER DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
);

CREATE TABLE logbook_entries (
    id         TEXT NOT NULL PRIMARY KEY,
    user_id    TEXT NOT NULL,
    timestamp  INTEGER NOT NULL,
    duration   INTEGER NOT NULL,
    type       TEXT NOT NULL CHECK (type IN ('PRACTICE', 'PERFORMANCE', 'LESSON', 'REHEARSAL')),
    instrument TEXT NOT NULL CHECK (instrument IN ('PIANO', 'GUITAR')),
    pieces     TEXT,
    techniques TEXT,
    goal_ids   TEXT,
    notes      TEXT,
    mood       TEXT CHECK (mood IN ('FRUSTRATED', 'NEUTRAL', 'SATISFIED', 'EXCITED')),
    tags       TEXT,
    session_id TEXT REFERENCES practice_sessions (id),
    metadata   TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE TABLE goals (
    id             TEXT NOT NULL PRIMARY KEY,
    user_id        TEXT NOT NULL,
    title          TEXT NOT NULL,
    description    TEXT,
    target_date    INTEGER,
    progress       REAL NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    milestones     TEXT,
    status         TEXT,
    linked_entries TEXT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    completed_at   INTEGER
);

INSERT INTO practice_sessions
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
SELECT
    printf('session-%04d', i),
    'user_' || (1 + i % 8),
    CASE WHEN i % 3 = 0 THEN 'GUITAR' ELSE 'PIANO' END,
    CASE i % 5 WHEN 0 THEN 'ASSESSMENT' WHEN 1 THEN 'GUIDED_PRACTICE' ELSE 'FREE_PRACTICE' END,
    1700000000000 + i * 3600007,
    -- Every tenth was never finished.
    CASE WHEN i % 10 > 0 THEN 1700000000000 + i * 3600007 + 60000 * (5 + i % 50) END,
    i % 4 * 15,
    CASE WHEN i % 10 > 0 THEN 50 + i % 500 / 10.0 END,
    100 + i,
    50 + i,
    1700000000000 + i * 3600007,
    1700000000000 + i * 3600007 + 1
FROM n;

INSERT INTO logbook_entries
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
SELECT
    printf('entry-%04d', i),
    'user_' || (1 + i % 8),
    1700000000000 + i * 7200011,
    600 + i % 3000,
    CASE i % 4 WHEN 0 THEN 'LESSON' WHEN 1 THEN 'REHEARSAL' WHEN 2 THEN 'PERFORMANCE' ELSE 'PRACTICE' END,
    CASE WHEN i % 3 = 0 THEN 'GUITAR' ELSE 'PIANO' END,
    CASE WHEN i % 6 > 0 THEN json_array(json_object('title', CASE i % 3 WHEN 0 THEN 'Étude № ' WHEN 1 THEN '夜想曲 ' ELSE 'Ноктюрн ' END || i, 'measures', i % 64)) ELSE '[]' END,
    -- Nothing is said in three ways.
    CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '[]' ELSE '["scales","arpeggios"]' END,
    CASE WHEN i % 2 = 0 THEN json_array(printf('goal-%04d', 1 + i % 1000)) ELSE '[]' END,
    -- No note, and an empty one: not the same.
    CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'Très bien 🎵 „' || i || '“' || char(10) || 'zweite Zeile' END,
    CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN 'FRUSTRATED' WHEN 2 THEN 'NEUTRAL' WHEN 3 THEN 'SATISFIED' ELSE 'EXCITED' END,
    CASE i % 3 WHEN 0 THEN NULL ELSE json_array('tag ' || (i % 9), 'größer') END,
    CASE WHEN i % 2 = 0 THEN printf('session-%04d', i) END,
    CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE '{"source":"timer","accuracy":' || (i % 100) || '.50}' END,
    1700000000000 + i * 7200011 + 5000,
    1700000000000 + i * 7200011 + 6000
FROM n;

INSERT INTO goals
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
SELECT
    printf('goal-%04d', i),
    'user_' || (1 + i % 8),
    CASE i % 2 WHEN 0 THEN 'Gammes à ♩ = ' || (60 + i % 120) ELSE 'Learn piece ' || i END,
    CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'übermorgen' END,
    CASE WHEN i % 5 > 0 THEN 1750000000000 + i * 86400000 END,
    i % 101,
    CASE i % 4 WHEN 0 THEN '[]' WHEN 1 THEN NULL ELSE json_array(json_object('title', 'half', 'done', json('false'))) END,
    CASE i % 6 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'COMPLETED' WHEN 3 THEN 'PAUSED' ELSE 'ACTIVE' END,
    CASE WHEN i % 2 = 0 THEN json_array(printf('entry-%04d', i), printf('entry-%04d', i + 1)) END,
    1690000000000 + i * 60000,
    1690000000000 + i * 60000 + i % 1000,
    CASE WHEN i % 6 = 2 THEN 1699999999999 END
FROM n;

-- JSON that was cut off, or never was any: entries and goals that cannot be taken as they are.
UPDATE logbook_entries SET pieces = '[{"title":"Étude' WHERE id IN ('entry-0100', 'entry-0700');
UPDATE logbook_entries SET metadata = '{source: manual}' WHERE id = 'entry-0333';
UPDATE goals SET milestones = '[{"title":"half",]' WHERE id IN ('goal-0010', 'goal-0500', 'goal-0999');

-- Tags and links that are broken matter less: they count as none.
UPDATE logbook_entries SET tags = 'legato, staccato' WHERE id IN ('entry-0200', 'entry-0201');
UPDATE goals SET linked_entries = '["entry-0001"' WHERE id = 'goal-0020';

-- A time that is no number, which SQLite does not mind; the moment itself, and one before it.
UPDATE practice_sessions SET started_at = 'yesterday' WHERE id = 'session-0777';
UPDATE goals SET target_date = 0 WHERE id = 'goal-0001';
UPDATE goals SET target_date = -1 WHERE id = 'goal-0002';

-- A number with all the digits that a double has.
UPDATE practice_sessions SET accuracy = 0.1 + 0.2 WHERE id = 'session-0001';

-- An entry of a session that is not there: its parent was deleted while nobody looked.
UPDATE logbook_entries SET session_id = 'session-9999' WHERE id = 'entry-0400';

COMMIT;
