-- Which of some keys exist, and in which version.
SELECT ev.namespace_id, ev.run_id, {version}
FROM executions_visibility AS ev FORCE INDEX (PRIMARY)
WHERE (ev.namespace_id, ev.run_id) IN ({keys})
