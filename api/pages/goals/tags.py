"""The tags of a site's goals: how many each has, renaming one, putting it into another."""

from typing import Final

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

import names
from api import audit
from api.http.wording import count_of
from api.models import Role, Site
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.goals.goal_list import TAG_LENGTH
from goals.catalogue import TagTakenError, clean_tag, merge_tags, rename_tag
from goals.models import Tag

MOST_SHOWN: Final = 200


@site_page()
def list_tags(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The tags, by name."""
    search = request.GET.get("q", "").strip()
    tags = names.search(Tag.objects.filter(site=site), search, "name").order_by("sort_key", "name")
    tags = tags.annotate(size=Count("goals", filter=Q(goals__deleted_at=None, goals__counts_for=None)))
    shown = list(tags[: MOST_SHOWN + 1])
    return show(
        request,
        "pages/goals/tags.html",
        title="Tags",
        tags=shown[:MOST_SHOWN],
        has_more=len(shown) > MOST_SHOWN,
        search=search,
    )


@site_page(Role.EDITOR)
@require_POST
def change_tag(request: HttpRequest, site: Site, tag_id: int) -> HttpResponseBase:
    """Give a tag another name; where another tag has it, ask first, then put the one into the other."""
    tag = get_object_or_404(Tag, pk=tag_id, site=site)
    name = clean_tag(request.POST.get("name", ""))
    if not 0 < len(name) <= TAG_LENGTH:
        messages.error(request, f"A tag has 1 to {TAG_LENGTH} characters.")
        return redirect("pages:tags", site.sitecode)
    if name == tag.name:
        return redirect("pages:tags", site.sitecode)
    try:
        return rename(request, site, tag, name)
    except Tag.DoesNotExist as error:  # somebody merged it at this moment
        raise Http404 from error


@site_page(Role.OWNER)
@require_POST
def remove_tag(request: HttpRequest, site: Site, tag_id: int) -> HttpResponseBase:
    """Take a tag from all goals and delete it."""
    tag = get_object_or_404(Tag, pk=tag_id, site=site)
    if not is_confirmed(request):
        size = tag.goals.filter(deleted_at=None, counts_for=None).count()
        again = "Events go on giving it to the goals that they make: choose another tag in the settings."
        return ask(
            request,
            title=f"Remove the tag “{tag.name}”",
            facts=[
                f"{count_of(size, 'goal')} {'has' if size == 1 else 'have'} it, and stay.",
                "It is taken from them.",
            ],
            warning=again if tag.name == site.auto_tag else "",
            action="Remove the tag",
            back=reverse("pages:tags", args=[site.sitecode]),
        )
    with transaction.atomic():
        audit.note(request, site, f"Removed the tag {tag.pk}", {"name": tag.name}, None)
        tag.delete()
    again = " Events go on giving it to the goals that they make: choose another tag in the settings."
    messages.success(request, f"{tag.name} is removed.{again if tag.name == site.auto_tag else ''}")
    return redirect("pages:tags", site.sitecode)


def rename(request: HttpRequest, site: Site, tag: Tag, name: str) -> HttpResponseBase:
    before = tag.name
    try:
        with transaction.atomic():
            rename_tag(tag, name)
            audit.note(request, site, f"Renamed the tag {tag.pk}", {"name": before}, {"name": name})
    except TagTakenError as taken:
        into = get_object_or_404(Tag, pk=taken.tag_id, site=site)
        if "merges" not in request.POST:
            sizes = [each.goals.filter(deleted_at=None, counts_for=None).count() for each in (tag, into)]
            return show(request, "pages/goals/merge_tags.html", title="Merge tags", tag=tag, into=into, sizes=sizes)
        with transaction.atomic():
            what = f"Put the tag {tag.pk} into the tag {into.pk}"
            audit.note(request, site, what, {"name": before}, {"name": name})
            merge_tags(tag, into)
    messages.success(request, f"{before} is {name} now.")
    return redirect("pages:tags", site.sitecode)
