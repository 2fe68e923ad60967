"""Configuration that Kameleoon's SDKs read: the settings of a site, and the time of the last change of any section."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, models

from api.models.sites import Site
from site_rows import SiteColumn, SiteRow


class SdkConfiguration(SiteRow):
    """Settings of a site for SDKs. A site without a row has the defaults."""

    class OptOut(models.TextChoices):
        """Flags of visitors who refuse their consent."""

        PARTIALLY_BLOCK = "PARTIALLY_BLOCK", "the default variations"
        FULLY_BLOCK = "FULLY_BLOCK", "no flags at all"

    site = SiteColumn(Site, on_delete=models.CASCADE, db_index=False, related_name="+")
    has_real_time = models.BooleanField(
        "real-time updates", default=False, help_text="Each SDK keeps a connection open, and gets changes in a second."
    )
    requires_consent = models.BooleanField(
        "consent is required",
        default=False,
        help_text="SDKs send little until the page says that the visitor consents.",
    )
    opt_out = models.CharField("without consent", max_length=16, choices=OptOut.choices, default=OptOut.PARTIALLY_BLOCK)
    changed_at = models.DateTimeField(
        help_text="The last change of any section in whole seconds: the version of the file."
    )

    class Meta:
        constraints = [
            # The version of a site's file, for each request of an SDK.
            models.UniqueConstraint(fields=["site"], name="api_sdkconfiguration_site"),
        ]

    def __str__(self) -> str:
        return f"{self.site_id} at {self.changed_at}"


def note_configuration_changed(site_id: int, *, now: datetime) -> datetime:
    """Give the file for SDKs a new version in this transaction, and return it. One query.

    Call it first: a concurrent change of the same site waits for the row. A version is a later whole second, because
    SDKs get it as `Last-Modified` and send it back.
    """
    parameters: dict[str, Any] = {
        "site": site_id,
        "now": now.replace(microsecond=0),
        "second": timedelta(seconds=1),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO api_sdkconfiguration AS c (site_id, has_real_time, requires_consent, opt_out, changed_at)
            VALUES (%(site)s, false, false, 'PARTIALLY_BLOCK', %(now)s)
                ON CONFLICT (site_id) DO UPDATE SET changed_at = greatest(excluded.changed_at,
                                                                          c.changed_at + %(second)s)
             WHERE c.site_id = %(site)s
            RETURNING changed_at
            """,
            parameters,
        )
        changed_at: datetime = cursor.fetchone()[0]
        return changed_at
