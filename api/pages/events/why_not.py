"""Why not? A person, a goal, and in sentences why there is or is not a conversion."""

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponseBase

import names
from api.insight.person_messages import LOOK
from api.insight.why_not import why_not, why_waiting
from api.models import Site
from api.pages.access import show, site_page
from api.pages.events.event_list import read_number
from goals.models import Goal, WaitingName
from goals.waiting import select_queue

MOST_GOALS = 20  # that a part of a name is looked up in


@site_page()
def ask_why(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The form; the answer, where it names one person and one goal."""
    person = request.GET.get("person", "").strip().replace("\0", "\ufffd")
    wanted = request.GET.get("goal", "").replace("\0", "\ufffd")
    goals = _find_goals(site, wanted) if wanted.strip() else []
    is_exact = len(goals) == 1 and wanted in {goals[0].name, str(goals[0].pk)}
    names_waiting = _find_waiting(site, wanted) if wanted.strip() and not is_exact else []
    goal = goals[0] if len(goals) == 1 and not names_waiting else None
    name = names_waiting[0] if len(names_waiting) == 1 and not goals else None
    answer = None
    if goal is not None and person:
        answer = why_not(site, person, goal)
    elif name is not None:
        answer = why_waiting(site, person, name)
    return show(
        request,
        "pages/why.html",
        title="Why not?",
        person=person,
        wanted=wanted,
        goals=goals,
        goal=goal,
        names_waiting=names_waiting,
        answer=answer,
        look=LOOK,
    )


def _find_goals(site: Site, wanted: str) -> list[Goal]:
    """The goal of that number or that name, else some that have it in their name."""
    live = Goal.objects.filter(site=site, deleted_at=None, counts_for=None)
    number = read_number(wanted)
    if number is not None:
        numbered = Goal.objects.filter(site=site, deleted_at=None).select_related("counts_for")
        by_number = numbered.filter(pk=number).first()
        if by_number is not None:
            return [by_number.counts_for or by_number]
    is_exact = ExpressionWrapper(Q(name=wanted), output_field=BooleanField())
    rows = names.search_folded(live, wanted, "search_key").order_by(is_exact.desc(), "sort_key", "pk")
    found = list(rows[:MOST_GOALS])
    return [each for each in found if each.name == wanted] or found


def _find_waiting(site: Site, wanted: str) -> list[WaitingName]:
    """Return the name of a goal or an event that waits for the limit of new goals, else some that have its words."""
    is_exact = ExpressionWrapper(Q(name=wanted) | Q(event_name=wanted), output_field=BooleanField())
    rows = names.search(select_queue(site.pk), wanted, "name").order_by(is_exact.desc(), "arrival", "pk")
    found = list(rows[:MOST_GOALS])
    return [each for each in found if wanted in {each.name, each.event_name}] or found
