"""What the admin calls this room."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "api"
    verbose_name = "Sites, keys and inbox"
