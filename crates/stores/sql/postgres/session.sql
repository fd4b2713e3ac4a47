-- Settings of a session, in the order in which they are given.
SELECT SET_CONFIG(name, value, FALSE)
FROM UNNEST($1::text[], $2::text[]) AS setting (name, value)
