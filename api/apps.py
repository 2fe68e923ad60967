"""The Django application of Goalpost."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class ApiConfig(AppConfig):
    name = "api"
    verbose_name = "Sites, keys and inbox"

    def ready(self) -> None:
        from api.digest import hooks  # noqa: PLC0415 - settings are complete only now
        from api.http import database  # noqa: PLC0415

        connection_created.connect(database.configure_django)
        hooks.load()
