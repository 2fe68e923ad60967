"""What the processes of an installation tell each other about themselves."""

from django.db import models


class KeyFingerprint(models.Model):
    """The secret key under which this database's hashes, sessions and tokens were made (api.secret_key)."""

    id = models.SmallIntegerField(primary_key=True, default=1, editable=False)
    value = models.CharField(max_length=16)

    class Meta:
        constraints = [
            # There is one row: two processes that start at once must not record two keys.
            models.CheckConstraint(condition=models.Q(id=1), name="api_keyfingerprint_one"),
        ]

    def __str__(self) -> str:
        return self.value
