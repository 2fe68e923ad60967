"""Rules of a test's site."""

from typing import Any

from api.http.credentials import clear_lookups
from api.models import Rule
from tests.world import World


def add_rule(world: World, action: str, argument: str = "", **fields: Any) -> Rule:
    position = Rule.objects.filter(site=world.site).count()
    rule = Rule.objects.create(site=world.site, action=action, argument=argument, position=position, **fields)
    clear_lookups()
    return rule
