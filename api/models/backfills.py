"""Work on stored rows that a command does once after an upgrade."""

from django.db import models


class Backfill(models.Model):
    """Progress of `manage.py rekey`. A migration adds the row if there are rows to re-key."""

    class Stage(models.IntegerChoices):
        """The table whose rows it reads."""

        IDENTITIES = 0, "identities"
        CONVERSIONS = 1, "conversions"
        MESSAGES = 2, "events"
        DONE = 3, "done"

    stage = models.PositiveSmallIntegerField(choices=Stage.choices, default=Stage.IDENTITIES)
    position = models.BigIntegerField(default=0, help_text="The last id of that table that it read.")
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"rekey, {self.get_stage_display()} after {self.position:,}"
