"""Addresses, forms and rows of goal pages."""

import html
import re
from typing import Any

from django.http import HttpResponseBase

from goals import catalogue
from goals.models import Goal
from goals.naming import TEMPLATE
from tests.support.pages import Enter
from tests.world import SITECODE, World

BASE = f"/admin/s/{SITECODE}/goals/"
NAME = "SegmentIO track – Buy"
SHOWN = "track Buy"  # in lists


def page_of(goal: Goal, rest: str = "") -> str:
    return f"{BASE}{goal.pk}/{rest}"


def names_in(page: str) -> list[str]:
    """Return the names of the goals in a list."""
    return [html.unescape(name) for name in re.findall(r'aria-label="Select (.*?)"', page)]


def make(world: World, name: str, *tags: str) -> Goal:
    return catalogue.create_goal(Goal(site=world.site, name=name), tags=tags, template=TEMPLATE)


def edit(enter: Enter, goal: Goal, **changes: Any) -> HttpResponseBase:
    """Open the form of a goal as an editor, change fields and save it."""
    form = enter("editor").get(page_of(goal, "edit/")).context["form"]
    sent = {field.name: field.value() for field in form if field.value() not in (None, False)}
    return enter("editor").post(page_of(goal, "edit/"), {**sent, **changes})
