-- How many records the planner believes that there are; negative before the first ANALYZE.
SELECT reltuples::bigint FROM pg_class WHERE oid = TO_REGCLASS('executions_visibility')
