-- A theatre network's site: what the example copies. Nothing here declares a reference, as in many a grown database.
--
-- On purpose: two events and a post whose JSON is broken, references to what is not there, empty texts beside NULL, names that are not ASCII.

CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE, email TEXT);
CREATE TABLE projects (id INTEGER PRIMARY KEY, domaincode TEXT NOT NULL UNIQUE, name TEXT, owner_id INTEGER);
CREATE TABLE locations (id INTEGER PRIMARY KEY AUTOINCREMENT, xmlid TEXT NOT NULL UNIQUE, name TEXT, event_xmlid TEXT, project_id INTEGER);
CREATE TABLE instructors (id INTEGER PRIMARY KEY AUTOINCREMENT, xmlid TEXT NOT NULL UNIQUE, name TEXT, event_xmlid TEXT);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, xmlid TEXT NOT NULL UNIQUE, name TEXT, event_xmlid TEXT, project_id INTEGER, user_id INTEGER, data TEXT
);
CREATE TABLE posts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, xmlid TEXT NOT NULL UNIQUE, title TEXT, body TEXT, event_xmlid TEXT, project_id INTEGER,
    user_id INTEGER, data TEXT
);
CREATE TABLE participants (id INTEGER PRIMARY KEY AUTOINCREMENT, xmlid TEXT NOT NULL UNIQUE, name TEXT, event_xmlid TEXT);
CREATE TABLE project_members (project_id INTEGER NOT NULL, user_id INTEGER NOT NULL, role TEXT, PRIMARY KEY (project_id, user_id));
CREATE TABLE pages (project_id INTEGER NOT NULL, page_type TEXT NOT NULL, user_id INTEGER, header TEXT, PRIMARY KEY (project_id, page_type));

CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n;

INSERT INTO users SELECT i, 'user_' || i, CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'user' || i || '@example.org' END FROM n WHERE i <= 1000;
INSERT INTO projects SELECT i, 'project_' || i, 'Bühne ' || i, i FROM n WHERE i <= 1000;
INSERT INTO locations SELECT i, printf('location-%04d', i), 'Théâtre ' || i, printf('event-%04d', 1 + i * 13 % 1500), 1 + i % 1000
    FROM n WHERE i <= 1100;
INSERT INTO instructors SELECT i, printf('instructor-%04d', i), 'Žofie Łoś ' || i, CASE WHEN i % 4 > 0 THEN printf('event-%04d', i) END
    FROM n WHERE i <= 1000;
INSERT INTO events SELECT i, printf('event-%04d', i), '夏の祭り ' || i, CASE WHEN i % 3 = 0 THEN printf('event-%04d', 1 + i * 7 % 1500) END,
    1 + i % 1000, CASE WHEN i % 2 = 0 THEN 1 + i % 997 END, json_object('seats', i, 'note', CASE WHEN i % 7 = 0 THEN NULL ELSE 'ü' END)
    FROM n WHERE i <= 1500;
INSERT INTO posts SELECT i, printf('post-%04d', i), 'Post ' || i, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'text' END,
    CASE WHEN i % 5 > 0 THEN printf('event-%04d', 1 + i * 11 % 1500) END, 1 + i % 1000, 1 + i % 1000, '{"likes": ' || i || '}'
    FROM n WHERE i <= 2000;
INSERT INTO participants SELECT i, printf('participant-%04d', i), 'Ægir ' || i, printf('event-%04d', 1 + i * 17 % 1500) FROM n WHERE i <= 1200;
INSERT INTO project_members SELECT 1 + i % 1000, 1 + i * 3 % 1000, CASE WHEN i % 2 = 0 THEN 'owner' ELSE '' END FROM n WHERE i <= 1000;
INSERT INTO pages SELECT i, 'landing', i, 'Willkommen №' || i FROM n WHERE i <= 1000;

-- Broken JSON.
UPDATE events SET data = '{"seats": ' WHERE xmlid IN ('event-0010', 'event-0500');
UPDATE posts SET data = 'none' WHERE xmlid = 'post-0100';
-- Parents that are not there.
UPDATE events SET event_xmlid = 'event-9999' WHERE xmlid = 'event-0042';
UPDATE locations SET event_xmlid = 'event-9998' WHERE xmlid = 'location-0007';
UPDATE posts SET user_id = 99999 WHERE xmlid IN ('post-0001', 'post-0002');
UPDATE pages SET user_id = 99999 WHERE project_id = 3;
