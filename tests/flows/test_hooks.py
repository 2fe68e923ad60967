"""An operator's hooks: their allowed changes, and no harm to others when they fail or hang."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

from api.digest import hooks
from api.erasure import erase
from api.models import Message
from cohorts.models import Identity
from tests.support.messages import body_of
from tests.world import World

MODULE = """
import time
from django.dispatch import receiver
from tests.support.messages import body_of
from api.digest.hooks import batch_digested, batch_failed

told = []

def transform(event):
    name = event.get("event", "")
    if name == "raise":
        raise RuntimeError("this one is odd")
    if name == "hang":
        time.sleep(60)
    if name == "nonsense":
        return "nonsense"
    if name == "drop":
        return None
    if name == "page":
        return {**event, "type": "page", "name": "From a track"}
    if name == "anonymous":
        del event["userId"]
    event["event"] = name.title()
    return event

@receiver(batch_digested)
def hear(sender, site_id, messages, **kwargs):
    told.append([(each.type, each.status, each.reason) for each in messages])
    raise ValueError("receivers may fail")

@receiver(batch_failed)
def hear_failure(sender, site_id, message_ids, error, **kwargs):
    told.append((len(message_ids), type(error).__name__))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "shop_hooks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hooks, "SECONDS", 1.0)
    with override_settings(HOOKS="shop_hooks"):
        hooks.load()
        module = importlib.import_module("shop_hooks")
        yield module
    hooks.batch_digested.disconnect(module.hear)
    hooks.batch_failed.disconnect(module.hear_failure)
    hooks._find_transform.cache_clear()
    del sys.modules["shop_hooks"]


@pytest.mark.promise("N-13")
def test_transform__that_takes_ids_away__does_not_bring_back_who_was_erased(world: World, module: Any) -> None:
    """The event names an erased user and a device that is not erased. The hook leaves only the device."""
    world.track("Buy")
    erase.erase(world.site, "user-1", by="owner", now=timezone.now())

    world.track("anonymous", anonymousId="device-1")

    assert world.last_message().reason == "suppressed"
    assert body_of(world.last_message()) == b""
    assert not Identity.objects.filter(site=world.site, value="device-1").exists()


@pytest.mark.promise("A-11", "A-12")
def test_transform__of_an_event__changes_what_it_means(world: World, module: Any) -> None:
    world.send(*(world.event("track", event=name) for name in ("signed up", "page", "drop")))

    assert world.goals() == {"SegmentIO page – From a track": 1, "SegmentIO track – Signed Up": 1}
    message = world.last_message()
    assert (message.status, message.effects, message.reason) == ("done", ["nothing"], "dropped_by_transform")


@pytest.mark.promise("A-14")
@pytest.mark.parametrize(
    ("name", "said"), [("raise", "this one is odd"), ("hang", "took more than"), ("nonsense", "must return")]
)
def test_transform__that_fails__leaves_its_message_dead_and_hurts_no_other(
    world: World, module: Any, name: str, said: str
) -> None:
    world.send(*(world.event("track", event=each) for each in ("before", name, "after")))

    assert world.goals() == {"SegmentIO track – After": 1, "SegmentIO track – Before": 1}
    message = Message.objects.get(status="failed")
    assert (message.reason, message.attempts) == ("transform_failed", 0)
    assert said in message.detail
    assert b"messageId" in body_of(message)


@pytest.mark.promise("A-07", "A-08", "A-09")
def test_signals__after_a_batch__tell_what_became_of_its_messages(
    world: World, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(world.event("track", event="one"), world.event("identify"))

    assert module.told == [[("track", "done", ""), ("identify", "done", "already_known")]]

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no goals today")

    module.told.clear()
    monkeypatch.setattr("api.digest.digest.recording.record", fail)
    world.send(world.event("track", event="two"))
    assert module.told[0] == (1, "RuntimeError")


@pytest.mark.parametrize(
    ("text", "why"), [("import nothing_of_that_name", "cannot be imported"), ("transform = 1", "no function")]
)
def test_hooks__that_cannot_be_loaded__keep_a_process_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    (tmp_path / "broken_hooks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    with override_settings(HOOKS="broken_hooks"), pytest.raises(ImproperlyConfigured, match=why):
        hooks.load()
    sys.modules.pop("broken_hooks", None)
