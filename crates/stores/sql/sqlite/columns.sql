-- The table's columns, generated ones among them; none when there is no such table.
SELECT name FROM PRAGMA_TABLE_XINFO('executions_visibility')
