-- As the server reads one record; there is none of these keys, so that what is read is what every look-up needs.
SELECT 1 FROM executions_visibility WHERE namespace_id = '' AND run_id = ''
