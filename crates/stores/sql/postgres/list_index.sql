-- The index by which the server lists the records of a Namespace without a filter, if the table has it.
SELECT indexrelid
FROM pg_index
WHERE indrelid = TO_REGCLASS('executions_visibility') AND indisvalid AND indpred IS NULL
  AND PG_GET_INDEXDEF(indexrelid) LIKE '% USING btree (namespace_id, '
    'COALESCE(close_time, ''9999-12-31 23:59:59''::timestamp without time zone) DESC, start_time DESC, run_id)'
LIMIT 1
