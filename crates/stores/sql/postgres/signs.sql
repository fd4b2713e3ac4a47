-- All rows of a range in the order in which they lie in the table. COPY takes no parameters: the bounds are literals.
COPY (SELECT {columns} FROM executions_visibility WHERE {bounds}) TO STDOUT (FORMAT BINARY)
