-- Takes records that are absent; all of them are refused if the primary key finds any. Generated columns are computed.
COPY executions_visibility ({columns}) FROM STDIN (FORMAT BINARY)
