-- What tells this database from any other, by whatever address it was reached.
SELECT system_identifier::text || '/' || (SELECT oid::text FROM pg_database WHERE datname = CURRENT_DATABASE())
FROM PG_CONTROL_SYSTEM()
