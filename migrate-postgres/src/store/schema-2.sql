-- The stage of the job that the entity is in.
ALTER TABLE migrate_store.migration_execution_entities ADD COLUMN stage text;
