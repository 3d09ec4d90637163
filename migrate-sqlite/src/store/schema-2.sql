-- The stage of the job that the entity is in.
ALTER TABLE migration_execution_entities ADD COLUMN stage TEXT;
