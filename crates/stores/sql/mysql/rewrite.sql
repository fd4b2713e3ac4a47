-- Replaces records that this transaction has locked and compared.
INSERT INTO executions_visibility ({columns})
VALUES {rows}
ON DUPLICATE KEY UPDATE {assignments}
