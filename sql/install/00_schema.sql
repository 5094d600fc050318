COMMENT ON SCHEMA orgscope IS 'organizations kept apart by the database itself: context, scope, policy, guard, audit';
