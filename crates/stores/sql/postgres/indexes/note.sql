-- Writes down what is about to be dropped.
INSERT INTO {parked} (name, statement, tablespace)
SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[])
ON CONFLICT (name) DO UPDATE SET statement = EXCLUDED.statement, tablespace = EXCLUDED.tablespace
