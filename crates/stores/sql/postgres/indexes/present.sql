-- What there is of some indexes of the table: whether it can be used.
SELECT class.relname::text, index.indisvalid AND index.indisready, FORMAT('%I.%I', nspname, class.relname)
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
JOIN pg_namespace ON pg_namespace.oid = class.relnamespace
WHERE index.indrelid = $1 AND class.relname::text = ANY($2)
