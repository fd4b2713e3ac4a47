-- Replaces a record that this transaction has compared.
INSERT INTO executions_visibility ({columns})
VALUES ({parameters})
ON CONFLICT (namespace_id, run_id) DO UPDATE SET {assignments}
