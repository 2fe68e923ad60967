"""The tags of a site's goals: list, rename, merge, remove."""

from typing import Any, Final

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

import names
from api.http.wording import count_of
from api.models import Role, Site
from api.models.audit import write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.goals.goal_list import TAG_LENGTH
from api.pages.undo import CannotUndoError, say_with_kept, say_with_undo
from goals.bulk_changes import select_live_goals
from goals.catalogue import TagTakenError, add_tag, clean_tag, merge_tags, rename_tag
from goals.models import GoalTag, Tag

MOST_SHOWN: Final = 200
MOST_KEPT: Final = 1_000  # goals of a removed tag that Undo gives back
KIND: Final = "tag"  # of what Undo gives back


@site_page()
def list_tags(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List tags by name with the number of their goals."""
    search = request.GET.get("q", "").strip()
    tags = names.search(Tag.objects.filter(site=site), search, "name").order_by("sort_key", "name")
    tags = tags.annotate(size=Count("goals", filter=Q(goals__deleted_at=None, goals__counts_for=None)))
    rows = list(tags[: MOST_SHOWN + 1])
    return show(
        request,
        "pages/goals/tags.html",
        title="Tags",
        tags=rows[:MOST_SHOWN],
        has_more=len(rows) > MOST_SHOWN,
        search=search,
    )


@site_page(Role.EDITOR)
@require_POST
def change_tag(request: HttpRequest, site: Site, tag_id: int) -> HttpResponseBase:
    """Rename a tag; if another tag has the name, ask before merging the two."""
    tag = get_in_site(Tag, site, tag_id)
    name = clean_tag(request.POST.get("name", ""))
    if not 0 < len(name) <= TAG_LENGTH:
        messages.error(request, f"Enter a tag (1–{TAG_LENGTH} characters).")
        return redirect("pages:tags", site.sitecode)
    if name == tag.name:
        return redirect("pages:tags", site.sitecode)
    try:
        return rename(request, site, tag, name)
    except Tag.DoesNotExist as error:  # another request merged it meanwhile
        raise Http404 from error


@site_page(Role.OWNER)
@require_POST
def remove_tag(request: HttpRequest, site: Site, tag_id: int) -> HttpResponseBase:
    """Delete a tag after a confirmation; its goals stay."""
    tag = get_in_site(Tag, site, tag_id)
    if not is_confirmed(request):
        size = count_goals(tag)
        again = "New automatic goals will still get it: choose another tag in the settings."
        return ask(
            request,
            title=f"Remove the tag “{tag.name}”",
            facts=[
                f"{count_of(size, 'goal')} {'loses' if size == 1 else 'lose'} the tag. Nothing else changes.",
            ],
            warning=again if tag.name == site.auto_tag else "",
            action="Remove tag",
            back=reverse("pages:tags", args=[site.sitecode]),
        )
    goals = list(GoalTag.objects.filter(site=site, tag=tag).values_list("goal_id", flat=True)[: MOST_KEPT + 1])
    with transaction.atomic():
        write_audit(request.user, site, f"Removed the tag {tag.pk}", {"name": tag.name}, None)
        tag.delete()
    again = " New automatic goals will still get it: choose another tag in the settings."
    text = f"Tag {tag.name} removed.{again if tag.name == site.auto_tag else ''}"
    if len(goals) > MOST_KEPT:
        messages.success(request, text)
    else:
        say_with_kept(request, site, text, KIND, {"name": tag.name, "goals": goals})
    return redirect("pages:tags", site.sitecode)


def undo_removal(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Create a removed tag again, for the goals that had it. Raises CannotUndoError if the site has such a tag."""
    name = values["name"]
    with transaction.atomic():
        tag, is_new = Tag.objects.get_or_create(site=site, name=name)
        if not is_new:
            raise CannotUndoError(f"There is a tag {name} again.")
        add_tag(site.pk, [tag], select_live_goals(site.pk, values["goals"]).values_list("pk", flat=True))
        write_audit(request.user, site, f"Restored the tag {tag.pk}", None, {"name": name})
    messages.success(request, f"Tag {name} restored.")
    return redirect("pages:tags", site.sitecode)


def count_goals(tag: Tag) -> int:
    """Return how many goals of lists have a tag. One query."""
    rows = GoalTag.objects.filter(site_id=tag.site_id, tag=tag, goal__deleted_at=None, goal__counts_for=None)
    return rows.count()


def rename(request: HttpRequest, site: Site, tag: Tag, name: str) -> HttpResponseBase:
    before = tag.name
    try:
        with transaction.atomic():
            rename_tag(tag, name)
            write_audit(request.user, site, f"Renamed the tag {tag.pk}", {"name": before}, {"name": name})
    except TagTakenError as taken:
        into = get_in_site(Tag, site, taken.tag_id)
        if "merges" not in request.POST:
            sizes = [count_goals(row) for row in (tag, into)]
            return show(request, "pages/goals/merge_tags.html", title="Merge tags", tag=tag, into=into, sizes=sizes)
        with transaction.atomic():
            what = f"Merged the tag {tag.pk} into the tag {into.pk}"
            write_audit(request.user, site, what, {"name": before}, {"name": name})
            merge_tags(tag, into)
        messages.success(request, f"Tag {before} merged into {name}.")
    else:
        text = f"Tag {before} renamed to {name}."
        say_with_undo(request, text, page_of(site, "tag-change", tag.pk), [("do", "rename"), ("name", before)])
    return redirect("pages:tags", site.sitecode)
