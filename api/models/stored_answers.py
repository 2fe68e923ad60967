"""First answers to creations whose request had an `Idempotency-Key` (api.rest.idempotency)."""

from django.db import models

from api.models.sites import Site
from site_rows import SiteColumn, SiteRow


class StoredAnswer(SiteRow):
    """The first answer to a creation, kept for a day and given again to the same request. It holds no secret."""

    # None: the creation of a site.
    site = SiteColumn(Site, on_delete=models.CASCADE, null=True, db_index=False, related_name="+")
    caller = models.CharField(max_length=40)
    key_hash = models.CharField(max_length=64)
    request_hash = models.CharField(max_length=64)
    salt = models.CharField(max_length=32, help_text="A secret that is shown once is derived from it.")
    answer = models.TextField(help_text="JSON, without a secret.")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Of two concurrent requests with one key, the second waits here for the transaction of the first.
            models.UniqueConstraint(
                fields=["site", "caller", "key_hash"], name="api_storedanswer_key", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return f"answer to {self.caller} at {self.created_at}"
