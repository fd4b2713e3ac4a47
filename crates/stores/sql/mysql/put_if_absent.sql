-- Inserts records that are absent, as the server does at a start; one that is there is left as it is and does not count.
INSERT INTO executions_visibility ({columns})
VALUES {rows}
ON DUPLICATE KEY UPDATE run_id = VALUES(run_id)
