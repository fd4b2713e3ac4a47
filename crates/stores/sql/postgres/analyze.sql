-- Tells the planner what the table holds. A target that fills up from nothing is planned for as if it were empty until
-- autovacuum comes by, by the server's own queries too: a look-up by key then takes any index, a hundred times slower.
ANALYZE executions_visibility
