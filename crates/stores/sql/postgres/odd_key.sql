-- Whether any key is not a lower-case UUID: only then can the database's own order differ from that of the bytes.
SELECT EXISTS (
  SELECT 1
  FROM executions_visibility
  WHERE run_id::text !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
     OR namespace_id::text !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
)
