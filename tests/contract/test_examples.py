"""The examples of rules and hooks on the guide's pages work as printed."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from django.test import override_settings

from api.digest import hooks
from api.pages.guide import read_code
from tests.support.management_api import Caller
from tests.support.messages import body_of
from tests.world import SITECODE, World


def put_rules(caller: Caller, name: str) -> None:
    response = caller.ask("PUT", f"/api/sites/{SITECODE}/rules", json.loads(read_code(name)))
    assert response.status_code == 200, response.content


@pytest.mark.promise("B-08", "B-09")
def test_rules__for_pages__make_track_events_with_a_prefix(world: World) -> None:
    put_rules(Caller.build(world.site), "page_to_track")

    world.send(world.event("page", name="Home"), world.event("track", event="Buy"))

    assert world.goals() == {"SegmentIO track – Buy": 1, "SegmentIO track – Page: Home": 1}


@pytest.mark.promise("A-05")
def test_rules__of_altis__take_the_group_from_its_lists(world: World) -> None:
    put_rules(Caller.build(world.site), "rule_group")

    world.identify(traits={"AudienceId": ["42"], "Country": ["NL"]}, userId="ann")

    assert world.read("IDENTIFY_ann")["groupId"] == "42"


def test_rules__of_the_last_example__do_what_the_page_says(world: World) -> None:
    put_rules(Caller.build(world.site), "rule_examples")

    world.send(
        world.event("track", event="Viewed order 1"),
        world.event("track", event="Viewed order 2"),
        world.event("track", event="Buy", context={"userAgent": "robot/1.0"}),
    )
    world.identify(traits={"email": "ann@example.com"})

    assert world.goals() == {"SegmentIO track – Viewed order {n}": 2}
    assert world.traits("user-1")["email"].startswith("sha256:")
    assert b"ann@example.com" not in body_of(world.last_message())


@pytest.mark.promise("A-12")
def test_hooks__of_the_example__change_and_drop(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop_hooks.py").write_text(read_code("hooks"))
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(HOOKS="shop_hooks"):
        hooks.load()
        try:
            world.send(
                world.event("track", event="shop_Buy", messageId="m1"),
                world.event("track", event="Test", properties={"is_test": True}),
            )
        finally:
            module = importlib.import_module("shop_hooks")
            hooks.batch_digested.disconnect(module.count)
            hooks.batch_failed.disconnect(module.complain)
            hooks._find_transform.cache_clear()
            del sys.modules["shop_hooks"]

    assert world.goals() == {"SegmentIO track – Buy": 1}
    assert "('m1', 'done'," in capsys.readouterr().out
