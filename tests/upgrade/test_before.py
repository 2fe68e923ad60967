"""An upgrade from the previous version loses and doubles no event, and `manage.py verify` finds no difference."""

import json
import os
import secrets
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.runtime.installation import ROOT
from tests.upgrade.journey import FIXTURE

pytestmark = pytest.mark.xdist_group("upgrade")  # one worker, because all tests share one upgrade
SECONDS = 300.0


@pytest.fixture(scope="module")
def before() -> Any:
    """Return the snapshot of the older version."""
    return json.loads((FIXTURE / "seen.json").read_text())


@pytest.fixture(scope="module")
def journey() -> Any:
    """Run the upgrade in a new database and return its results."""
    url = os.environ["DATABASE_URL"]
    name = f"before_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            done = subprocess.run(
                [sys.executable, "-m", "tests.upgrade.journey"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "DATABASE_URL": urlsplit(url)._replace(path=f"/{name}").geturl(),
                    "DJANGO_SETTINGS_MODULE": "api.settings",
                },
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert done.returncode == 0, done.stderr[-5_000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "when",
    ["upgraded", "back and forth", "digested", "rekeyed", "retried", "rekeyed again", "erased", "removed"],
)
def test_verify__data_of_the_version_before__is_ok(journey: Any, when: str) -> None:
    assert journey["differences"][when] == []


@pytest.mark.parametrize("when", ["upgraded", "back and forth"])
def test_upgrade__goals__keep_their_conversions_and_tags(before: Any, journey: Any, when: str) -> None:
    assert journey[when]["goals"] == before["goals"]


@pytest.mark.parametrize("when", ["upgraded", "back and forth"])
def test_upgrade__members__stay(before: Any, journey: Any, when: str) -> None:
    assert journey[when]["members"] == before["members"]


def test_upgrade__management_tokens__end_with_those_who_left(journey: Any) -> None:
    assert journey["tokens"] == ["Made by olga"]  # the owners of the others were removed, deactivated or deleted


@pytest.mark.parametrize("when", ["upgraded", "back and forth"])
def test_upgrade__remote_data__stays_the_same_to_the_byte(before: Any, journey: Any, when: str) -> None:
    assert journey[when]["documents"] == before["documents"]


def test_upgrade__messages_that_waited__are_digested(journey: Any) -> None:
    left = {(status, reason) for status, reason, _ in journey["left"]}
    assert not {status for status, _ in left} & {"pending", "deferred"}


def test_upgrade__goals_known_before__are_still_there_after_the_digest(before: Any, journey: Any) -> None:
    now = {(site, name): count for site, name, _, _, count, *_ in journey["digested"]["goals"]}
    for site, name, _, _, count, *_ in before["goals"]:
        assert now[site, name] >= count


def test_upgrade__bodies_that_the_version_before_refused__count_once_tried_again(before: Any, journey: Any) -> None:
    known, tried = (
        {(site, name): count for site, name, _, _, count, *_ in goals}
        for goals in (before["goals"], journey["last"]["goals"])
    )
    marked, refused, spoilt = (("shop000001", f"SegmentIO track – {name}") for name in ("Marked", "Refused", "N1"))
    assert (known.get(marked), tried[marked]) == (None, 5)  # bodies with byte order marks at every endpoint
    assert (known[refused], tried[refused]) == (1, 3)  # `Track` in a batch and by itself
    assert (known.get(spoilt), tried[spoilt]) == (None, 1)  # in a batch with a NaN


def test_rekey__conversions_of_the_version_before__count_for_the_devices_of_their_users(journey: Any) -> None:
    before, after = journey["rekeyed"]["before"], journey["rekeyed"]["after"]
    moved = {
        (user, anonymous): (before[key][0], code)
        for key, (code, user, anonymous) in after.items()
        if before[key][0] != code
    }

    assert before.keys() == after.keys()
    assert moved["u-1", None] == ("u-1", "code-x1")  # a server's event of a user with a code in the browser
    assert moved["u-2", "m-2"] == ("code-m1", "code-m2")  # the second browser of a user, without the code
    assert moved["u-4", None] == ("u-4", "code-e1")  # a device that an alias links to a user
    assert moved["u-5", None] == ("u-5", "code-five")  # the user's former id, an e-mail
    assert moved["old-0", None] == (
        "old-0",
        "code-old-0",
    )  # pruned events, and a device that still has this user
    assert moved["old-1", None] == (
        "old-1",
        "code-old-1",
    )  # pruned events, and a device with a new user
    assert not any(str(before_).startswith("alone") for before_, _ in moved.values())


def test_rekey__again__changes_nothing(journey: Any) -> None:
    assert journey["again"]["before"] == journey["again"]["after"]


def test_erase__of_a_person_known_before__takes_no_conversion_from_a_goal(journey: Any) -> None:
    known, left = journey["last"], journey["erased"]
    assert [row[:5] for row in left["goals"]] == [row[:5] for row in known["goals"]]
    assert "shop000001 IDENTIFY_u-1" in known["documents"]
    assert "shop000001 IDENTIFY_u-1" not in left["documents"]
    assert '"u-1"' not in "".join(left["documents"].values())


def test_remove__of_what_came_before__takes_nothing_else_along(journey: Any) -> None:
    known, left = journey["erased"], journey["removed"]
    assert [row[:5] for row in left["goals"]] == [row[:5] for row in known["goals"] if row[0] != "late000001"]
    assert "vip" in known["documents"]["shop000001 common"]
    assert "vip" not in left["documents"]["shop000001 common"]
    assert not any(key.startswith("late000001") for key in left["documents"])
