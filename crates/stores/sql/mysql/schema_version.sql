-- The schema's version as Temporal's schema tool recorded it.
SELECT curr_version FROM schema_version WHERE version_partition = 0 AND db_name = DATABASE()
