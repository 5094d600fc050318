"""Runs tests on the database as it is, as the application's role, under the organization in ORGANIZATION."""

import os
from unittest import TestSuite
from uuid import UUID

from django.test import TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner
from tenancy.context import organization


class Runner(DiscoverRunner):
    def setup_databases(self, **kwargs):
        """No database of its own: the scoped one is what is tested. Every test is rolled back."""
        return []

    def teardown_databases(self, old_config, **kwargs):
        pass

    def build_suite(self, *args, **kwargs):
        """Leaves out the tests that clean up by emptying all tables: TRUNCATE knows no organizations."""
        found = super().build_suite(*args, **kwargs)
        return TestSuite(test for test in found if isinstance(test, TestCase) or not isinstance(test, TransactionTestCase))

    def run_suite(self, suite, **kwargs):
        with organization(UUID(os.environ["ORGANIZATION"])):
            return super().run_suite(suite, **kwargs)
