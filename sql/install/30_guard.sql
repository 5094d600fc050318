-- guard: the trigger functions that orgscope.enable_org_scoping() puts on a table. Behaviour: src/guard/.
-- EXECUTE stays with PUBLIC: a table's owner needs it to create the triggers.

CREATE FUNCTION orgscope.fill() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_fill';
COMMENT ON FUNCTION orgscope.fill() IS 'trigger: fills a NULL organization from the context, on UPDATE from the row';

CREATE FUNCTION orgscope.guard() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_guard';
COMMENT ON FUNCTION orgscope.guard() IS
    'trigger: refuses a row of another organization or a move (OS002), and a row without a context (OS001)';

CREATE FUNCTION orgscope.last_word() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_last_word';
COMMENT ON FUNCTION orgscope.last_word() IS
    'trigger: the same after the row is written, and counts rows written outside row security';

CREATE FUNCTION orgscope.statement() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_statement';
COMMENT ON FUNCTION orgscope.statement() IS 'trigger: refuses a write without a context (OS001)';

CREATE FUNCTION orgscope.truncate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_truncate';
COMMENT ON FUNCTION orgscope.truncate() IS 'trigger: refuses TRUNCATE, which row security does not cover (OS002, OS001)';

CREATE FUNCTION orgscope.record() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'orgscope_record';
COMMENT ON FUNCTION orgscope.record() IS 'trigger: writes what was written outside row security to orgscope.audit_log';
