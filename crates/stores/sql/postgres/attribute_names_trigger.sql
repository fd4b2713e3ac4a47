-- Whether the table has the trigger.
SELECT EXISTS (
  SELECT FROM pg_trigger
  WHERE tgrelid = TO_REGCLASS('executions_visibility') AND tgname = 'crossfade_attribute_names' AND NOT tgisinternal
)
