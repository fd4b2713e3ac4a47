-- Whether the tool's version table is there.
SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'
