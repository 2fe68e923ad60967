"""`manage.py recount` counts the kept figures of goals again while everything runs."""

import threading
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from api.digest import run
from api.digest.claims import Claims
from api.models import Message
from goals import catalogue
from goals.models import Goal
from tests.goals.recount import assert_exact
from tests.support.concurrency import in_threads
from tests.support.verifying import execute, report_on, rows
from tests.world import World

TEMPLATE = "SegmentIO {type} – {name}"


def test_figures__changed_by_hand__are_counted_again(town: World) -> None:
    execute("UPDATE goals_goalvisitor SET conversions = 7")
    execute("DELETE FROM goals_goalday")
    execute("UPDATE goals_goaltotal SET visits = 63, revenue = '{}'")
    assert rows(report_on("figures")) != []
    output = StringIO()

    call_command("recount", site="1q2w3e4r5t", stdout=output)

    assert output.getvalue() == "3 goals recounted, 4 conversions\n"
    assert rows(report_on("figures")) == []
    assert_exact()


def test_recount__of_one_site__leaves_the_others_alone(town: World) -> None:
    execute("UPDATE goals_goaltotal SET visits = 63")

    call_command("recount", site="bbbbbbbbbb", stdout=StringIO())

    assert rows(report_on("figures")) != []
    with pytest.raises(CommandError, match="there is no site nowhere"):
        call_command("recount", site="nowhere", stdout=StringIO())


def test_recount__goals_without_conversions_and_deleted_ones__have_no_figures_after_it(town: World) -> None:
    catalogue.create_goal(Goal(site=town.site, name="Nothing yet"), template=TEMPLATE)
    buy = Goal.objects.get(name="SegmentIO track – Buy")
    catalogue.delete_goal(buy, now=datetime.now(UTC))
    execute(
        "INSERT INTO goals_goaltotal (site_id, goal_id, part, conversions, visits, visitors, revenue) "
        "SELECT site_id, id, 5, 1, 1, 1, '{}' FROM goals_goal WHERE name = 'Nothing yet'"
    )

    call_command("recount", stdout=StringIO())

    assert rows(report_on("figures")) == []
    assert_exact()


def test_recount__beside_digests_that_make_goals_and_links__keeps_the_figures_exact(
    world: World, settings: Any
) -> None:
    settings.DIGEST_BATCH = 5
    is_over = threading.Event()

    def work(number: int) -> None:
        claims = Claims()
        try:
            if number == 0:
                for turn in range(100):
                    device = f"anon-{turn % 7}"
                    world.post(
                        [
                            world.event(event=f"Buy {turn % 2}", userId=f"user-{turn % 5}", anonymousId=device),
                            world.event("identify", userId=f"user-{turn % 5}", kameleoonVisitorCode=f"vc-{turn % 5}"),
                            world.event("page", at=-turn, userId=None, anonymousId=device, name="Home"),
                        ]
                    )
            while number > 0 and not is_over.is_set():
                if number == 1:
                    call_command("recount", stdout=StringIO())
                else:
                    run.digest_all(claims, seconds=1)
        finally:
            if number == 0:
                is_over.set()
            claims.close()

    in_threads(4, work)
    world.digest()
    assert Message.objects.exclude(status="done").count() == 0
    assert_exact()
    call_command("verify", stdout=StringIO())
