-- Whether the key's own order is that of its bytes. A collation named 'default' is the database's; the provider is read
-- through JSON because servers before 15 have no such column.
SELECT COALESCE(
  BOOL_AND(
    CASE
      WHEN pg_collation.collname = 'default'
        THEN pg_database.datcollate IN ('C', 'POSIX')
          AND COALESCE(TO_JSONB(pg_database) ->> 'datlocprovider', 'c') = 'c'
      ELSE pg_collation.collprovider = 'c' AND pg_collation.collcollate IN ('C', 'POSIX')
    END
  ),
  FALSE
)
FROM pg_attribute
JOIN pg_collation ON pg_collation.oid = pg_attribute.attcollation
JOIN pg_database ON pg_database.datname = CURRENT_DATABASE()
WHERE attrelid = TO_REGCLASS('executions_visibility') AND attname IN ('namespace_id', 'run_id')
