-- Made by Crossfade, before a row was written here. Executions that were started while Visibility was in a store without
-- search attributes keep theirs under the users' own names, and the server goes on writing them so. Here an attribute is
-- looked for in a field (Keyword01), so it is moved there, by the names that each Namespace has for the fields. A value
-- that was set since is in its field already, and stays. One that the field's column would refuse is left as it is: the
-- server's write must not fail.
-- To be dropped when the last execution from before has closed:
--   DROP TRIGGER crossfade_attribute_names ON executions_visibility; DROP FUNCTION crossfade_attribute_names();
CREATE OR REPLACE FUNCTION crossfade_attribute_names() RETURNS trigger LANGUAGE plpgsql AS $crossfade$
DECLARE
  fields CONSTANT jsonb := $names${names}$names$::jsonb -> NEW.namespace_id::text;
  name text;
  field text;
  value jsonb;
BEGIN
  IF fields IS NULL OR NEW.search_attributes IS NULL THEN
    RETURN NEW;
  END IF;
  FOR name, field IN SELECT * FROM jsonb_each_text(fields) LOOP
    value := NEW.search_attributes -> name;
    CONTINUE WHEN value IS NULL;
    IF NOT NEW.search_attributes ? field THEN
      BEGIN
        CASE rtrim(field, '0123456789')
          WHEN 'Bool' THEN PERFORM value::boolean;
          WHEN 'Datetime' THEN PERFORM (value #>> '{}')::timestamptz;
          WHEN 'Double' THEN PERFORM value::decimal::decimal(20, 5);
          WHEN 'Int' THEN PERFORM value::bigint;
          WHEN 'Keyword' THEN CONTINUE WHEN length(value #>> '{}') > 255;
          WHEN 'Text' THEN PERFORM (value #>> '{}')::tsvector;
          ELSE NULL;
        END CASE;
      EXCEPTION WHEN OTHERS THEN
        CONTINUE;
      END;
      NEW.search_attributes := NEW.search_attributes || jsonb_build_object(field, value);
    END IF;
    NEW.search_attributes := NEW.search_attributes - name;
  END LOOP;
  RETURN NEW;
END
$crossfade$
