"""A plain django-helpdesk project. (1) to (3) mark what makes it multi-tenant; nothing else knows organizations."""

import os

SECRET_KEY = "for the demo only"
DEBUG = False
ALLOWED_HOSTS = [".example"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
SITE_ID = 1
LOGIN_URL = "helpdesk:login"
LOGIN_REDIRECT_URL = "helpdesk:home"
HELPDESK_ENABLE_ATTACHMENTS = False
HELPDESK_TEAMS_MODE_ENABLED = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}},
}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.sites",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.admin",
    "rest_framework",
    "helpdesk",
    "tenancy",  # (1) the host table, e-mail uniqueness, permissions per organization
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    # (2) Before the sessions. The host alone decides the organization, so django_session can be scoped like any
    # other table: a session cookie carried to another organization's host finds no session there. Were the
    # sessions left unscoped, a stolen cookie would still stop at auth_user, but one layer later.
    "tenancy.middleware.organization_middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "tenancy.backend",  # (3) PostgreSQL, told the organization in every transaction
        "NAME": os.environ.get("PGDATABASE", "helpdesk"),
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
        "USER": os.environ.get("HELPDESK_DB_USER", "helpdesk_app"),
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": None,  # connections are kept, and so pass from organization to organization
    }
}
