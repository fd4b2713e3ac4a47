-- The page after a record, in the order of lists: the rest of what closed and started when it did, and what comes after. In
-- two parts, since no condition on an index can go down by time and up by run id.
SELECT page.*
FROM (
  (
    SELECT {columns}
    FROM executions_visibility
    WHERE namespace_id = $1 AND COALESCE(close_time, '9999-12-31 23:59:59') = COALESCE($3::timestamp, '9999-12-31 23:59:59')
      AND start_time = $4 AND run_id > $5
    ORDER BY COALESCE(close_time, '9999-12-31 23:59:59') DESC, start_time DESC, run_id
    LIMIT $2
  )
  UNION ALL
  (
    SELECT {columns}
    FROM executions_visibility
    WHERE namespace_id = $1 AND (COALESCE(close_time, '9999-12-31 23:59:59'), start_time)
      < (COALESCE($3::timestamp, '9999-12-31 23:59:59'), $4)
    ORDER BY COALESCE(close_time, '9999-12-31 23:59:59') DESC, start_time DESC, run_id
    LIMIT $2
  )
) AS page
ORDER BY COALESCE(page.close_time, '9999-12-31 23:59:59') DESC, page.start_time DESC, page.run_id
LIMIT $2
