"""Forms of the catalogue of pages, filled for a test's site."""

from typing import Any

from django.contrib.auth.models import User

from api.http.tokens import make_token
from api.models import Membership, Rule, Source
from tests.pages.catalogue import Place
from tests.world import World, owner_of


def prepare(world: World, place: Place) -> None:
    """Make the rows that the catalogue's forms name, in states that the forms can change."""
    source = Source.objects.get(pk=place.numbers["source_id"])
    User.objects.create(username="eve")
    bob = User.objects.create(username="bob")
    token, _ = make_token([world.site], description="Old", role="viewer", made_by=owner_of(world.site), expires_at=None)
    Rule.objects.create(site=world.site, position=-1, action="no_goal", name_test="equals", name_value="First")
    place.numbers.update(
        credential_id=world.credential.pk,
        token_id=token.pk,
        key=source.write_keys.get().key,
        member_id=Membership.objects.create(user=bob, site=world.site, role="viewer").pk,
    )


def filled(given: Any, numbers: dict[str, Any]) -> Any:
    """Return a form with the numbers that it names."""
    if isinstance(given, dict):
        return {name: filled(value, numbers) for name, value in given.items()}
    if isinstance(given, list):
        return [filled(value, numbers) for value in given]
    return given.format(**numbers) if given.endswith("_id}") or given == "{key}" else given
