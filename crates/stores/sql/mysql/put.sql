-- Replaces records of a lower version, by the server's own rule. The version is assigned last, since each assignment sees
-- those before it (1.30.8: common/persistence/sql/sqlplugin/mysql/visibility.go).
INSERT INTO executions_visibility ({columns})
VALUES {rows}
ON DUPLICATE KEY UPDATE {assignments_if_later}
