//! What one transaction can show, inside the server. Each test begins as the superuser and turns into an application's
//! role before it asks: row security does not apply to superusers.
//!
//! Errors are looked at in tests/pg_regress: a `#[pg_test]` sees only the message.

#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    const ACME: &str = "11111111-1111-7111-8111-111111111111";
    const GLOBEX: &str = "22222222-2222-7222-8222-222222222222";

    fn text(sql: &str) -> Option<String> {
        Spi::connect(|client| client.select(sql, None, &[])?.first().get_one::<String>()).expect(sql)
    }

    fn run(sql: &str) {
        Spi::run(sql).expect(sql);
    }

    /// A scoped table with two rows of Acme and one of Globex, and the role that asks.
    fn two_organizations() {
        run("CREATE ROLE orgscope_test_app NOSUPERUSER NOBYPASSRLS");
        run(&format!(
            "INSERT INTO orgscope.organization (id, name, slug) VALUES ('{ACME}', 'Acme', 'acme'), ('{GLOBEX}', 'Globex', 'globex')"
        ));
        run("CREATE TABLE public.note (id int PRIMARY KEY)");
        run("GRANT ALL ON public.note TO orgscope_test_app");
        run("SELECT orgscope.enable_org_scoping('public.note')");
        run(&format!("INSERT INTO public.note VALUES (1, '{ACME}'), (2, '{ACME}'), (3, '{GLOBEX}')"));
        run("SET LOCAL ROLE orgscope_test_app");
    }

    fn become_member(org: &str) {
        run(&format!("SET LOCAL orgscope.current_org = '{org}'"));
    }

    const IDS: &str = "SELECT string_agg(id::text, ',' ORDER BY id) FROM public.note";

    #[pg_test]
    fn each_organization_sees_its_rows() {
        two_organizations();
        become_member(ACME);
        assert_eq!(text(IDS).as_deref(), Some("1,2"));
    }

    #[pg_test]
    fn the_other_organization_sees_the_rest() {
        two_organizations();
        become_member(GLOBEX);
        assert_eq!(text(IDS).as_deref(), Some("3"));
    }

    #[pg_test(error = "no organization context")]
    fn no_context_is_an_error() {
        two_organizations();
        text(IDS);
    }

    #[pg_test(error = "cannot change the organization within a transaction")]
    fn one_transaction_one_organization() {
        two_organizations();
        become_member(ACME);
        text(IDS);
        become_member(GLOBEX);
    }

    #[pg_test]
    fn a_value_kept_by_one_call_survives_the_next() {
        // The two calls return pointers; the second must not write over the first.
        let sql = format!(
            "SELECT concat_ws(',', orgscope.current_org(), set_config('orgscope.current_org', '{GLOBEX}', true), orgscope.current_org())"
        );
        become_member(ACME);
        assert_eq!(text(&sql), Some(format!("{ACME},{GLOBEX},{GLOBEX}")));
    }

    #[pg_test]
    fn a_scoped_table_needs_no_further_step() {
        two_organizations();
        run("RESET ROLE");
        let steps = "SELECT count(sql)::text FROM orgscope.plan_org_scoping('public.note')";
        assert_eq!(text(steps).as_deref(), Some("0"));
    }

    #[pg_test]
    fn ids_are_version_seven_and_grow() {
        let ordered = "SELECT bool_and(a < b AND substr(a::text, 15, 1) = '7')::text
                       FROM (SELECT id AS a, lead(id) OVER (ORDER BY n) AS b
                             FROM (SELECT n, orgscope.uuid_v7() AS id FROM generate_series(1, 1000) n) ids) pairs";
        assert_eq!(text(ordered).as_deref(), Some("true"));
    }
}
