-- Sets the search attributes of records that this transaction has written, in one of the tables that index them. What
-- the table says of versions is not asked: a start leaves 0 there, whatever the record's own
-- (1.30.8: common/persistence/sql/sqlplugin/mysql/visibility.go, `templateInsertCustomSearchAttributes`).
INSERT INTO {table} ({columns})
VALUES {rows}
ON DUPLICATE KEY UPDATE {assignments}
