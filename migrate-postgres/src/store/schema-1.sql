CREATE TABLE migrate_store.migration_sources (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE,
    display_name text,
    description  text,
    script_path  text,
    parameters   json NOT NULL DEFAULT '{}',
    is_active    boolean NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL
);

CREATE TABLE migrate_store.migration_jobs (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text NOT NULL UNIQUE,
    description        text,
    job_type           text NOT NULL,
    source_id          bigint REFERENCES migrate_store.migration_sources (id),
    source_environment text NOT NULL,
    target_environment text NOT NULL,
    definition         json NOT NULL,
    schedule_type      text NOT NULL DEFAULT 'manual',
    schedule_config    json,
    is_active          boolean NOT NULL DEFAULT true,
    last_run_at        timestamptz,
    next_run_at        timestamptz,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    deleted_at         timestamptz
);
CREATE INDEX migration_jobs_due ON migrate_store.migration_jobs (is_active, next_run_at);

CREATE TABLE migrate_store.migration_executions (
    id                 text COLLATE "C" PRIMARY KEY,
    job_id             bigint REFERENCES migrate_store.migration_jobs (id) ON DELETE CASCADE,
    job                text NOT NULL,
    job_type           text NOT NULL,
    definition         json NOT NULL,
    source_environment text NOT NULL,
    target_environment text NOT NULL,
    source_url         text,
    target_url         text,
    state              text NOT NULL,
    attempt            integer NOT NULL,
    created_at         timestamptz NOT NULL,
    started_at         timestamptz,
    finished_at        timestamptz,
    heartbeat_at       timestamptz,
    owner_host         text,
    owner_process      bigint,
    owner_started      text,
    executed_by        text,
    command            text,
    error              text,
    progress_percent   integer NOT NULL,
    total_rows         bigint,
    notes              json NOT NULL,
    read               bigint NOT NULL,
    inserted           bigint NOT NULL,
    updated            bigint NOT NULL,
    unchanged          bigint NOT NULL,
    skipped            bigint NOT NULL,
    filtered           bigint NOT NULL,
    quarantined        bigint NOT NULL,
    deleted            bigint NOT NULL,
    conflicts          bigint NOT NULL,
    pending            bigint NOT NULL,
    orphans            bigint NOT NULL,
    bytes              bigint NOT NULL
);
CREATE INDEX migration_executions_newest ON migrate_store.migration_executions (created_at DESC, id DESC);
CREATE INDEX migration_executions_by_job ON migrate_store.migration_executions (job, created_at DESC, id DESC);
CREATE INDEX migration_executions_by_state ON migrate_store.migration_executions (state, created_at DESC, id DESC);

CREATE TABLE migrate_store.migration_attempts (
    execution_id  text COLLATE "C" NOT NULL REFERENCES migrate_store.migration_executions (id) ON DELETE CASCADE,
    number        integer NOT NULL,
    state         text NOT NULL,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    owner_host    text NOT NULL,
    owner_process bigint NOT NULL,
    owner_started text NOT NULL,
    error         text,
    PRIMARY KEY (execution_id, number)
);

CREATE TABLE migrate_store.migration_execution_entities (
    execution_id text COLLATE "C" NOT NULL REFERENCES migrate_store.migration_executions (id) ON DELETE CASCADE,
    name         text NOT NULL,
    position     integer NOT NULL,
    source       text NOT NULL,
    target       text NOT NULL,
    state        text NOT NULL,
    total_rows   bigint,
    seconds      double precision NOT NULL,
    error        text,
    read         bigint NOT NULL,
    inserted     bigint NOT NULL,
    updated      bigint NOT NULL,
    unchanged    bigint NOT NULL,
    skipped      bigint NOT NULL,
    filtered     bigint NOT NULL,
    quarantined  bigint NOT NULL,
    deleted      bigint NOT NULL,
    conflicts    bigint NOT NULL,
    pending      bigint NOT NULL,
    orphans      bigint NOT NULL,
    bytes        bigint NOT NULL,
    PRIMARY KEY (execution_id, name)
);

CREATE TABLE migrate_store.migration_logs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    execution_id text COLLATE "C" NOT NULL REFERENCES migrate_store.migration_executions (id) ON DELETE CASCADE,
    log_level    text NOT NULL,
    entity       text,
    message      text NOT NULL,
    fields       json NOT NULL,
    logged_at    timestamptz NOT NULL
);
CREATE INDEX migration_logs_by_execution ON migrate_store.migration_logs (execution_id, id);
