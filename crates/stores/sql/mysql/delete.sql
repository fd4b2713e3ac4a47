-- Deletes rows of one table by their keys, once their record is locked.
DELETE FROM {table} WHERE (namespace_id, run_id) IN ({keys})
