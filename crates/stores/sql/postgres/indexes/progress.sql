-- How far each session's index is.
SELECT
  pid,
  phase,
  CASE
    WHEN tuples_total > 0 THEN tuples_done * 100 / tuples_total
    WHEN blocks_total > 0 THEN blocks_done * 100 / blocks_total
    WHEN lockers_total > 0 THEN lockers_done * 100 / lockers_total
  END
FROM pg_stat_progress_create_index
WHERE pid = ANY($1)
