"""Tables of segments: definitions, members, entries and exits, and work for the background.

Django finds them through `cohorts.models`.
"""

from typing import Final

from django.db import models

import names
from site_rows import SiteColumn, SiteForeignKey, SiteRow

NAME_LENGTH: Final = 255
DESCRIPTION_LENGTH: Final = 1_000


class Segment(SiteRow):
    """A named audience that conditions decide (cohorts.segments)."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=NAME_LENGTH)
    sort_key = names.sort_column("name")
    description = models.TextField(max_length=DESCRIPTION_LENGTH, blank=True)
    conditions = models.JSONField(help_text="Groups of conditions: in each, at least one must hold.")
    version = models.PositiveIntegerField(default=1, help_text="Members of an earlier version do not count.")
    is_filled = models.BooleanField(default=False, help_text="Everybody was evaluated under this version.")
    # A sweep evaluates everybody, in the order of the identifiers.
    sweep = models.BooleanField(default=True, help_text="A sweep is under way or has to begin.")
    sweep_after = models.BigIntegerField(
        null=True, help_text="Number of a transaction. Those before it may not know why the sweep has to begin."
    )
    swept_to = models.BigIntegerField(null=True, help_text="The identity that the sweep has reached.")
    swept = models.IntegerField(default=0, help_text="Identities that the sweep has passed.")
    to_sweep = models.IntegerField(default=0)
    counted_goals = models.JSONField(default=list, help_text="Its live goals and those merged into them, sorted.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Remote data has a segment under its name.
            models.UniqueConstraint(fields=["site", "name"], name="cohorts_segment_name"),
        ]
        indexes = [
            # The list of a site's segments.
            models.Index(fields=["site", "sort_key"], name="cohorts_segment_order"),
        ]

    def __str__(self) -> str:
        return self.name


class SegmentMember(SiteRow):
    """A person's membership of a segment, kept at the identity that all others of the person lead to.

    A person without a row is no member. One who is none has a row if time alone will turn that.
    """

    # No database constraints, see `Identity`.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    segment = SiteForeignKey(Segment, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    identity = SiteForeignKey(
        "cohorts.Identity", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    version = models.PositiveIntegerField(help_text="Of the segment.")
    is_member = models.BooleanField()
    since = models.DateTimeField(help_text="When it became so, by the clock of the digest.")
    until = models.DateTimeField(null=True, help_text="When time alone turns it.")

    class Meta:
        constraints = [
            # Remote data reads the memberships of a person; a person has one of a segment.
            models.UniqueConstraint(fields=["site", "identity", "segment"], name="cohorts_segmentmember_key"),
        ]
        indexes = [
            # The members of a segment, page by page.
            models.Index(fields=["site", "segment", "identity"], name="cohorts_segmentmember_list"),
            # The memberships that time has turned.
            models.Index(
                fields=["site", "until"], condition=models.Q(until__isnull=False), name="cohorts_segmentmember_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.identity_id} {'in' if self.is_member else 'not in'} {self.segment_id}"


class SegmentChange(SiteRow):
    """An entry into or an exit from a segment by what a person did, or by time. A change of the segment makes none."""

    # No database constraints, see `Identity`.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    segment = SiteForeignKey(Segment, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    identity = SiteForeignKey(
        "cohorts.Identity", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    at = models.DateTimeField()
    is_member = models.BooleanField()

    class Meta:
        indexes = [
            # The latest changes of a segment; what is older than the retention goes.
            models.Index(fields=["site", "segment", "at"], name="cohorts_segmentchange_latest"),
            # The changes of a person.
            models.Index(fields=["site", "identity", "at"], name="cohorts_segmentchange_of"),
        ]

    def __str__(self) -> str:
        return f"{self.identity_id} {'entered' if self.is_member else 'left'} {self.segment_id}"


class SegmentRecheck(SiteRow):
    """A person or a segment to evaluate again in the background, after facts changed without the person's lock.

    Rows are only added and taken away. A row that is there cannot stand for a change that is not committed yet.
    """

    # No database constraints, see `Identity`.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    identity = SiteForeignKey(
        "cohorts.Identity", on_delete=models.CASCADE, null=True, db_constraint=False, db_index=False, related_name="+"
    )
    segment = SiteForeignKey(
        Segment, on_delete=models.CASCADE, null=True, db_constraint=False, db_index=False, related_name="+"
    )

    class Meta:
        indexes = [
            # The oldest people of a site, also behind many notes of segments.
            models.Index(
                fields=["site", "id"], condition=models.Q(segment__isnull=True), name="cohorts_segmentrecheck_people"
            ),
            # The segments of a site, also behind many notes of people.
            models.Index(
                fields=["site", "segment"],
                condition=models.Q(identity__isnull=True),
                name="cohorts_segmentrecheck_segment",
            ),
        ]

    def __str__(self) -> str:
        return f"identity {self.identity_id}" if self.segment_id is None else f"segment {self.segment_id}"
