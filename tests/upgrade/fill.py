"""Command that makes the rows of `tests/fixtures/before` by an older checkout: `python -m tests.upgrade.fill CHECKOUT`.

CHECKOUT is a work tree of the version that an upgrade starts from, with its own `.venv` or a link to one. Its
`manage.py up` runs in a temporary directory on loopback. This module imports no code of it and fills it through its
endpoints, pages and commands. Only the age of messages is changed by SQL, so that they are pruned.

It takes seven minutes, five of them waiting, because `verify` leaves out messages that were digested until five
minutes after a change of a site's rules.
"""

import argparse
import base64
import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg

from tests.upgrade import rows, scenarios
from tests.upgrade.old_version import FIRST_SITECODE, PASSWORD, Api, OldVersion, count, wait_for_digest, wait_until
from tests.upgrade.senders import START, Sender
from tests.upgrade.snapshot import CLIENT_ID, CLIENT_SECRET, take_snapshot
from tests.upgrade.web_user import Changes, WebUser

HERE: Final = Path(__file__).resolve().parent
FIXTURE: Final = HERE.parent / "fixtures" / "before"
SHOP, RULED, BLOG, EMPTY, LATE = FIRST_SITECODE, "ruled00001", "blog000001", "empty00001", "late000001"
SETTLED: Final = 310.0
HOOKS: Final = """
import os

def transform(event):
    if event.get("event") == "Kills its worker":
        os._exit(7)
    return event
"""


def goals_of(connection: psycopg.Connection[Any], sitecode: str) -> dict[str, int]:
    """Return the ids of a site's goals by name."""
    return dict(
        connection.execute(
            "SELECT g.name, g.id FROM goals_goal g JOIN api_site s ON s.id = g.site_id"
            " WHERE s.sitecode = %s AND g.deleted_at IS NULL",
            [sitecode],
        ).fetchall()
    )


def make_people(operator: WebUser, base: str) -> Mapping[str, WebUser]:
    people = {}
    for name in ("olga", "eddie", "vera", "leaver", "sleeper", "ghost"):
        operator.send(
            "/admin/auth/user/add/",
            {"username": name, "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"},
        )
        people[name] = WebUser(base, name, PASSWORD)
    return people


def make_sites(operator: WebUser) -> None:
    for sitecode, name in ((RULED, "Ruled"), (BLOG, "Blog"), (EMPTY, "Nobody's yet"), (LATE, "Late")):
        operator.send("/admin/api/site/add/", {"name": name, "sitecode": sitecode})


def set_up(old: OldVersion, operator: WebUser, api: Api) -> dict[str, Sender]:
    """Create sites, people, sources, rules, settings and alerts. Return the senders by name."""
    make_sites(operator)
    with old.connect() as connection:
        connection.execute(
            "INSERT INTO api_credential_sites (credential_id, site_id)"
            " SELECT c.id, s.id FROM api_credential c, api_site s ON CONFLICT DO NOTHING"
        )
    add_members(old, operator)
    sources = add_sources(api)
    set_rules(api, sources)
    change_settings(operator)
    add_alerts(operator, sources)
    api_key = base64.b64encode(json.dumps({"id": CLIENT_ID, "secret": CLIENT_SECRET}).encode()).decode()
    senders = {
        f"{site[:4]} {name.lower()}": Sender(old.base, key_of(site, name), site, f"{site[:1]}{name[:2]}")
        for site, name in sources
    }
    for site in (SHOP, RULED, BLOG):
        senders[f"{site[:4]} destination"] = Sender(old.base, api_key, site, f"{site[:1]}de", is_destination=True)
    return senders


def add_members(old: OldVersion, operator: WebUser) -> None:
    """Create people who become members with management tokens; remove, deactivate and delete three of them."""
    people = make_people(operator, old.base)
    for site, name, role in (
        *((site, "olga", "owner") for site in (SHOP, RULED, BLOG, LATE)),
        *((SHOP, name, "owner") for name in ("leaver", "sleeper", "ghost")),
        (SHOP, "eddie", "editor"),
        (RULED, "vera", "viewer"),
    ):
        post(operator, f"/admin/s/{site}/settings/members/", "change/", do="invite", username=name, role=role)
    for name in ("leaver", "sleeper", "ghost", "olga"):
        people[name].sign_in()
        page = f"/admin/s/{SHOP}/settings/tokens/"
        post(people[name], page, "change/", do="create", description=f"Made by {name}", role="owner", lifetime="")
    post(operator, f"/admin/s/{SHOP}/settings/members/", "change/", do="remove", member=member(old, "leaver"))
    with old.connect() as connection:
        users = dict(connection.execute("SELECT username, id FROM auth_user").fetchall())
    operator.send(f"/admin/auth/user/{users['sleeper']}/change/", {"is_active": None})
    operator.send(f"/admin/auth/user/{users['ghost']}/delete/", {})


def add_sources(api: Api) -> dict[tuple[str, str], int]:
    """Create the sources of all sites. Return their ids by sitecode and name."""
    sources = {}
    for site, name, kind in (
        (SHOP, "Server", "server"),
        (SHOP, "Browser", "browser"),
        (SHOP, "Import", "import"),
        (RULED, "Server", "server"),
        (RULED, "Altis", "altis"),
        (RULED, "Off", "server"),
        (BLOG, "Server", "server"),
        (LATE, "Server", "server"),
        (EMPTY, "Unused", "browser"),
    ):
        source = {"sitecode": site, "name": name, "kind": kind, "writeKey": key_of(site, name)}
        sources[site, name] = int(api.call("POST", "sources", source)["id"])
    api.call("PATCH", f"sources/{sources[RULED, 'Off']}", {"isEnabled": False})
    api.call("POST", f"sources/{sources[SHOP, 'Server']}/write-keys", {"overlapHours": 720})
    return sources


def change_settings(operator: WebUser) -> None:
    blog = {
        "goals_per_10_seconds": "3",
        "goals_per_hour": "4",
        "max_waiting_names": "5",
        "user_id_is_visitor_code": "on",
        "keeps_done_days": "3650",
        "public_traits": "plan",
    }
    ruled = {
        "company_is_group": "on",
        "audience_events_make_goals": "on",
        "goal_name_template": "{name} ({type})",
        "auto_tag": "Made by events",
        "default_currency": "NZD",
    }
    for site, fields in ((BLOG, blog), (RULED, ruled)):
        operator.send(f"/admin/s/{site}/settings/", fields, action="save/")


def add_alerts(operator: WebUser, sources: Mapping[tuple[str, str], int]) -> None:
    alerts: dict[str, Changes] = {
        "Slow": {"condition": "lag", "threshold": "604800"},
        "Silent": {"condition": "silence", "threshold": "20160", "source": str(sources[SHOP, "Browser"])},
        "Exhausted": {"condition": "quota", "threshold": "", "emails": "operator@example.com"},
        "Off": {"condition": "success", "threshold": "50", "is_enabled": None},
    }
    for name, fields in alerts.items():
        operator.send(f"/admin/s/{SHOP}/settings/alerts/new/", {"name": name, **fields})


def key_of(site: str, name: str) -> str:
    return f"before_{site[:4]}_{name.lower()}"


def set_rules(api: Api, keys: Mapping[tuple[str, str], int]) -> None:
    old = api.call("GET", f"sites/{RULED}/rules")["rules"]
    new: list[dict[str, Any]] = [
        {
            "action": "drop",
            "path": "context.userAgent",
            "pathTest": "equals",
            "pathValue": "robot/1.0",
            "argument": "a robot",
        },
        {"action": "no_goal", "eventType": "track", "nameTest": "equals", "nameValue": "Heartbeat"},
        {"action": "rename", "eventType": "page", "argument": "Page: {name}", "source": keys[RULED, "Server"]},
        {"action": "rename", "nameTest": "equals", "nameValue": "Renamed", "argument": "{name} by {properties.plan}"},
        {"action": "page_to_track", "eventType": "page", "source": keys[RULED, "Server"]},
        {"action": "pattern_goal", "eventType": "track", "argument": "Viewed order {n}"},
        {"action": "group_from", "argument": "properties.account_id", "groupTraits": {"country": "properties.country"}},
        {"action": "drop_field", "argument": "traits.card"},
        {"action": "hash_field", "argument": "traits.email"},
        {"action": "hash_field", "argument": "context.ip"},
        {"action": "drop", "nameTest": "prefix", "nameValue": "Never", "isEnabled": False, "name": "Switched off"},
    ]
    api.call("PUT", f"sites/{RULED}/rules", {"rules": [*old, *new]})


def member(old: OldVersion, username: str) -> str:
    with old.connect() as connection:
        row = connection.execute(
            "SELECT m.id FROM api_membership m JOIN auth_user u ON u.id = m.user_id WHERE u.username = %s", [username]
        ).fetchone()
    assert row is not None
    return str(row[0])


def post(person: WebUser, page: str, below: str, **fields: str) -> None:
    """Send a form of a page to an address below the page."""
    token = person.client.get(person.base + page).text.partition('name="csrfmiddlewaretoken" value="')[2][:64]
    answer = person.client.post(
        f"{person.base}{page}{below}",
        data={"csrfmiddlewaretoken": token, **fields},
        headers={"referer": person.base + page},
    )
    assert answer.status_code == 200, (page, fields, answer.status_code, answer.text[:300])


def change_goals(operator: WebUser, api: Api, goals: Mapping[str, int]) -> None:
    """Rename, tag, archive, delete, create and merge goals. More events of them follow."""
    name = "SegmentIO {} – {}".format
    api.call("PATCH", f"goals/{goals[name('track', 'Borrowed')]}", {"name": "Loans", "keepReceiving": True})
    api.call("PATCH", f"goals/{goals[name('track', 'Returned')]}", {"name": "Returns"})
    api.call("PATCH", f"goals/{goals[name('track', 'Looked')]}", {"tags": [" t3", "T2", "t2", "segment.io"]})
    api.call("PATCH", f"goals/{goals[name('track', 'Removed')]}", {"hasMultipleConversions": True, "tags": ["t2"]})
    api.call("POST", f"goals/{goals[name('page', 'Pricing')]}/archive")
    api.call("DELETE", f"goals/{goals[name('track', 'Subscribed')]}")
    for spelling in ("Wished", "SegmentIO track - Seen", "Segment.io – Empty", "Never met"):
        if spelling not in goals and name("track", spelling) not in goals:
            api.call("POST", "goals", {"sitecode": SHOP, "name": spelling, "tags": ["by hand"]})
    with_into = [("Sign Up ", "Sign Up"), ("sign up", "Sign Up"), ("Caf\u00e9", "Cafe\u0301"), (" Sign Up", "sign up")]
    for one, into in with_into:
        goal, target = goals[name("track", one)], goals[name("track", into)]
        query = f"?goal={goal}&goal={target}&into={target}"
        token = operator.client.get(f"{operator.base}/admin/s/{SHOP}/goals/merge/{query}").text
        token = token.partition('name="csrfmiddlewaretoken" value="')[2][:64]
        answer = operator.client.post(
            f"{operator.base}/admin/s/{SHOP}/goals/merge/",
            data={"csrfmiddlewaretoken": token, "goal": [goal, target], "into": target},
            headers={"referer": operator.base},
        )
        assert answer.status_code == 200, answer.text[:300]
    post(operator, f"/admin/s/{SHOP}/goals/{goals[name('track', 'Café')]}/", "unmerge/")


def ask(old: OldVersion, site: str, key: str) -> str:
    """Return remote data as an SDK with credentials reads it."""
    answer = httpx.get(
        f"{old.base}/map/map", params={"siteCode": site, "key": key}, auth=(CLIENT_ID, CLIENT_SECRET), timeout=60
    )
    assert answer.status_code == 200, (site, key, answer.text)
    return answer.text


def migrations(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the last migration of each app."""
    return dict(connection.execute("SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app").fetchall())


def fill(old: OldVersion, *, pause: float) -> dict[str, Any]:
    operator, api = WebUser(old.base, "operator", PASSWORD), Api(old.base)
    operator.sign_in()
    senders = set_up(old, operator, api)
    connection = old.connect()
    shop, browser, destination = (senders[f"shop {name}"] for name in ("server", "browser", "destination"))
    scenarios.send_past(shop)
    scenarios.send_erased(senders["shop import"])
    wait_for_digest(connection)
    connection.execute(
        "UPDATE api_message"
        " SET received_at = received_at - interval '40 days', digested_at = digested_at - interval '40 days'"
        " WHERE status = 'done' AND occurred_at < now() - interval '100 days'"
    )
    post(operator, f"/admin/s/{SHOP}/people/person/erase/?id=erase-me", "", id="erase-me")
    load_files(old)
    time.sleep(pause)
    scenarios.send_people(shop, browser, destination)
    scenarios.send_names(shop, browser)
    wait_for_digest(connection)
    change_goals(operator, api, goals_of(connection, SHOP))
    for send in (scenarios.send_people, scenarios.send_placeholders, scenarios.send_audiences):
        send(shop, browser, destination)
    scenarios.send_destinations(shop, browser, destination)
    scenarios.send_message_ids(shop, destination)
    scenarios.send_names(shop, browser)
    scenarios.send_refusals(shop, browser, destination)
    wait_for_digest(connection)
    for time_ in range(2):
        scenarios.send_duplicates(shop, browser, seconds=7_200.0 + time_)
        wait_for_digest(connection)
    ruled, blog = senders["rule server"], senders["blog server"]
    scenarios.send_rules(ruled, senders["rule altis"], senders["rule off"], senders["rule destination"])
    scenarios.send_waiting(blog, senders["blog destination"])
    for name in ("Kills its worker", "Survives"):
        senders["late server"].send("track", userId="late-1", event=name)
    wait_for_digest(connection)
    api.call(
        "PUT", f"sites/{LATE}/rules", {"rules": [{"action": "no_goal", "nameTest": "equals", "nameValue": "Survives"}]}
    )
    # The product deletes no row because of its age until the clock has been steady for an hour.
    connection.execute("UPDATE api_databaseclock SET steady_since = steady_since - interval '2 hours'")
    wait_until(lambda: is_erased_and_pruned(connection), "the erasure and the pruning")
    api.call("POST", f"goals/{goals_of(connection, SHOP)['Returns']}/archive")
    pause_workers(old, connection)
    try:
        api.call("DELETE", f"goals/{goals_of(connection, SHOP)['SegmentIO screen – Docs']}")
        scenarios.send_last(shop, browser, destination, blog, ruled)
        snapshot = {"migrations": migrations(connection), **take_snapshot(connection, partial(ask, old))}
        print(old.command("verify"))
        rows.dump(connection, FIXTURE)
    finally:
        for group in old.workers():
            os.killpg(group, signal.SIGCONT)
    return snapshot


def load_files(old: OldVersion) -> None:
    """Load events and a plan by management commands."""
    events = old.directory / "events.jsonl"
    lines = [
        {"type": "track", "userId": f"loaded-{number}", "event": "Loaded", "timestamp": START.isoformat()}
        for number in range(3)
    ]
    events.write_bytes(b"\xef\xbb\xbf" + b"\n".join(json.dumps(line).encode() for line in [*lines, {"type": "Track"}]))
    old.command("load", str(events), "--source", key_of(SHOP, "Import"))
    plan = old.directory / "plan.csv"
    plan.write_bytes(b"\xef\xbb\xbftype,name\ntrack,Planned\npage,Planned\ntrack,Paid\n")
    old.command("load_plan", str(plan), "--site", SHOP)


def is_erased_and_pruned(connection: psycopg.Connection[Any]) -> bool:
    erased = connection.execute("SELECT bool_and(finished_at IS NOT NULL) FROM api_erasure").fetchone()
    is_pruned = count(connection, "occurred_at < now() - interval '100 days' AND status = 'done'") == 0
    return erased == (True,) and is_pruned


def pause_workers(old: OldVersion, connection: psycopg.Connection[Any]) -> None:
    """Stop the workers at a moment when they have claimed no message."""
    groups = old.workers()
    assert groups
    for _ in range(100):
        for group in groups:
            os.killpg(group, signal.SIGSTOP)
        row = connection.execute(
            "SELECT (SELECT count(*) FROM api_claim) + (SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle')"
        ).fetchone()
        if row == (0,):
            return
        for group in groups:
            os.killpg(group, signal.SIGCONT)
        time.sleep(0.3)
    raise AssertionError("the workers are always busy")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pause", type=float, default=SETTLED, help="seconds between the rules and the events")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="goalpost-before-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "before_hooks.py").write_text(HOOKS)
        old = OldVersion(given.checkout.resolve(), place)
        try:
            old.start(GOALPOST_HOOKS="before_hooks", PYTHONPATH=str(place))
            snapshot = fill(old, pause=given.pause)
        except BaseException:
            print((place / "up.log").read_text()[-5_000:])
            raise
        finally:
            old.stop()
    (FIXTURE / "seen.json").write_text(json.dumps(snapshot, indent=1, ensure_ascii=False, default=str) + "\n")


if __name__ == "__main__":
    main()
