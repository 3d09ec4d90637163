-- Instants are texts such as 2026-11-21T10:15:00.000Z: they sort as they are.

CREATE TABLE migration_sources (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    display_name TEXT,
    description  TEXT,
    script_path  TEXT,
    parameters   TEXT NOT NULL DEFAULT '{}',
    is_active    INTEGER NOT NULL DEFAULT 1,
    created_at   TEXT NOT NULL
);

CREATE TABLE migration_jobs (
    id                 INTEGER PRIMARY KEY,
    name               TEXT NOT NULL UNIQUE,
    description        TEXT,
    job_type           TEXT NOT NULL,
    source_id          INTEGER REFERENCES migration_sources (id),
    source_environment TEXT NOT NULL,
    target_environment TEXT NOT NULL,
    definition         TEXT NOT NULL,
    schedule_type      TEXT NOT NULL DEFAULT 'manual',
    schedule_config    TEXT,
    is_active          INTEGER NOT NULL DEFAULT 1,
    last_run_at        TEXT,
    next_run_at        TEXT,
    created_at         TEXT NOT NULL,
    updated_at         TEXT NOT NULL,
    deleted_at         TEXT
);
CREATE INDEX migration_jobs_due ON migration_jobs (is_active, next_run_at);

CREATE TABLE migration_executions (
    id                 TEXT PRIMARY KEY,
    job_id             INTEGER REFERENCES migration_jobs (id) ON DELETE CASCADE,
    job                TEXT NOT NULL,
    job_type           TEXT NOT NULL,
    definition         TEXT NOT NULL,
    source_environment TEXT NOT NULL,
    target_environment TEXT NOT NULL,
    source_url         TEXT,
    target_url         TEXT,
    state              TEXT NOT NULL,
    attempt            INTEGER NOT NULL,
    created_at         TEXT NOT NULL,
    started_at         TEXT,
    finished_at        TEXT,
    heartbeat_at       TEXT,
    owner_host         TEXT,
    owner_process      INTEGER,
    owner_started      TEXT,
    executed_by        TEXT,
    command            TEXT,
    error              TEXT,
    progress_percent   INTEGER NOT NULL,
    total_rows         INTEGER,
    notes              TEXT NOT NULL,
    read               INTEGER NOT NULL,
    inserted           INTEGER NOT NULL,
    updated            INTEGER NOT NULL,
    unchanged          INTEGER NOT NULL,
    skipped            INTEGER NOT NULL,
    filtered           INTEGER NOT NULL,
    quarantined        INTEGER NOT NULL,
    deleted            INTEGER NOT NULL,
    conflicts          INTEGER NOT NULL,
    pending            INTEGER NOT NULL,
    orphans            INTEGER NOT NULL,
    bytes              INTEGER NOT NULL
);
CREATE INDEX migration_executions_newest ON migration_executions (created_at DESC, id DESC);
CREATE INDEX migration_executions_by_job ON migration_executions (job, created_at DESC, id DESC);
CREATE INDEX migration_executions_by_state ON migration_executions (state, created_at DESC, id DESC);

CREATE TABLE migration_attempts (
    execution_id  TEXT NOT NULL REFERENCES migration_executions (id) ON DELETE CASCADE,
    number        INTEGER NOT NULL,
    state         TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    finished_at   TEXT,
    owner_host    TEXT NOT NULL,
    owner_process INTEGER NOT NULL,
    owner_started TEXT NOT NULL,
    error         TEXT,
    PRIMARY KEY (execution_id, number)
);

CREATE TABLE migration_execution_entities (
    execution_id TEXT NOT NULL REFERENCES migration_executions (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    position     INTEGER NOT NULL,
    source       TEXT NOT NULL,
    target       TEXT NOT NULL,
    state        TEXT NOT NULL,
    total_rows   INTEGER,
    seconds      REAL NOT NULL,
    error        TEXT,
    read         INTEGER NOT NULL,
    inserted     INTEGER NOT NULL,
    updated      INTEGER NOT NULL,
    unchanged    INTEGER NOT NULL,
    skipped      INTEGER NOT NULL,
    filtered     INTEGER NOT NULL,
    quarantined  INTEGER NOT NULL,
    deleted      INTEGER NOT NULL,
    conflicts    INTEGER NOT NULL,
    pending      INTEGER NOT NULL,
    orphans      INTEGER NOT NULL,
    bytes        INTEGER NOT NULL,
    PRIMARY KEY (execution_id, name)
);

CREATE TABLE migration_logs (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL REFERENCES migration_executions (id) ON DELETE CASCADE,
    log_level    TEXT NOT NULL,
    entity       TEXT,
    message      TEXT NOT NULL,
    fields       TEXT NOT NULL,
    logged_at    TEXT NOT NULL
);
CREATE INDEX migration_logs_by_execution ON migration_logs (execution_id, id);
