CREATE TRIGGER crossfade_attribute_names BEFORE INSERT OR UPDATE ON executions_visibility
FOR EACH ROW EXECUTE FUNCTION crossfade_attribute_names()
