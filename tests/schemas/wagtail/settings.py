"""Wagtail's own test project on the database that orgscope guards. Nothing of Wagtail is changed."""

import os

from wagtail.test.settings import *  # noqa: F403  the published settings, but for these

DATABASES = {
    "default": {
        # The backend of the Django demo: PostgreSQL, told the organization in every transaction.
        "ENGINE": "tenancy.backend",
        "NAME": os.environ["PGDATABASE"],
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
    }
}
TEST_RUNNER = "runner.Runner"
SILENCED_SYSTEM_CHECKS = ["wagtailsearch.W001"]  # of its example pages
