-- context: what sets it, what refuses, how it ends.
SET ROLE app;
SELECT orgscope.current_org();
SELECT orgscope.require_org();
\echo :SQLSTATE

-- It dies with the transaction.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.current_org(), orgscope.require_org();
COMMIT;
SELECT orgscope.current_org(), current_setting('orgscope.current_org') = '' AS empty;

-- set_config(…, false) lasts as long, whatever its third argument says.
BEGIN;
SELECT set_config('orgscope.current_org', '11111111-1111-7111-8111-111111111111', false);
SELECT orgscope.current_org();
COMMIT;
SELECT orgscope.current_org();

-- Plain SET is refused at once, clearing is not.
SET orgscope.current_org = '11111111-1111-7111-8111-111111111111';
\echo :SQLSTATE
SET orgscope.current_org = '';
RESET orgscope.current_org;
SELECT orgscope.set_current_org('11111111-1111-7111-8111-111111111111', false);
\echo :SQLSTATE

-- Bad text.
SET LOCAL orgscope.current_org = 'acme';
\echo :SQLSTATE
SET LOCAL orgscope.current_org = '00000000-0000-0000-0000-000000000000';
\echo :SQLSTATE
SET orgscope.current_org = 'acme';
\echo :SQLSTATE
SET orgscope.current_org = '00000000-0000-0000-0000-000000000000';
\echo :SQLSTATE
SET orgscope.no_such_setting = 'x';

-- Savepoints bring the earlier value back; clear_current_org() ends it.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SAVEPOINT s;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
SELECT orgscope.current_org();
ROLLBACK TO s;
SELECT orgscope.current_org();
SELECT orgscope.clear_current_org();
SELECT orgscope.current_org();
COMMIT;

-- One transaction, one organization: once used, it cannot change, only end.
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.require_org();
SAVEPOINT s;
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
\echo :SQLSTATE
ROLLBACK TO s;
SET LOCAL orgscope.current_org = '';
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.require_org();
COMMIT;

-- These are a superuser's to set.
SET orgscope.context_change = 'free';
SET orgscope.context_lifetime = 'session';
SET orgscope.require_context = 'off';
RESET ROLE;

SET orgscope.context_change = 'free';
BEGIN;
SET LOCAL orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.require_org();
SET LOCAL orgscope.current_org = '22222222-2222-7222-8222-222222222222';
SELECT orgscope.require_org();
COMMIT;
RESET orgscope.context_change;

-- lifetime session: a plain SET holds. Back to transaction: what is left over ends with that statement.
SET orgscope.context_lifetime = 'session';
SET orgscope.current_org = '11111111-1111-7111-8111-111111111111';
SELECT orgscope.current_org();
DISCARD ALL;
SELECT orgscope.current_org();
SET orgscope.context_lifetime = 'session';
SELECT orgscope.set_current_org('11111111-1111-7111-8111-111111111111', false);
SELECT orgscope.current_org();
SET orgscope.context_lifetime = 'transaction';
SELECT orgscope.current_org();
RESET orgscope.context_lifetime;

-- require_context writes and off: no error, and no organization either.
SET orgscope.require_context = 'writes';
SELECT orgscope.require_org() IS NULL AS none;
RESET orgscope.require_context;
