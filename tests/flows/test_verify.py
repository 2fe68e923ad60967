"""`manage.py verify`: it names every row that was tampered with, and nothing that came to be by itself."""

import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F
from django.test import Client
from django.urls import reverse

from api.checks.base import Check
from api.checks.run import CHECKS, run_check
from api.digest.prune import prune_old
from api.events.reasons import codes_of
from api.models import Message
from goals import catalogue
from goals.models import Conversion, Goal
from tests.support.settings_pages import sent_form
from tests.support.verifying import execute, report_on, rows
from tests.world import SITECODE, World

TEMPLATE = "SegmentIO {type} – {name}"


@pytest.mark.promise("K-89")
def test_verify__of_what_came_to_be_by_itself__finds_nothing(town: World) -> None:
    output = StringIO()

    call_command("verify", stdout=output)

    assert [line.split()[0] for line in output.getvalue().splitlines()] == ["ok"] * 10
    assert "10 messages = 7 done + 1 deferred + 1 rejected + 1 failed + 0 pending" in output.getvalue()
    assert "4 conversions = 4 messages converted - 0" in output.getvalue()
    assert "2 conversions by a link, 1 unmatched" in output.getvalue()


# Damages of the tables, and the row that verify names for each, by the law that finds it.
TAMPERINGS = {
    "claims": {
        "INSERT INTO api_claim SELECT 77, '{1,2}', now() - interval '6 minutes', now(), 1": r"worker 77, 2 messages$",
    },
    "inbox": {
        "UPDATE api_message SET status = 'lost' WHERE message_id = 'died'": r"message \d+: lost, reason worker_died",
        "UPDATE api_message SET reason = 'missing_name' WHERE message_id = 'died'": "failed, reason missing_name",
        "UPDATE api_message SET site_id = 0 WHERE message_id = 'died'": "failed, reason worker_died",
        "UPDATE api_message SET effects = '{}' WHERE message_id = 'who'": "done, reason none, effects none",
        "UPDATE api_message SET effects = '{danced}' WHERE message_id = 'who'": "effects danced",
        "UPDATE api_message SET effects = '{nothing,linked}' WHERE message_id = 'who'": "effects nothing linked",
        "UPDATE api_message SET warnings = '{odd}' WHERE message_id = 'who'": "effects profile_updated linked",
        "UPDATE api_message SET goal_id = 1 WHERE message_id = 'who'": "effects profile_updated linked",
        "UPDATE api_message SET digested_at = NULL WHERE message_id = 'who'": "effects profile_updated linked",
        "UPDATE api_message SET status = 'pending' WHERE message_id = 'coded'": "pending, reason none, effects conv",
    },
    "queue": {
        "DELETE FROM goals_waitingname": r"message \d+$",
        "UPDATE goals_waitingname SET name = 'Other'": r"message \d+$",
    },
    "conversions": {
        "DELETE FROM goals_conversion WHERE message_key = 'track:linked'": r"message \d+ \(track:linked\), goal \d+$",
        "DELETE FROM goals_conversion WHERE message_key LIKE '#%'": r"message (\d+) \(#\1\), goal \d+$",
        "UPDATE goals_conversion SET goal_id = (SELECT max(id) FROM goals_goal) WHERE message_key = 'track:linked'": (
            r"conversion \d+ of message \d+ \(track:linked\), goal \d+$"
        ),
        "UPDATE goals_conversion SET message_key = 'track:x', occurred_at = now() WHERE message_key = 'track:linked'": (
            r"conversion \d+ \(track:x\)$"
        ),
        "UPDATE goals_conversion SET site_id = (SELECT max(id) FROM api_site) WHERE message_key = 'track:alone'": (
            r"conversion \d+ \(track:alone\)$"
        ),
        "UPDATE api_message SET effects = '{linked}', goal_id = NULL WHERE message_id = 'linked'": (
            r"conversion \d+ \(track:linked\), message \d+$"
        ),
    },
    "people": {
        "UPDATE goals_conversion SET visitor_code = 'x' WHERE message_key = 'track:linked'": r"\(track:linked\)$",
        "UPDATE goals_conversion SET keyed_by = 1 WHERE message_key = 'track:linked'": r"\(track:linked\)$",
        "UPDATE cohorts_identity SET registers = registers - 'device_visitor' WHERE kind = 1": r"identity \d+$",
        "INSERT INTO cohorts_link (site_id, kind, value, user_value) SELECT site_id, kind, value, parent_value "
        "FROM cohorts_identity WHERE kind = 3 AND parent_kind = 1": r"identity \d+$",
        "UPDATE goals_conversion SET visitor_code = 'x' WHERE message_key = 'track:alone'": r"\(track:alone\)$",
        "UPDATE cohorts_identity SET parent_value = 'x' WHERE kind = 2": r"identity \d+$",
        "UPDATE cohorts_identity SET parent_kind = NULL WHERE kind = 2": r"identity \d+$",
    },
    "recount": {
        "DELETE FROM cohorts_identity WHERE kind = 2": r"\(identify:who\): its visitor is missing",
        "DELETE FROM cohorts_group": r"\(group:group\): its group is missing",
        "DELETE FROM cohorts_persona": r"\(track:persona\): its persona is missing",
        "DELETE FROM cohorts_personafact": r"\(track:persona\)$",
        "UPDATE cohorts_personafact SET is_member = false": r"\(track:persona\)$",
        "UPDATE cohorts_group SET registers = '{}'": r"\(group:group\): traits.size of group \d+$",
        **{
            f"UPDATE cohorts_identity SET registers = {registers}": rf"{register} \d+$"
            for registers, register in {
                "registers - 'traits'": r"\(identify:who\): traits.plan of user",
                "jsonb_set(registers, '{traits,plan,0}', '1')": r"\(identify:who\): traits.plan of user",
                "jsonb_set(registers, '{traits,plan,3}', '1')": r"\(identify:who\): traits.plan of user",
                "jsonb_set(registers, '{traits,plan,3}', '\"zzz\"')": r"\(identify:who\): traits.plan of user",
                "registers - 'personas'": r"\(track:persona\): personas.big_spenders of user",
                "registers - 'group'": r"\(group:group\): group of user",
                "registers - 'user'": r"\(track:linked\): user of anonymous",
                "jsonb_set(registers, '{visitor,0}', '9000000000000000')": r"\(identify:who\): visitor of user",
            }.items()
        },
        **{
            f"UPDATE goals_conversion SET {column} = {value} WHERE message_key = 'track:coded'": rf"coded\): {column}$"
            for column, value in {
                "revenue": "9.4",
                "currency": "'EUR'",
                "value": "NULL",
                "properties": "'{}'",
                "occurred_at": "now()",
                "anonymous_id": "'x'",
                "visitor_code": "'x'",
            }.items()
        },
        "UPDATE api_message SET type = 'identify' WHERE message_id = 'alone'": r"\(identify:alone\): hits no goal$",
        "UPDATE api_messagebody SET body = '[' WHERE body LIKE '%\"alone\"%'": r"\(track:alone\): unreadable_body$",
        "UPDATE api_message SET effects = '{linked}', goal_id = NULL WHERE message_id = 'linked'": r"\(track:linked\)$",
    },
    "figures": {
        "DELETE FROM goals_goalvisitor": r"goal \d+: 1 visitors$",
        "UPDATE goals_goalvisitor SET conversions = conversions + 1": r"goal \d+: 1 visitors$",
        "UPDATE goals_goalvisitor SET visits = 0": r"goal \d+: 1 visitors$",
        "UPDATE goals_goalvisitor SET first_at = first_at - interval '1 second'": r"goal \d+: 1 visitors$",
        "UPDATE goals_goalvisitor SET last_at = now()": r"goal \d+: 1 visitors$",
        "UPDATE goals_goalvisitor SET revenue = '{}'": r"goal \d+: 1 visitors$",
        "UPDATE goals_goalvisitor SET visitor_code = 'x'": r"goal \d+: 2 visitors$",
        "DELETE FROM goals_goalday": r"goal \d+: the day \d{4}-\d\d-\d\d$",
        "UPDATE goals_goalday SET conversions = 9": r"goal \d+: the day 2",
        "UPDATE goals_goalday SET visits = 9": r"goal \d+: the day 2",
        'UPDATE goals_goalday SET revenue = \'{"USD": "9.4"}\'': r"goal \d+: the day 2",
        "DELETE FROM goals_goaltotal": r"goal \d+: its totals$",
        **{f"UPDATE goals_goaltotal SET {name} = 9": r"goal \d+: its totals$" for name in ("visits", "visitors")},
        'UPDATE goals_goaltotal SET revenue = \'{"EUR": "9.5"}\'': r"goal \d+: its totals$",
        "DELETE FROM goals_conversion": r"goal \d+: its totals$",
    },
    "exposures": {
        "INSERT INTO goals_exposure (site_id, visitor_code, is_user, experiment_id, variation_id, first_at, "
        f"linked_code) SELECT id, {who}, 5, 1, now(), {linked} FROM api_site WHERE sitecode = '{SITECODE}'": named
        for who, linked, named in (
            ("'v', false", "NULL", r"experiment 5 of site \d+$"),
            ("'v', false", "'x'", r"exposure \d+$"),
            ("'who', true", "'x'", r"exposure \d+$"),
        )
    },
    "segments": {
        "DELETE FROM cohorts_segmentmember": r"segment \d+, identity \d+$",
        "UPDATE cohorts_segmentmember SET is_member = false": r"segment \d+, identity \d+$",
        "UPDATE cohorts_segmentmember SET until = '2099-01-01'": r"segment \d+, identity \d+$",
        "UPDATE cohorts_identity SET registers = registers - 'personas'": r"segment \d+, identity \d+$",
    },
    "quota": {
        "DELETE FROM goals_goalcreation": "site 1q2w3e4r5t: 3 goals, 0 creations",
        "INSERT INTO goals_goalcreation (site_id, created_at) SELECT site_id, created_at FROM goals_goalcreation": (
            "site 1q2w3e4r5t: 6 goals instead of 3 in the 10 s from"
        ),
    },
}


@pytest.mark.promise("K-89")
@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_verify__after_tampering__names_the_row(town: World, check: Check) -> None:
    for tampering, named in TAMPERINGS[check.name].items():
        with transaction.atomic():
            assert rows(run_check(check, None)) == []
            execute(tampering)
            found = rows(run_check(check, None))
            transaction.set_rollback(True)
        assert any(re.search(named, row) for row in found), (tampering, found)


@pytest.mark.parametrize("reason", sorted(codes_of("failed")))
def test_verify__message_failed_for_any_reason__is_ok(town: World, reason: str) -> None:
    Message.objects.filter(status="failed").update(reason=reason)

    assert rows(report_on("inbox")) == []


def test_verify__with_differences__says_what_to_do_and_fails(town: World) -> None:
    town.post([town.event(event="Buy", messageId=f"many-{number}") for number in range(60)])
    town.digest()
    execute("DELETE FROM goals_conversion WHERE message_key LIKE 'track:many-%'")
    output = StringIO()

    with pytest.raises(CommandError, match=r"differences: conversions, figures$"):
        call_command("verify", stdout=output)

    lines = output.getvalue().splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")].count("FAIL") == 2
    assert "-> 60: A message converted and its goal exists, but its conversion" in output.getvalue()
    assert "UPDATE api_message SET status = 'pending'" in output.getvalue()
    assert sum("(track:many-" in line for line in lines) == 20
    assert lines.count(f"{'':22}and 40 more") == 1

    # Its advice repairs the rows.
    execute(
        "UPDATE api_message SET status = 'pending', reason = '', waiting_for = '', attempts = 0, digested_at = NULL "
        "WHERE message_id LIKE 'many-%'"
    )
    town.digest()
    call_command("recount", stdout=StringIO())
    call_command("verify", stdout=output)
    assert Conversion.objects.count() == 64


def test_verify__of_one_site__looks_at_no_other(town: World) -> None:
    output = StringIO()
    execute("DELETE FROM goals_conversion WHERE message_key = 'track:linked'")

    call_command("verify", site="bbbbbbbbbb", stdout=output)
    assert "0 messages = " in output.getvalue()
    with pytest.raises(CommandError, match="differences: conversions"):
        call_command("verify", site="1q2w3e4r5t", stdout=output)
    with pytest.raises(CommandError, match="there is no site nowhere"):
        call_command("verify", site="nowhere", stdout=output)


@pytest.mark.parametrize("is_purged", [False, True])
def test_verify__goal_deleted__counts_what_went_with_it(town: World, *, is_purged: bool) -> None:
    catalogue.delete_goal(Goal.objects.get(name="SegmentIO track – Buy"), now=datetime.now(UTC))
    while is_purged and catalogue.purge_deleted():
        pass
    town.change_site(goals_per_10_seconds=50)
    town.track("Buy")  # a goal of the same name, and another

    call_command("verify", stdout=StringIO())
    explained = (
        "3 conversions = 5 messages converted - 2 with" if is_purged else "5 conversions = 5 messages converted - 0"
    )
    assert report_on("conversions").line.startswith(explained)


def test_verify__converted_by_an_earlier_version__cannot_tell_what_was_lost(town: World) -> None:
    execute("UPDATE api_message SET goal_id = NULL")
    execute("DELETE FROM goals_conversion WHERE message_key = 'track:linked'")
    call_command("recount", stdout=StringIO())

    call_command("verify", stdout=StringIO())
    assert "4 messages converted - 0 with goals deleted since - 1 of an earlier" in report_on("conversions").line


def test_verify__goal_renamed_and_bound__is_what_people_may_do(town: World) -> None:
    goal = Goal.objects.get(name="SegmentIO track – Buy")
    goal.name = "Purchases"
    catalogue.change_goal(goal, template=TEMPLATE)
    catalogue.create_goal(Goal(site=town.site, name="SegmentIO track – Buy"), template=TEMPLATE)
    town.track("Buy")

    call_command("verify", stdout=StringIO())


def test_verify__old_messages_pruned_and_sent_again__are_explained(town: World) -> None:
    event = town.event(event="Buy", messageId="old", at=-40 * 86_400)
    town.send(event)
    month = timedelta(days=40)
    Message.objects.filter(message_id="old").update(
        digested_at=F("digested_at") - month, received_at=F("received_at") - month
    )
    assert prune_old(now=datetime.now(UTC), seconds=5) == 1
    call_command("verify", stdout=StringIO())
    assert report_on("conversions").line.endswith("+ 1 of messages pruned since + 0 of these sent again")

    assert town.post(event).status_code == 200
    call_command("verify", stdout=StringIO())
    town.digest()
    call_command("verify", stdout=StringIO())
    assert report_on("conversions").line.endswith("+ 0 of messages pruned since + 1 of these sent again")


def test_verify__settings_changed_by_sql__reports_until_the_page_changes_them(town: World) -> None:
    """Messages digested under earlier rules may contradict the present ones; past goals may exceed new limits."""
    person = Client()
    person.force_login(User.objects.create_superuser("admin"))
    save_page = reverse("pages:settings-save", args=[town.site.sitecode])
    town.change_site(default_currency="EUR", goals_per_10_seconds=1)
    assert rows(report_on("recount")) == [
        f"message {Message.objects.get(message_id='coded').pk} (track:coded): currency"
    ]
    assert rows(report_on("quota")) != []
    assert person.post(save_page, sent_form(person) | {"name": "Renamed"}).status_code == 302
    assert rows(report_on("recount")) != []

    changed = sent_form(person) | {"default_currency": "JPY", "goals_per_10_seconds": "2"}
    assert person.post(save_page, changed).status_code == 302

    call_command("verify", stdout=StringIO())
    assert (
        report_on("recount").line
        == "0 messages derived again, 0 of them under an earlier reading; 8 under earlier rules left out"
    )


def test_verify__settings_changed_on_their_page__judges_nothing_by_them_that_was_before(town: World) -> None:
    person = Client()
    person.force_login(User.objects.create_superuser("admin"))
    save_page = reverse("pages:settings-save", args=[town.site.sitecode])
    given = sent_form(person) | {"name": "Renamed", "keeps_done_days": "90", "goals_per_10_seconds": "1"}

    assert person.post(save_page, given).status_code == 302
    call_command("verify", stdout=StringIO())
    assert (
        report_on("recount").line
        == "8 messages derived again, 0 of them under an earlier reading; 0 under earlier rules left out"
    )

    assert person.post(save_page, given | {"default_currency": "JPY"}).status_code == 302
    call_command("verify", stdout=StringIO())
    assert (
        report_on("recount").line
        == "0 messages derived again, 0 of them under an earlier reading; 8 under earlier rules left out"
    )
