-- Inserts a record that is absent: all that is safe where no version is kept.
INSERT INTO executions_visibility ({columns})
VALUES ({parameters})
ON CONFLICT (namespace_id, run_id) DO NOTHING
