"""Every setting, from the environment, with defaults that run on a laptop and errors that name the variable."""

import os
import re
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from environs import Env, validate
from kombu import Exchange, Queue
from psycopg.conninfo import make_conninfo

from api import logs
from api.runtime.sdk_hosts import hosts_of, sdk_domains_from, without_port
from api.runtime.secret_files import read_secret_key

PORTS = {"http": 80, "https": 443}
ADDRESSES = ("DATABASE_URL", "REDIS_URL")
URL = re.compile(r"[a-z]+://[!-~]+")
HOST_NAME = re.compile(r"[a-z0-9.-]+|\[[a-f0-9:.]+\]")

env = Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# Where the embedded servers keep their data and the first start keeps its secrets.
DATA_DIR = Path(env.str("GOALPOST_DATA_DIR", str(BASE_DIR / ".data"))).resolve()


def read_database() -> dict[str, Any]:
    """Return Django's settings for DATABASE_URL, `postgresql://user:password@host:port/name?option=value`.

    A unix socket's directory goes in `?host=/path`. Raises ImproperlyConfigured or EnvError without repeating the
    password.
    """
    default = "postgresql://postgres@localhost/goalpost"
    database: dict[str, Any] = env.dj_db_url("DATABASE_URL", default)
    # dj-database-url also takes other databases, a URL without a name, and any option.
    if database["ENGINE"] != "django.db.backends.postgresql" or not database["NAME"]:
        raise ImproperlyConfigured("DATABASE_URL must look like postgresql://user:password@host:5432/name")
    # Its OPTIONS are not used: a password of `0012` would become the number 12 in them.
    options = dict(parse_qsl(urlsplit(env.str("DATABASE_URL", default)).query))
    try:
        make_conninfo("", **options)
    except psycopg.ProgrammingError as error:
        raise ImproperlyConfigured("DATABASE_URL has an option that PostgreSQL's client does not know") from error
    return database | {
        "HOST": options.pop("host", database["HOST"]),
        # The hot paths have a pool of their own (api.http.database); the admin and the management API open and close.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            "connect_timeout": 5,
            # A network that swallows packets must not hold the one connection that stores events for minutes.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": 10_000,
            "application_name": "goalpost",  # and what the session is for (api.http.database)
            # The digest sends arrays of thousands in binary, twenty times faster than as literals in the statement.
            "server_side_binding": True,
            **options,
        },
    }


def mail_from_url(url: str, sender: str) -> dict[str, Any]:
    """Return Django's settings for the mail server at `smtp://user:password@host:port`.

    `smtp+tls` begins in clear and must go on with TLS (STARTTLS), `smtps` is TLS from the start. An empty URL means
    no mail server. Raises ImproperlyConfigured without repeating the password.
    """
    # By hand: dj-email-url takes `smtps` for STARTTLS, leaves its port empty, and accepts any other scheme.
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend", "EMAIL_HOST": ""}
    parts = urlsplit(url)
    ports = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
    if parts.scheme not in ports or not parts.hostname:
        raise ImproperlyConfigured("GOALPOST_EMAIL_URL must look like smtp+tls://user:password@host:587")
    try:
        port = parts.port or ports[parts.scheme]
    except ValueError as error:
        raise ImproperlyConfigured("GOALPOST_EMAIL_URL has a port that is not a number") from error
    try:
        validate_email(sender)
    except ValidationError as error:
        raise ImproperlyConfigured("GOALPOST_EMAIL_FROM must be the address that e-mails come from") from error
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 5,
        "DEFAULT_FROM_EMAIL": sender,
    }


def public_url_from(text: str) -> str:
    """Return the address at which people reach this installation, as `scheme://host[:port]`; empty if none is set.

    A browser's Origin header looks like this too: lower case, punycode, without the scheme's own port. Raises
    ImproperlyConfigured for anything else, also for a path: pages and API answer at the root of their host only.
    """
    form = "GOALPOST_PUBLIC_URL must look like https://goalpost.example.com, with its port if it has one"
    if not (text := text.strip()):
        return ""
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise ImproperlyConfigured(form) from error
    host = f"[{host}]" if ":" in host else host
    if (
        parts.scheme not in PORTS
        or not HOST_NAME.fullmatch(host)
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise ImproperlyConfigured(form)
    if parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"GOALPOST_PUBLIC_URL ends in a path ({parts.path[:50]}): Goalpost does not run under a path. "
            "Give it a host name, or a port, of its own"
        )
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, PORTS[parts.scheme]} else "")


def networks(text: str) -> list[IPv4Network | IPv6Network]:
    """Networks as `10.0.0.0/8`, comma-separated. Raises ImproperlyConfigured."""
    try:
        return [ip_network(each.strip()) for each in text.split(",") if each.strip()]
    except ValueError as error:
        raise ImproperlyConfigured(f"GOALPOST_WEBHOOK_NETWORKS: {error}") from error


def read_addresses(path: Path) -> dict[str, str]:
    """Return the addresses of the embedded servers from the file that `manage.py up` writes, if there is one.

    Raises ImproperlyConfigured for anything else in it.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ImproperlyConfigured(
            f"cannot read {path} ({error.strerror}): run this as the user who started Goalpost"
        ) from error
    pairs = [line.partition("=") for line in lines]
    if any(name not in ADDRESSES or not URL.fullmatch(value) for name, _, value in pairs):
        raise ImproperlyConfigured(
            f"{path} does not hold the addresses of the embedded servers: remove it; the next `make run` writes it"
        )
    return {name: value for name, _, value in pairs}


def redis_url_from(text: str) -> str:
    """Return the address of Redis or Valkey. Raises ImproperlyConfigured without repeating its password."""
    # By hand: env.url refuses host names with an underscore, such as those of containers.
    parts = urlsplit(text)
    try:
        is_readable = parts.port is None or parts.port > 0
    except ValueError:
        is_readable = False
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or not is_readable:
        raise ImproperlyConfigured("REDIS_URL must look like redis://:password@host:6379/0")
    if not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ImproperlyConfigured("REDIS_URL must end in the number of a database, as redis://host:6379/0")
    return text


def hosts_from(names: list[str]) -> list[str]:
    """Return host names as Django matches them. Raises ImproperlyConfigured for what never matches."""
    names = [each.strip().lower() for each in names if each.strip()]
    for each in names:
        if each != "*" and not HOST_NAME.fullmatch(each):
            raise ImproperlyConfigured(
                f"GOALPOST_ALLOWED_HOSTS: {each[:100]} is no host name; write names without scheme, port and path"
            )
    return names


# `manage.py up` writes the addresses of the embedded servers here, so that every other command finds them.
for name, value in read_addresses(DATA_DIR / "servers.env").items():
    os.environ.setdefault(name, value)

SECRET_KEY, SECRET_KEY_PLACE = read_secret_key(DATA_DIR, given=env.str("GOALPOST_SECRET_KEY", ""))
# The fingerprint of a key that may take the place of the one that the database knows (api.http.secret_key).
ACCEPT_KEY = env.str("GOALPOST_ACCEPT_KEY", "")
HOST = env.str("GOALPOST_HOST", "127.0.0.1")
PORT = env.int("GOALPOST_PORT", 8000, validate=validate.Range(1, 65535))
DATABASES = {"default": read_database()}
REDIS_URL = redis_url_from(env.str("REDIS_URL", "redis://127.0.0.1:6379/0"))

DEBUG = False
# Where people reach this installation from outside; trusted with forms, and written into alerts and the guide.
PUBLIC_URL = public_url_from(env.str("GOALPOST_PUBLIC_URL", ""))
PUBLIC_HOST = PUBLIC_URL.partition("://")[2]  # with its port
ALLOWED_HOSTS = hosts_from(env.list("GOALPOST_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"]))
ALLOWED_HOSTS += [without_port(PUBLIC_HOST)] if PUBLIC_HOST else []
# Domains of which Kameleoon's SDKs use the names data., api. and others. Events and remote data are served under any
# name; pages and the management API under api. of each.
SDK_DOMAINS = sdk_domains_from(env.list("GOALPOST_SDK_DOMAINS", []), PUBLIC_HOST)
ALLOWED_HOSTS += [name for name in hosts_of(SDK_DOMAINS) if name.startswith("api.") and name not in ALLOWED_HOSTS]
# A proxy may hide scheme and port from Django, so that only the public address itself equals a browser's Origin.
CSRF_TRUSTED_ORIGINS = [f"https://{host.lstrip('.')}" for host in ALLOWED_HOSTS if host != "*"]
CSRF_TRUSTED_ORIGINS += [PUBLIC_URL] if PUBLIC_URL else []
CSRF_FAILURE_VIEW = "api.http.error_pages.show_refused_form"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
# Off only where the admin is reached without TLS, as `make run` is.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("GOALPOST_SECURE_COOKIES", default=False)
SESSION_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
APPEND_SLASH = False  # a redirected POST arrives as a GET without a body, and its sender calls it delivered

INSTALLED_APPS = [
    "api",
    "goals",
    "cohorts",
    "django.contrib.admin.apps.SimpleAdminConfig",  # api.pages.tables registers what there is
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",  # its static files
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
# The hot paths and static files (api.asgi) are answered before any of these run.
MIDDLEWARE = [
    "api.http.middleware.replace_nul",
    "api.http.middleware.take_forwarded_host",
    "api.http.middleware.set_content_security_policy",
    "api.http.middleware.return_to_utc",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "api.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["api.http.passwords.Hasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "api.formats"
STATIC_URL = "/static/"
# Chart.js alone: the rest of its package, a theme of Django's admin, is not used.
STATICFILES_DIRS = [("chart", Path(str(files("unfold"))) / "static/unfold/js/chart")]
# The image and `manage.py up` collect the static files, under names that change with the content. Elsewhere they are
# served from where they lie.
STATIC_ROOT = env.str("GOALPOST_STATIC_ROOT", None)
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
STORAGES = {
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if STATIC_ROOT
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    }
}
LOGGING = logs.LOGGING
LOGGING_CONFIG = "api.logs.configure"

# The management API's throttle counts here; nothing else is kept in it.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_connect_timeout": 0.2, "socket_timeout": 0.2},
    }
}

LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
PASSWORD_RESET_TIMEOUT = 3600  # seconds

# The management API: JSON in, JSON out, a credential at every path but the reference page's.
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.rest.access.CallerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["api.rest.access.ScopePermission"],
    "DEFAULT_THROTTLE_CLASSES": ["api.rest.throttle.CredentialThrottle"],
    "DEFAULT_PARSER_CLASSES": ["api.rest.reading.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "api.rest.schema.ScopedSchema",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "api.rest.errors.answer_exception",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}
API_REQUESTS_PER_MINUTE = env.int("GOALPOST_API_REQUESTS_PER_MINUTE", 600, validate=validate.Range(min=1))
SPECTACULAR_SETTINGS = {
    "TITLE": "Goalpost",
    "VERSION": "1",
    "DESCRIPTION": "The management API. An owner of a site creates a management token under Settings. It opens its "
    "sites with the scopes that were chosen: `read`, `read:personal` for data of people, `write`, `admin`, and "
    "`ingest` to send events. Each operation names the one scope that it needs. A credential with the scope `manage`, "
    "or an access token of it, has all of them but `ingest`. "
    "Each path also answers with a slash at its end.",
    "PREPROCESSING_HOOKS": ["api.rest.schema.keep_one_spelling"],
    "PATH_CONVERTER_OVERRIDES": {"number": int, "anything": str},
    "ENUM_NAME_OVERRIDES": {
        "StateEnum": ["passed", "stopped", "waits", "odd", "skipped"],  # of a step of a trace
        "TraceStatusEnum": ["pending", "deferred", "done", "rejected", "failed"],  # of a message
        "TypeEnum": "api.rest.goal_shapes.TYPES",
        "CustomDataTypeEnum": ["UNIQUE", "LIST", "COUNT_LIST"],
        "ScopesEnum": ["send", "read", "manage"],  # of a credential
        "TokenScopesEnum": ["ingest", "read", "read:personal", "write", "admin"],
        "ExperimentStateEnum": ["draft", "running", "stopped", "decided", "archived"],
        "GoalRoleEnum": ["primary", "secondary", "guardrail"],  # in an experiment
        "RoleEnum": ["viewer", "editor", "owner"],  # of a member
    },
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False, "displayRequestDuration": True},
}

# The inbox: how much may wait before senders get 429, and how many events the digest takes at once.
INBOX_LIMIT = env.int("GOALPOST_INBOX_LIMIT", 1_000_000, validate=validate.Range(min=1))
SITE_INBOX_LIMIT = env.int("GOALPOST_SITE_INBOX_LIMIT", max(1, INBOX_LIMIT // 4), validate=validate.Range(min=1))
DIGEST_BATCH = env.int("GOALPOST_DIGEST_BATCH", 1_000, validate=validate.Range(min=1))
# Not from the environment; tests set less. What goes beyond is done step by step (api.digest.late_links).
MOST_REKEYED = 1_000  # conversions without a code of their own that links of a batch move: some 0.1 s
MOST_LINKED = 500  # users beside those of its events that a batch locks, as many as it has events
DIGEST_ATTEMPTS = env.int("GOALPOST_DIGEST_ATTEMPTS", 3, validate=validate.Range(min=1))
HOOKS = env.str("GOALPOST_HOOKS", "")  # a module with the operator's own code (api.digest.hooks)
KEEP_DONE_DAYS = env.int("GOALPOST_KEEP_DONE_DAYS", 30, validate=validate.Range(min=7))

# Alerts: the mail server, and the private networks that webhooks may lead into; owners of sites set their addresses.
globals().update(mail_from_url(env.str("GOALPOST_EMAIL_URL", ""), env.str("GOALPOST_EMAIL_FROM", "")))
WEBHOOK_NETWORKS = networks(env.str("GOALPOST_WEBHOOK_NETWORKS", ""))

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_BEAT_SCHEDULER = "api.tasks:MonotonicScheduler"
CELERY_TASK_DEFAULT_QUEUE = "goalpost"
# A worker takes from both in turns: under steady load the first is never empty, and who waits in it grows stale.
CELERY_TASK_QUEUES = [Queue(name, Exchange(name), routing_key=name) for name in ("goalpost", "goalpost-seldom")]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # the broker may be away for as long as it likes
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_keepalive": True}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
