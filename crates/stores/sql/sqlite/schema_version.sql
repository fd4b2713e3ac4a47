-- The schema's version as Temporal's schema tool recorded it; the server records none when it sets up a file itself.
-- The tool names the database as it was named to the tool, hence the latest of any name.
SELECT curr_version FROM schema_version WHERE version_partition = 0 ORDER BY creation_time DESC LIMIT 1
