-- How many records each cell has, and the sum of a hash of each record, exactly. The run id goes in as the seed, so that
-- values which two records have exchanged change the sum.
SELECT namespace_id, {cell} AS cell, COUNT(*), COALESCE(SUM(HASH_RECORD_EXTENDED(ROW({content}), HASHBPCHAREXTENDED(run_id, 1))), 0)::text
FROM executions_visibility
{bounds}
GROUP BY 1, 2
