"""What the admin calls this room."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "api"
    verbose_name = "Sites, keys and inbox"

    def ready(self) -> None:
        from api import hooks  # noqa: PLC0415 - settings are complete only now

        hooks.load()
