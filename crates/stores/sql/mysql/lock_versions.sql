-- Which of some keys exist, and in which version; kept from changing until the transaction ends. Whoever writes a record
-- writes this table first, so that its lock is the record's.
SELECT ev.namespace_id, ev.run_id, {version}
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
WHERE (ev.namespace_id, ev.run_id) IN ({keys})
FOR UPDATE
