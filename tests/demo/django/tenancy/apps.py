"""Permissions per organization.

helpdesk makes a permission of every queue ("queue_access_support"), so two organizations with a queue of the same
name need auth_permission scoped. Django creates its own permissions after every migrate; that now happens once
in each organization, and the same function equips a new one.
"""

from django.apps import AppConfig, apps
from django.contrib.auth.management import create_permissions
from django.db.models.signals import post_migrate

from .context import organization


def create_all_permissions() -> None:
    """Django's permissions of every installed app, for the current organization."""
    for config in apps.get_app_configs():
        create_permissions(config, verbosity=0)


def create_permissions_everywhere(app_config: AppConfig, **kwargs) -> None:
    """After migrate: in each organization; plainly while there is none yet."""
    known = set(apps.get_model("tenancy", "Domain").objects.values_list("organization_id", flat=True))
    if not known:
        create_permissions(app_config, **kwargs)
    for organization_id in known:
        with organization(organization_id):
            create_permissions(app_config, **kwargs)


class TenancyConfig(AppConfig):
    name = "tenancy"

    def ready(self) -> None:
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
        post_migrate.connect(create_permissions_everywhere, dispatch_uid="tenancy.create_permissions")
