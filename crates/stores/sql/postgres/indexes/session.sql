-- Settings of a session that reads definitions and builds: whatever the role's own are, a definition reads the same and
-- means the same, files go where they were, and nothing but our own bounds ends a build.
SELECT
  SET_CONFIG('search_path', '', FALSE),
  SET_CONFIG('default_tablespace', '', FALSE),
  SET_CONFIG('statement_timeout', '0', FALSE),
  SET_CONFIG('lock_timeout', '0', FALSE),
  SET_CONFIG(
    'maintenance_work_mem',
    GREATEST(256 * 1024, PG_SIZE_BYTES(CURRENT_SETTING('maintenance_work_mem')) / 1024)::text || 'kB',
    FALSE
  )
