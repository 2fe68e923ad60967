"""Names of goals in templates: `{% load goal_names %}`. `goals.shown_names` decides what is shown."""

from typing import Any

from django import template

from api.models import Site
from goals.models import Goal
from goals.shown_names import ShownName, show_goal_name, show_name

register = template.Library()


@register.filter
def shown(goal: Goal | str, site: Site) -> ShownName:
    """Return the name of a goal, or a name that a goal would have, as pages show it."""
    if isinstance(goal, str):
        return show_name(goal, template=site.goal_name_template)
    return show_goal_name(goal, template=site.goal_name_template)


@register.inclusion_tag("pages/goals/name.html", takes_context=True)
def goal_name(context: dict[str, Any], goal: Goal | str) -> dict[str, Any]:
    """Write the name of a goal, its type as a small word before it. The title has the goal's own name."""
    own = goal if isinstance(goal, str) else goal.name
    return {"shown": shown(goal, context["site"]), "own": own}
