-- The table wherever the search path finds it, and beside it the table of what is set aside.
SELECT pg_class.oid, FORMAT('%I.%I', nspname, relname), FORMAT('%I.crossfade_parked_indexes', nspname)
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = TO_REGCLASS('executions_visibility')
