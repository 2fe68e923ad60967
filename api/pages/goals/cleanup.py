"""What to tidy in a site's goals: names that mean the same, names that hold identifiers, goals that stopped (N-15)."""

from collections import defaultdict
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.models import Rule, Site
from api.pages.access import show, site_page
from api.pages.goals.goal_list import PER_PAGE
from api.rules.identifiers import suggest_pattern
from goals.models import Goal
from goals.queries import GoalFilter, filter_goals
from goals.similar_names import group_similar, split_name

MOST: Final = 50  # of each list
STALE: Final = timedelta(days=90)


@site_page()
def list_twins(request: HttpRequest, site: Site) -> HttpResponseBase:
    """What a person may want to merge, group or archive. It reads the name of every active goal: 0.2 s for 10,000."""
    since = timezone.now() - STALE
    active = Goal.objects.filter(site=site, deleted_at=None, counts_for=None, archived_at=None)
    goals = list(active.order_by("sort_key", "pk").values_list("pk", "name", "is_named_by_event"))
    patterns = patterns_in(site, goals)
    grouped = {id_ for ids in patterns.values() for id_ in ids}
    names = {id_: name for id_, name, _ in goals}
    alike = group_similar(
        ((id_, name) for id_, name in names.items() if id_ not in grouped), template=site.goal_name_template
    )
    unseen = filter_goals([site.pk], GoalFilter(is_archived=False, unseen_since=since)).filter(created_at__lt=since)
    stale = list(unseen.prefetch_related(None).order_by("pk")[: MOST + 1])
    return show(
        request,
        "pages/goals/twins.html",
        title="Tidy up",
        twins=[
            ([(id_, names[id_]) for id_ in ids[:PER_PAGE]], urlencode([("goal", id_) for id_ in ids[:PER_PAGE]]))
            for ids in alike[:MOST]
        ],
        more_twins=len(alike) > MOST,
        patterns=[(pattern, len(ids), ids[0]) for pattern, ids in list(patterns.items())[:MOST]],
        stale=stale[:MOST],
        more_stale=len(stale) > MOST,
        days=STALE.days,
    )


def patterns_in(site: Site, goals: list[tuple[int, str, bool]]) -> dict[str, list[int]]:
    """Patterns that several goals' events have in common, unless a rule groups them already; the largest first. At
    most one query.
    """
    found = defaultdict[str, list[int]](list)
    for id_, goal_name, is_named_by_event in goals:
        _, name = split_name(goal_name, template=site.goal_name_template)
        is_event = is_named_by_event and name != goal_name
        if is_event and (pattern := suggest_pattern(name)):
            found[pattern].append(id_)
    several = {pattern: ids for pattern, ids in found.items() if len(ids) > 1}
    if several:
        rules: Any = site.rules.filter(source=None, is_enabled=True, action=Rule.Action.PATTERN_GOAL)
        for pattern in rules.filter(argument__in=several).values_list("argument", flat=True):
            several.pop(pattern, None)
    return dict(sorted(several.items(), key=lambda each: (-len(each[1]), each[0])))
