-- The same table in PostgreSQL:
--
--     psql "$SYNC_DATABASE_URL" -f sync_data.postgresql.sql

CREATE TABLE sync_data (
    id          text PRIMARY KEY,
    user_id     text NOT NULL,
    entity_type text NOT NULL,
    entity_id   text NOT NULL,
    data        json NOT NULL, -- not jsonb, which would respell what the checksum was made of
    checksum    varchar(64) NOT NULL,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    deleted_at  timestamptz,
    UNIQUE (user_id, entity_type, entity_id)
);

CREATE INDEX sync_data_entity_type ON sync_data (entity_type);
