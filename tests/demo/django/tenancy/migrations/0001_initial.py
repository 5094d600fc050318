"""The host table with its one reader, and the e-mail address as a unique name of a user.

The e-mail is made unique the plain way. Scoping auth_user later turns this and the unique user name into
one user per organization; nothing here needs to know.
"""

from django.db import migrations, models

HOST_FUNCTION = """
CREATE FUNCTION public.tenancy_organization_of(host text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT d.organization_id FROM public.tenancy_domain d WHERE d.host = lower($1)';
REVOKE ALL ON FUNCTION public.tenancy_organization_of(text) FROM PUBLIC;
"""

# helpdesk's migrations load e-mail templates with fixed keys and leave the sequence behind them; an organization
# that brings its own templates would be the first to notice.
TEMPLATE_SEQUENCE = """
SELECT setval(pg_get_serial_sequence('helpdesk_emailtemplate', 'id'), max(id)) FROM helpdesk_emailtemplate
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("helpdesk", "0043_fix_on_delete_behaviour"),
    ]
    operations = [
        migrations.CreateModel(
            name="Domain",
            fields=[
                ("host", models.CharField(max_length=253, primary_key=True, serialize=False)),
                ("organization_id", models.UUIDField()),
            ],
        ),
        migrations.RunSQL(HOST_FUNCTION, "DROP FUNCTION public.tenancy_organization_of(text)"),
        migrations.RunSQL(
            "ALTER TABLE auth_user ADD CONSTRAINT auth_user_email_key UNIQUE (email)",
            "ALTER TABLE auth_user DROP CONSTRAINT auth_user_email_key",
        ),
        migrations.RunSQL(TEMPLATE_SEQUENCE, migrations.RunSQL.noop),
    ]
