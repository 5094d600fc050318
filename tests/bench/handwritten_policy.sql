-- What a team writes without orgscope; {predicate} is the bare setting or the same in a sub-select.
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {table}
    USING (organization_id = {predicate})
    WITH CHECK (organization_id = {predicate});
