"""Rights: every page and every action of a site, for every kind of user."""

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client

from api.ingest import provisioning
from api.models import Membership, Message, Role, Rule
from api.pages.urls import urlpatterns
from goals.models import Goal
from tests.pages.catalogue import ACTIONS, FORMS, OWNER, PAGES, Place
from tests.support.page_rights import MEMBERS, expected, outcome
from tests.support.pages import Enter


def call(client: Client, method: str, address: str, form: dict[str, str]) -> HttpResponseBase:
    """Send a request and roll its changes back."""
    with transaction.atomic():
        response = client.post(address, form) if method == "POST" else client.get(address)
        transaction.set_rollback(True)
    return response


def test_catalogue__names_every_page() -> None:
    assert {pattern.name for pattern in urlpatterns} == set(PAGES)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page__to_everybody__is_what_their_role_allows(place: Place, enter: Enter, name: str) -> None:
    page = PAGES[name]
    address = place.address(name)
    wrong = []
    for who in ("anonymous", "outsider", *MEMBERS, "superuser"):
        client = enter(who)
        for method, least in (("GET", page.look), ("POST", page.act)):
            if method == "POST" and least is None and page.look is not None:
                continue  # a page that only shows does not look at the method
            got = outcome(call(client, method, address, place.form(page.form)))
            if got not in expected(who, least):
                wrong.append((who, method, got))
    assert wrong == []


@pytest.mark.parametrize(("name", "form", "least"), FORMS)
def test_form__sent_by_everybody__does_what_their_role_allows(
    place: Place, enter: Enter, name: str, form: dict[str, str], least: Role
) -> None:
    for who in ("anonymous", "outsider", *MEMBERS, "superuser"):
        assert outcome(call(enter(who), "POST", place.address(name), form)) in expected(who, least), who


@pytest.mark.parametrize("name", ACTIONS)
def test_action__without_the_forms_token__is_refused(place: Place, enter: Enter, name: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = enter("owner").cookies
    before = Message.objects.count(), Goal.objects.count(), Rule.objects.count(), User.objects.count()
    assert client.post(place.address(name), place.form(PAGES[name].form)).status_code == 403
    assert before == (Message.objects.count(), Goal.objects.count(), Rule.objects.count(), User.objects.count())


def names_with_numbers() -> list[str]:
    return sorted(str(pattern.name) for pattern in urlpatterns if set(pattern.pattern.converters) - {"sitecode", "way"})


@pytest.mark.parametrize("name", names_with_numbers())
def test_page__of_anothers_thing_below_ones_own_site__is_absent(place: Place, name: str) -> None:
    mine = provisioning.create_site(name="Mine", sitecode="mine000000")
    user = User.objects.create(username="neighbour")
    Membership.objects.create(user=user, site=mine, role=OWNER)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    address = Place(mine.sitecode, place.numbers).address(name)
    page = PAGES[name]
    form = place.form(page.form)
    methods = [method for method, least in (("GET", page.look), ("POST", page.act)) if least]
    assert {method: outcome(call(client, method, address, form)) for method in methods} == dict.fromkeys(
        methods, "absent"
    )
