"""Rows that the processes of an installation write about themselves and read about each other."""

from django.db import models


class KeyFingerprint(models.Model):
    """The fingerprint of the secret key behind this database's hashes, sessions and tokens (api.http.secret_key)."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    value = models.CharField(max_length=16)

    class Meta:
        constraints = [
            # One row, so that two processes that start at once cannot record two keys.
            models.CheckConstraint(condition=models.Q(id=1), name="api_keyfingerprint_one"),
        ]

    def __str__(self) -> str:
        return self.value


class Heartbeat(models.Model):
    """The last sign of life of worker or beat on a host (api.http.heartbeats)."""

    class Role(models.TextChoices):
        BEAT = "beat"
        WORKER = "worker"

    role = models.CharField(max_length=8, choices=Role.choices)
    host = models.CharField(max_length=255)
    process = models.IntegerField(help_text="The process id of the last writer on that host.")
    at = models.DateTimeField(help_text="By the database's clock, as all times of this row.")
    backend = models.IntegerField(
        help_text="The session of the last writer, which stays open while the process is frozen."
    )
    backend_started_at = models.DateTimeField()
    clock_ahead = models.FloatField(help_text="Seconds that the host's clock is ahead of the database's.")

    class Meta:
        constraints = [
            # The processes of a host share one row, because it does not matter which of them ran the last task.
            models.UniqueConstraint(fields=["role", "host"], name="api_heartbeat_host"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.process} on {self.host}"


class DatabaseClock(models.Model):
    """The time since which the database's clock has run steadily. Deletion by age waits for it."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    seen_at = models.DateTimeField(help_text="The newest heartbeat.")
    steady_since = models.DateTimeField(
        help_text="Since then, a heartbeat has come every minute, at the expected time."
    )
    jumped_at = models.DateTimeField(null=True)
    jumped_by = models.FloatField(default=0, help_text="Seconds.")

    class Meta:
        constraints = [
            # One row, because all processes watch the same clock.
            models.CheckConstraint(condition=models.Q(id=1), name="api_databaseclock_one"),
        ]

    def __str__(self) -> str:
        return f"steady since {self.steady_since}"
