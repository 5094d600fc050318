"""The application's own tenancy data. The models of Django and helpdesk stay as they are: they have no
organization field, since the database fills organization_id in and filters by it."""

from django.db import models


class Domain(models.Model):
    """A host name and the organization it belongs to. Read only through tenancy_organization_of(host)."""

    host = models.CharField(max_length=253, primary_key=True)
    organization_id = models.UUIDField()
