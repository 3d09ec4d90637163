-- The target: rows have ids of its own; what they are is said by xmlid, and every reference is checked as they are written.
CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT NOT NULL UNIQUE, email TEXT);
CREATE TABLE projects (id INTEGER PRIMARY KEY, domaincode TEXT NOT NULL UNIQUE, name TEXT, owner_id INTEGER REFERENCES users (id));
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, master_id INTEGER, xmlid TEXT NOT NULL UNIQUE, name TEXT,
    event_xmlid TEXT REFERENCES events (xmlid), project_id INTEGER NOT NULL REFERENCES projects (id), user_id INTEGER REFERENCES users (id),
    data TEXT NOT NULL
);
CREATE TABLE locations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, master_id INTEGER, xmlid TEXT NOT NULL UNIQUE, name TEXT,
    event_xmlid TEXT REFERENCES events (xmlid), project_id INTEGER NOT NULL REFERENCES projects (id)
);
CREATE TABLE instructors (
    id INTEGER PRIMARY KEY AUTOINCREMENT, master_id INTEGER, xmlid TEXT NOT NULL UNIQUE, name TEXT, event_xmlid TEXT REFERENCES events (xmlid)
);
CREATE TABLE posts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, master_id INTEGER, xmlid TEXT NOT NULL UNIQUE, title TEXT, body TEXT,
    event_xmlid TEXT REFERENCES events (xmlid), project_id INTEGER NOT NULL REFERENCES projects (id),
    user_id INTEGER NOT NULL REFERENCES users (id), data TEXT NOT NULL
);
CREATE TABLE participants (
    id INTEGER PRIMARY KEY AUTOINCREMENT, master_id INTEGER, xmlid TEXT NOT NULL UNIQUE, name TEXT,
    event_xmlid TEXT NOT NULL REFERENCES events (xmlid)
);
CREATE TABLE project_members (
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT, PRIMARY KEY (project_id, user_id)
);
CREATE TABLE pages (
    project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, page_type TEXT NOT NULL, user_id INTEGER REFERENCES users (id),
    header TEXT, PRIMARY KEY (project_id, page_type)
);
