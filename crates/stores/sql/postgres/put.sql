-- Inserts records, or replaces those of a lower version: the server's own rule
-- (1.30.8: common/persistence/sql/sqlplugin/postgresql/visibility.go).
INSERT INTO executions_visibility ({columns})
SELECT {columns}
FROM UNNEST(
  $1::bpchar[], $2::bpchar[], $3::bigint[], $4::timestamp[], $5::timestamp[], $6::varchar[], $7::varchar[], $8::integer[],
  $9::timestamp[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bytea[], $15::varchar[], $16::varchar[],
  $17::jsonb[], $18::varchar[], $19::varchar[], $20::varchar[], $21::varchar[]
) AS record (
  namespace_id, run_id, _version, start_time, execution_time, workflow_id, workflow_type_name, status,
  close_time, history_length, history_size_bytes, execution_duration, state_transition_count, memo, encoding, task_queue,
  search_attributes, parent_workflow_id, parent_run_id, root_workflow_id, root_run_id
)
ON CONFLICT (namespace_id, run_id) DO UPDATE SET {assignments}
WHERE executions_visibility._version < EXCLUDED._version
