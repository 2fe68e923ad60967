"""`Idempotency-Key`: a repeated creation gets the first answer again and creates nothing."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.db.models import F
from django.http import HttpResponse
from django.test import override_settings
from django.utils import timezone

from api.erasure import erase
from api.ingest.provisioning import create_site
from api.models import Erasure, Source, StoredAnswer, WriteKey
from api.rest import idempotency
from goals.models import Goal
from tests.support.concurrency import in_threads
from tests.support.management_api import Caller, body, message, refusal
from tests.world import SITECODE, World

DOCUMENT: Final = yaml.safe_load((Path(__file__).parents[2] / "api/rest/openapi.yaml").read_text())


def create(who: Caller, path: str, content: Any, key: str = "key-1") -> HttpResponse:
    return who.ask("POST", path, content, **{"idempotency-key": key})


def test_creation__repeated__gets_the_first_answer_and_creates_nothing(world: World, owner: Caller) -> None:
    first = create(owner, "/api/goals", {"name": "Bought", "tags": ["a"]})
    assert owner.patch(f"/api/goals/{body(first)['id']}", {"name": "Sold"}).status_code == 200

    again = create(owner, "/api/goals/", {"tags": ["a"], "name": "Bought"})

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert [answer.get("Idempotency-Replayed") for answer in (first, again)] == [None, "true"]
    assert owner.names() == ["Sold"]


@pytest.mark.parametrize(
    ("path", "content"), [("/api/goals", {"name": "Sold"}), ("/api/sources", {"name": "Bought", "kind": "server"})]
)
def test_creation__with_the_key_of_another_request__is_409(
    world: World, owner: Caller, path: str, content: dict[str, Any]
) -> None:
    create(owner, "/api/goals", {"name": "Bought"})

    again = create(owner, path, content)

    assert refusal(again) == (409, "idempotency_key_reused")
    assert "Nothing was created" in message(again)
    assert owner.names() == ["Bought"]
    assert Source.objects.count() == 1


def test_creation__by_another_caller_or_in_another_site__has_keys_of_its_own(
    world: World, owner: Caller, teammate: Caller
) -> None:
    other = create_site(name="Third")
    teammate.credential.sites.add(other)

    mine = create(owner, "/api/goals", {"name": "Mine"})
    theirs = create(teammate, "/api/goals", {"name": "Theirs", "sitecode": SITECODE})
    elsewhere = create(teammate, "/api/goals", {"name": "Theirs", "sitecode": other.sitecode})

    assert [answer.status_code for answer in (mine, theirs, elsewhere)] == [201, 201, 201]
    assert len({body(answer)["id"] for answer in (mine, theirs, elsewhere)}) == 3


def test_creation__that_was_refused__leaves_its_key_free(world: World, owner: Caller) -> None:
    owner.post("/api/goals", {"name": "Bought"})

    assert refusal(create(owner, "/api/goals", {"name": "Bought"})) == (409, "name_taken")
    assert refusal(create(owner, "/api/goals", {"name": ""})) == (400, "invalid_request")
    assert create(owner, "/api/goals", {"name": "Sold"}).status_code == 201


def test_creation__by_many_at_once__happens_once(world: World, owner: Caller) -> None:
    answers = in_threads(6, lambda _: create(owner, "/api/sources", {"name": "App", "kind": "server"}))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert Source.objects.filter(name="App").count() == 1
    assert sorted(answer.get("Idempotency-Replayed", "") for answer in answers) == ["", *["true"] * 5]


def test_rotation__repeated__makes_one_key(world: World, owner: Caller) -> None:
    path = f"/api/sources/{world.site.sources.get().pk}/write-keys"

    first, again = (create(owner, path, {"overlapHours": 1}) for _ in range(2))

    assert again.content == first.content
    assert WriteKey.objects.count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_key__too_short_or_long__is_400(world: World, owner: Caller, key: str) -> None:
    answer = create(owner, "/api/goals", {"name": "Bought"}, key)

    assert refusal(answer) == (400, "invalid_request")
    assert "Idempotency-Key" in message(answer)
    assert owner.names() == []


def test_key__after_a_day__is_free(world: World, owner: Caller) -> None:
    create(owner, "/api/goals", {"name": "Bought"})
    create(owner, "/api/goals", {"name": "Sold"}, "key-2")
    StoredAnswer.objects.filter(answer__contains="Bought").update(created_at=F("created_at") - timedelta(hours=25))

    idempotency.prune(now=timezone.now())

    assert create(owner, "/api/goals", {"name": "Third"}).status_code == 201
    assert refusal(create(owner, "/api/goals", {"name": "Third"}, "key-2")) == (409, "idempotency_key_reused")


def test_key__after_a_change_of_the_secret_key__gets_no_wrong_secret(world: World, owner: Caller) -> None:
    create(owner, "/api/goals", {"name": "Bought"})

    with override_settings(SECRET_KEY="another one"):
        again = create(owner, "/api/goals", {"name": "Bought"})

    assert refusal(again) == (409, "idempotency_key_reused")


def test_secret__derived__depends_on_key_caller_and_salt() -> None:
    stored = StoredAnswer(caller="token-1", salt="a")
    secret = idempotency.derive_secret(stored, "key")

    assert len(secret) == 32
    assert secret == idempotency.derive_secret(StoredAnswer(caller="token-1", salt="a"), "key")
    others = [(stored, "other"), (StoredAnswer(caller="token-2", salt="a"), "key"), (StoredAnswer(salt="b"), "key")]
    assert secret not in {idempotency.derive_secret(*other) for other in others}


def test_answer__of_an_erased_person__has_a_pseudonym(world: World, owner: Caller) -> None:
    world.identify(userId="ada@example.com")
    first = create(owner, "/api/goals", {"name": "Bought", "description": "for ada@example.com"})

    erasure = erase.erase(world.site, "ada@example.com", by="test", now=timezone.now())
    assert erasure is not None
    while erase.step(erasure, now=timezone.now()):
        pass

    assert Erasure.objects.get().finished_at is not None
    stored = json.loads(StoredAnswer.objects.get().answer)
    assert "ada@example.com" not in stored["description"]
    assert stored["id"] == body(first)["id"]
    assert Goal.objects.get(pk=stored["id"]).description == stored["description"]


def test_document__of_every_creation__names_the_header() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            headers = [part["name"] for part in operation.get("parameters", ()) if part["in"] == "header"]
            is_creation = method == "post" and "201" in operation["responses"]
            assert ("Idempotency-Key" in headers) == is_creation, (method, path)
