-- One table for everything that devices synchronise:
--
--     sqlite3 sync.db < sync_data.sqlite.sql

CREATE TABLE sync_data (
    id          TEXT NOT NULL PRIMARY KEY,
    user_id     TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id   TEXT NOT NULL,
    data        TEXT NOT NULL,
    checksum    TEXT NOT NULL,
    version     INTEGER NOT NULL DEFAULT 1,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL,
    deleted_at  TEXT,
    UNIQUE (user_id, entity_type, entity_id)
);

CREATE INDEX sync_data_entity_type ON sync_data (entity_type);
