-- Whether any key is not a lower-case UUID: only then can the table's own order differ from that of the bytes. The
-- collation makes the pattern tell case.
SELECT EXISTS (
  SELECT 1
  FROM executions_visibility
  WHERE CONVERT(run_id USING utf8mb4) COLLATE utf8mb4_bin
      NOT REGEXP '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
    OR CONVERT(namespace_id USING utf8mb4) COLLATE utf8mb4_bin
      NOT REGEXP '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
)
