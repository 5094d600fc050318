-- The first screen of README.md: its first code block is this file's output from "begin" to "end", word for word.
SET client_min_messages = warning;
DROP TABLE IF EXISTS patient;
DROP ROLE IF EXISTS clinic_app;
CREATE ROLE clinic_app;
RESET client_min_messages;

-- begin
-- Two organizations, and an ordinary table that knows nothing of them.
INSERT INTO orgscope.organization (id, name, slug) VALUES
  ('0190c3f5-0000-7000-8000-00000000000a', 'Maple Clinic', 'maple'),
  ('0190c3f5-0000-7000-8000-00000000000b', 'Oak Clinic', 'oak');
CREATE TABLE patient (id int PRIMARY KEY, name text NOT NULL);
GRANT SELECT, INSERT, UPDATE, DELETE ON patient TO clinic_app;

-- 1. Scope the table.
SELECT string_agg(DISTINCT kind, ', ') AS done FROM orgscope.enable_org_scoping('patient');

-- 2. Name the organization in each transaction. The new column organization_id fills itself.
SET ROLE clinic_app;
BEGIN;
SET LOCAL orgscope.current_org = '0190c3f5-0000-7000-8000-00000000000a';
INSERT INTO patient (id, name) VALUES (1, 'Ada'), (2, 'Grace');
COMMIT;

-- 3. Another organization sees its own rows, without a WHERE.
BEGIN;
SET LOCAL orgscope.current_org = '0190c3f5-0000-7000-8000-00000000000b';
INSERT INTO patient (id, name) VALUES (3, 'Alan');
SELECT * FROM patient;
COMMIT;

-- 4. It cannot write a row of the first one.
BEGIN;
SET LOCAL orgscope.current_org = '0190c3f5-0000-7000-8000-00000000000b';
INSERT INTO patient VALUES (4, 'Edsger', '0190c3f5-0000-7000-8000-00000000000a');
ROLLBACK;

-- 5. Without a context there is an error, never somebody's rows.
SELECT * FROM patient;

-- 6. Row security does not bind a superuser. What a superuser writes is on record.
RESET ROLE;
UPDATE patient SET name = upper(name);
SELECT action, role_name, operation, table_name, row_count, organization_id FROM orgscope.audit_log
  WHERE table_name = 'public.patient' AND action = 'bypass_write' ORDER BY organization_id;
-- end

DROP TABLE patient;
DROP ROLE clinic_app;
DELETE FROM orgscope.organization WHERE slug IN ('maple', 'oak');
