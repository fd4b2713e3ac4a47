-- The standby that is furthest behind, in seconds and in bytes of WAL. On a standby itself nothing is known of others, and
-- a role that may not see replication (pg_monitor can) sees none: then 0.
SELECT COALESCE(MAX(EXTRACT(EPOCH FROM replay_lag)), 0)::float8,
       COALESCE(MAX(PG_WAL_LSN_DIFF(sent_lsn, replay_lsn)), 0)::int8
FROM pg_stat_replication
WHERE state IN ('streaming', 'catchup')
