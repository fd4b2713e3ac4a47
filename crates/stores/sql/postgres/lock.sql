-- The records of some keys, kept from changing until the transaction ends; locked in the order of their keys.
SELECT {columns}
FROM executions_visibility
WHERE (namespace_id, run_id) IN (SELECT * FROM UNNEST($1::bpchar[], $2::bpchar[]))
ORDER BY namespace_id, run_id
FOR UPDATE
