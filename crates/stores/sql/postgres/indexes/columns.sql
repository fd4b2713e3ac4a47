-- Every column of the table, for a statement that names them.
SELECT STRING_AGG(QUOTE_IDENT(attname), ', ')
FROM pg_attribute
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
