-- The table wherever the search path finds it, beside it the table of what is set aside, and whether both may be changed.
SELECT
  pg_class.oid,
  FORMAT('%I.%I', nspname, relname),
  FORMAT('%I.crossfade_parked_indexes', nspname),
  PG_HAS_ROLE(relowner, 'USAGE') AND HAS_SCHEMA_PRIVILEGE(pg_namespace.oid, 'CREATE')
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = TO_REGCLASS('executions_visibility')
