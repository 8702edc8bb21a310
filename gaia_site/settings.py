"""Django settings, all derived from GAIA's own configuration (`common.config`); a clean checkout runs."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

from common import config as gaia_config
from common.errors import InvalidInput
from common.files import write_atomic
from gaia_site import navigation
from gaia_site.databases import database_settings

BASE_DIR = Path(__file__).resolve().parent.parent
GAIA = gaia_config.load()
GAIA_PROBLEMS = list(GAIA.problems)
_ROLE = os.environ.get("GAIA_ROLE")
_WITHOUT_PAGES = {"cli", "jobs", "node", "operation"}


def _secret_key() -> str:
    """The home's own key, made at the first start."""
    path = GAIA.home.ensure().data / "secret_key"
    if not path.exists():
        write_atomic(path, secrets.token_urlsafe(48))
    return path.read_text(encoding="utf-8").strip()


def _database() -> dict[str, Any]:
    try:
        return database_settings(GAIA["database.url"], GAIA.home)
    except InvalidInput as error:
        GAIA_PROBLEMS.append(gaia_config.Problem("database.url", error.what, error.fix))
        return database_settings("", GAIA.home)


SECRET_KEY = _secret_key()
DEBUG = GAIA["server.debug"]
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
CSRF_TRUSTED_ORIGINS: list[str] = []
if GAIA["server.public_url"]:
    from urllib.parse import urlsplit

    _public = urlsplit(GAIA["server.public_url"])
    ALLOWED_HOSTS.append(_public.hostname or "")
    CSRF_TRUSTED_ORIGINS.append(f"{_public.scheme}://{_public.netloc}")
    if _public.scheme == "https":
        SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
if GAIA["server.host"] not in {"0.0.0.0", "::", *ALLOWED_HOSTS}:  # noqa: S104  compared, not bound
    ALLOWED_HOSTS.append(GAIA["server.host"])

INSTALLED_APPS = [
    "gaia_site.apps.SiteConfig",
    "unfold",
    # who shows no pages does not load them: that makes every verb, operation and daemon start a third faster
    "django.contrib.admin.apps.SimpleAdminConfig" if _ROLE in _WITHOUT_PAGES else "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "channels",
    "django_q",
    "events.apps.EventsConfig",
    "policy.apps.PolicyConfig",
    "processes.apps.ProcessesConfig",
    "projects.apps.ProjectsConfig",
    "services.apps.ServicesConfig",
    "environments.apps.EnvironmentsConfig",
    "sessions.apps.SessionsConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "gaia_site.slashes.ApiSlashMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "policy.middleware.ActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "gaia_site.errors.ConsoleErrorMiddleware",
]

ROOT_URLCONF = "gaia_site.urls"
ASGI_APPLICATION = "gaia_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ]
        },
    }
]

DATABASES = {"default": _database()}
if _ROLE in {"node", "jobs"}:
    # loops that poll: a connection per turn would cost more than the turn
    DATABASES["default"]["CONN_MAX_AGE"] = None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "policy.User"
KNOX_TOKEN_MODEL = "policy.Token"  # noqa: S105  a model's name
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
# Cookies are not separated by port: two homes on one machine would log each other out.
SESSION_COOKIE_NAME = f"gaia_session_{GAIA['server.port']}"
CSRF_COOKIE_NAME = f"gaia_csrf_{GAIA['server.port']}"
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# unfold's Alpine evaluates expressions and both write inline styles; scripts without our nonce do not run.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = GAIA["server.time_zone"]
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = GAIA.home.run / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "policy.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["policy.permissions.ScopedAccess"],
    "DEFAULT_PAGINATION_CLASS": "gaia_site.pagination.PageNumberPagination",
    "PAGE_SIZE": 100,
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "gaia_site.errors.problem_details",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
REST_KNOX = {"TOKEN_TTL": timedelta(days=90), "TOKEN_PREFIX": "gaia_", "AUTH_HEADER_PREFIX": "Token"}
SPECTACULAR_SETTINGS = {
    "TITLE": "GAIA",
    "DESCRIPTION": "Environments, sessions, operations and events of one GAIA node.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["policy.permissions.ScopedAccess"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "BackupStateEnum": "environments.states.BackupState",
        "HealthVerdictEnum": "environments.states.Verdict",
        "ServiceStateEnum": "services.states.ServiceState",
        "ServiceKindEnum": "services.states.ServiceKind",
        "SessionStateEnum": "sessions.states.SessionState",
        "ProbeKindEnum": "services.states.ProbeKind",
        "EngineEnum": "environments.states.Engine",
        "McpSetEnum": "environments.states.McpSet",
        "NeedEnum": "environments.states.Need",
    },
}

# Short, idempotent jobs only. retry counts from delivery into the internal queue, so that queue stays as short
# as the number of workers, and retry stays well above timeout (measured: EXECUTION facts in docs/decisions.md).
Q_CLUSTER = {
    "name": "gaia",
    "orm": "default",
    "workers": GAIA["jobs.workers"],
    "queue_limit": GAIA["jobs.workers"],
    "timeout": 30,
    "retry": 120,
    "max_attempts": 5,
    "ack_failures": True,
    "catch_up": False,
    "poll": 1,
    # of each job apart, or what runs every few minutes would push out the last run of what runs once a month
    "save_limit": 50,
    "save_limit_per": "group",
    "label": "Jobs",
    "ALT_CLUSTERS": {},
}

# What `manage.py operate` can run: kind -> function(progress, **params) returning the result.
GAIA_OPERATIONS = {
    "environments.setup": "environments.operations.set_up",
    "environments.clean": "environments.operations.clean",
    "environment.reset": "environments.reset_operation.reset",
    "environment.backup": "environments.backup_operations.back_up",
    "environment.verify_backup": "environments.backup_operations.verify",
    "environment.restore_backup": "environments.backup_operations.restore",
    "environment.repair_database": "environments.backup_operations.repair_database",
    "environments.git": "environments.git_operations.act",
    "environments.sync": "environments.git_rounds.sync_all",
    "environments.clean_branches": "environments.git_rounds.clean_branches",
    "environments.https": "environments.actions.https.operate",
    "environments.move": "environments.actions.ports.operate",
    "environments.layer": "environments.actions.layer_change.operate",
    "doctor": "gaia_site.doctor.examination.operate",
}

# What else is looked at of environments, by rooms above theirs: function(environments) -> {id: findings}.
GAIA_HEALTH_CHECKS = ["sessions.health.check_sessions"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "filters": {"without_canaries": {"()": "gaia_site.log_filters.WithoutCanaries"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.server": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "django-q": {"filters": ["without_canaries"]},
    },
}

UNFOLD = navigation.UNFOLD
