-- The indexes that a definition alone can bring back and that only serve reading: none that keeps records unique, that
-- something depends on or clusters by, or that has a comment, a statistics target or an extension of its own.
SELECT class.relname::text, PG_GET_INDEXDEF(index.indexrelid), spcname::text, FORMAT('%I.%I', nspname, class.relname)
FROM pg_index AS index
JOIN pg_class AS class ON class.oid = index.indexrelid
JOIN pg_namespace ON pg_namespace.oid = class.relnamespace
LEFT JOIN pg_tablespace ON pg_tablespace.oid = class.reltablespace
WHERE index.indrelid = $1 AND class.relkind = 'i' AND NOT class.relispartition
  AND index.indisvalid AND index.indisready AND index.indislive
  AND NOT (index.indisprimary OR index.indisunique OR index.indisexclusion OR index.indisreplident OR index.indisclustered)
  AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = index.indexrelid)
  AND NOT EXISTS (SELECT 1 FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = index.indexrelid)
  AND NOT EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = index.indexrelid AND attstattarget >= 0)
  AND NOT EXISTS (
    SELECT 1 FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = index.indexrelid AND deptype IN ('e', 'x')
  )
ORDER BY class.relname
