"""Why not? The page that explains why a person did or did not convert a goal."""

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse

import names
from api.insight.person_messages import SEARCHED_MESSAGES
from api.insight.person_rows import PersonRow, load_person_rows
from api.insight.why_not import why_not, why_waiting
from api.models import Site
from api.pages.access import show, site_page
from api.pages.query_form import read_id
from cohorts import search
from goals.models import SEARCH_KEYS, Goal, WaitingName
from goals.waiting import select_queue

MOST_GOALS = 20  # that match a part of a name
MOST_SUGGESTED = 10  # people or goals


@site_page()
def ask_why(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the form, and the answer if it names one person and one goal."""
    sought, text = request.GET.get("person", "").strip(), request.GET.get("goal", "")
    person, people = _find_people(site, sought) if sought else ("", [])
    goals = _find_goals(site, text) if text.strip() else []
    is_exact = len(goals) == 1 and text in {goals[0].name, goals[0].display_name, str(goals[0].pk)}
    names_waiting = _find_waiting(site, text) if text.strip() and not is_exact else []
    goal = goals[0] if len(goals) == 1 and not names_waiting else None
    name = names_waiting[0] if len(names_waiting) == 1 and not goals else None
    answer = None
    if goal is not None and person:
        answer = why_not(site, person, goal)
    elif name is not None and not people:
        answer = why_waiting(site, person, name)
    return show(
        request,
        "pages/why.html",
        title="Why not?",
        sought=sought,
        person=person,
        people=people,
        text=text,
        goals=goals,
        goal=goal,
        names_waiting=names_waiting,
        answer=answer,
        # The reasons before the facts that explain nothing.
        others=sorted(answer.sentences[1:], key=lambda sentence: not sentence.mood) if answer else [],
        look=SEARCHED_MESSAGES,
    )


@site_page()
def suggest(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Answer the options of the form's fields while a member types a person or a goal."""
    sought, text = request.GET.get("person", "").strip(), request.GET.get("goal", "").strip()
    keys = search.find_keys(site.pk, sought, exact_wins=False, limit=MOST_SUGGESTED) if sought else []
    goals = [*_find_goals(site, text), *_find_waiting(site, text)] if text else []
    return TemplateResponse(
        request,
        "pages/why_options.html",
        {"site": site, "people": load_person_rows(site, keys), "goals": goals[:MOST_SUGGESTED]},
    )


def _find_people(site: Site, text: str) -> tuple[str, list[PersonRow]]:
    """Return an identifier of the person that a text means, or those from whom to choose.

    An exact identifier is the person, and a text that finds no one is an identifier that no event named.
    """
    keys = search.find_keys(site.pk, text, limit=MOST_SUGGESTED)
    if not keys or any(value == text for _, value in keys):
        return text, []
    people = load_person_rows(site, keys)
    return (people[0].value, []) if len(people) == 1 else ("", people)


def _find_goals(site: Site, text: str) -> list[Goal]:
    """Return the goal with this id or name, otherwise goals with the text in their name."""
    live = Goal.objects.filter(site=site, deleted_at=None, counts_for=None)
    id_ = read_id(text)
    if id_ is not None:
        by_id = Goal.objects.filter(site=site, deleted_at=None, pk=id_).select_related("counts_for").first()
        if by_id is not None:
            return [by_id.counts_for or by_id]
    is_exact = ExpressionWrapper(Q(name=text) | Q(display_name=text), output_field=BooleanField())
    rows = names.search_folded(live, text, *SEARCH_KEYS).order_by(is_exact.desc(), "sort_key", "pk")
    goals = list(rows[:MOST_GOALS])
    return [goal for goal in goals if text in {goal.name, goal.display_name}] or goals


def _find_waiting(site: Site, text: str) -> list[WaitingName]:
    """Return the queued goal with this name or event name, otherwise queued goals with the text in their name."""
    is_exact = ExpressionWrapper(Q(name=text) | Q(event_name=text), output_field=BooleanField())
    rows = names.search(select_queue(site.pk), text, "name").order_by(is_exact.desc(), "arrival", "pk")
    waiting = list(rows[:MOST_GOALS])
    return [row for row in waiting if text in {row.name, row.event_name}] or waiting
