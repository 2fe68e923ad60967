"""What people do with tags: rename one, or put it into another."""

from django.db import IntegrityError, connection, transaction

from goals.models import Tag


class TagTakenError(Exception):
    """The site has a tag of this name already."""

    def __init__(self, tag: Tag) -> None:
        super().__init__(f"tag {tag.pk} has this name already")
        self.tag = tag


def rename_tag(tag: Tag, name: str) -> None:
    """Give a tag another name. Raises TagTakenError: put it into that tag instead (`merge_tags`)."""
    before, tag.name = tag.name, name
    try:
        with transaction.atomic():
            tag.save(update_fields=["name"])
    except IntegrityError as error:
        tag.name = before
        raise TagTakenError(Tag.objects.get(site_id=tag.site_id, name=name)) from error


def merge_tags(tag: Tag, into: Tag) -> None:
    """Give the goals of one tag another one of their site in its place; the first is gone."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_goal_tags (goal_id, tag_id)
            SELECT goal_id, %(into)s FROM goals_goal_tags WHERE tag_id = %(tag)s
            ON CONFLICT (goal_id, tag_id) DO NOTHING
            """,
            {"tag": tag.pk, "into": into.pk},
        )
        tag.delete()
