-- Gives the second organization a copy of every row of the first, with keys of its own: what two customers of one
-- application have in common is everything but the keys. Runs as a superuser under the second organization, with
-- session_replication_role = replica: the application's triggers are not what is tested, and rows come in any order.
-- $1 is the schema, $2 the first organization.
CREATE FUNCTION pg_temp.copy_rows(schema_name name, first uuid) RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
    target record;
    copied bigint;
    total  bigint := 0;
BEGIN
    CREATE TEMPORARY TABLE scoped ON COMMIT DROP AS
        SELECT s.target::oid AS oid, s.column_name FROM orgscope.scoped_tables s
        JOIN pg_class c ON c.oid = s.target WHERE s.schema_name = copy_rows.schema_name AND NOT c.relispartition;
    -- Columns that lead to a scoped table, or that a key of one leads to.
    CREATE TEMPORARY TABLE key_column ON COMMIT DROP AS
        SELECT DISTINCT k.conrelid AS oid, unnest(k.conkey) AS attnum
        FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM scoped)
        UNION
        SELECT DISTINCT k.confrelid, unnest(k.confkey)
        FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid IN (SELECT oid FROM scoped);
    -- And one column of each primary key that has none of these: not one that names shared data or a partition.
    INSERT INTO key_column
        SELECT DISTINCT ON (k.conrelid) k.conrelid, a.attnum
        FROM pg_constraint k
        JOIN scoped ON scoped.oid = k.conrelid
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
        LEFT JOIN pg_partitioned_table p ON p.partrelid = k.conrelid
        WHERE k.contype = 'p' AND a.attname <> scoped.column_name
          AND a.attnum <> ALL (COALESCE(p.partattrs::smallint[], '{}'))
          AND NOT EXISTS (SELECT FROM key_column c WHERE c.oid = k.conrelid AND c.attnum = ANY (k.conkey))
          AND NOT EXISTS (SELECT FROM pg_constraint f
                          WHERE f.contype = 'f' AND f.conrelid = k.conrelid AND a.attnum = ANY (f.conkey))
        ORDER BY k.conrelid, array_position(k.conkey, a.attnum);
    FOR target IN
        SELECT scoped.oid::regclass AS name, scoped.column_name,
               string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns,
               string_agg(CASE
                   WHEN a.attname = scoped.column_name THEN 'orgscope.current_org()'
                   WHEN NOT EXISTS (SELECT FROM key_column c WHERE c.oid = a.attrelid AND c.attnum = a.attnum)
                       THEN quote_ident(a.attname)
                   WHEN a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                       THEN format('%I + 10000', a.attname)
                   WHEN a.atttypid = 'uuid'::regtype
                       THEN format('overlay(%I::text PLACING ''b'' FROM 8)::uuid', a.attname)
                   ELSE format('reverse(%I)', a.attname)
               END, ', ' ORDER BY a.attnum) AS shifted
        FROM scoped JOIN pg_attribute a ON a.attrelid = scoped.oid
        WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        GROUP BY scoped.oid, scoped.column_name
    LOOP
        EXECUTE format('INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %3$s FROM %1$s WHERE %4$I = %5$L',
                       target.name, target.columns, target.shifted, target.column_name, first);
        GET DIAGNOSTICS copied = ROW_COUNT;
        total := total + copied;
    END LOOP;
    RETURN total;
END
$function$;
