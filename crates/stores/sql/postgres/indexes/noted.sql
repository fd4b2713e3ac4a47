-- What is written down as set aside.
SELECT name, statement, tablespace FROM {parked} ORDER BY name
