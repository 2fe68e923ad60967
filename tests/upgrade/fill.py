"""Makes the rows of `tests/fixtures/before` by an older checkout's own code: `python -m tests.upgrade.fill CHECKOUT`.

CHECKOUT is a work tree of the version that an upgrade starts from, with a `.venv` of its own or a link to one. Its
`manage.py up` runs in a directory of its own on loopback, and is filled through its endpoints, pages and commands, so
that nothing here imports it. Only what time would have to bring is written by SQL: messages get old enough to be
pruned. It takes seven minutes, five of them waiting: `verify` leaves out what was digested until five minutes after a
site's rules were changed.
"""

import argparse
import base64
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
from dotenv import dotenv_values

from api.runtime.embedded import free_port
from tests.upgrade import rows, story
from tests.upgrade.office import Person, Wanted
from tests.upgrade.seen import CLIENT_ID, CLIENT_SECRET, look
from tests.upgrade.senders import START, Sender

HERE: Final = Path(__file__).resolve().parent
FIXTURE: Final = HERE.parent / "fixtures" / "before"
SECRET_KEY: Final = "only for tests"  # what the tests run with: hashes of the fixture are under it
PASSWORD: Final = "made up for a fixture"
SHOP, RULED, BLOG, EMPTY, LATE = "shop000001", "ruled00001", "blog000001", "empty00001", "late000001"
SETTLED: Final = 310.0
HOOKS: Final = """
import os

def transform(event):
    if event.get("event") == "Kills its worker":
        os._exit(7)
    return event
"""


@dataclass
class House:
    """The older version in a directory of its own."""

    checkout: Path
    directory: Path
    port: int = field(default_factory=free_port)
    up: "subprocess.Popen[bytes] | None" = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        hidden = ("GOALPOST_", "PYTEST_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
        ours = {
            "GOALPOST_DATA_DIR": str(self.directory / "data"),
            "GOALPOST_PORT": str(self.port),
            "GOALPOST_SECRET_KEY": SECRET_KEY,
            "GOALPOST_SITECODE": SHOP,
            "GOALPOST_CLIENT_ID": CLIENT_ID,
            "GOALPOST_CLIENT_SECRET": CLIENT_SECRET,
            "GOALPOST_WRITE_KEY": "before_write_key_destination",
            "GOALPOST_ADMIN_USER": "operator",
            "GOALPOST_ADMIN_PASSWORD": PASSWORD,
        }
        return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | ours | more

    def start(self, **more: str) -> None:
        """Start everything and wait until it answers."""
        log = (self.directory / "up.log").open("ab")
        self.up = subprocess.Popen(
            [".venv/bin/python", "manage.py", "up"],
            cwd=self.checkout,
            env=self.environment(**more),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        await_(
            lambda: self.up is not None and self.up.poll() is None and self._is_ready(), "the older version to start"
        )

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.base}/health/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self.up is not None:
            self.up.send_signal(signal.SIGTERM)
            self.up.wait(30)

    def command(self, *words: str) -> str:
        """The output of a management command, which must succeed."""
        done = subprocess.run(
            [".venv/bin/python", "manage.py", *words],
            cwd=self.checkout,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def connect(self) -> psycopg.Connection[Any]:
        url = dotenv_values(self.directory / "data" / "servers.env")["DATABASE_URL"]
        assert url is not None
        return psycopg.connect(url, autocommit=True)

    def workers(self) -> list[int]:
        """The process groups of this house's workers."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                is_ours = f"GOALPOST_PORT={self.port}".encode() in (process / "environ").read_bytes().split(b"\0")
                if is_ours and b"worker" in words:
                    found.add(os.getpgid(int(process.name)))
            except OSError:
                continue
        return sorted(found)


def await_(holds: Any, what: str, *, seconds: float = 120) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.2)


def count(connection: psycopg.Connection[Any], condition: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM api_message WHERE {condition}").fetchone()
    assert row is not None
    return int(row[0])


def await_digest(connection: psycopg.Connection[Any]) -> None:
    await_(lambda: count(connection, "status = 'pending'") == 0, "the digest")


@dataclass
class Api:
    """The management API, as a credential of all sites."""

    base: str

    def call(self, method: str, path: str, body: Any = None, *, token: str = "") -> Any:
        basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        answer = httpx.request(
            method,
            f"{self.base}/api/{path}",
            json=body,
            headers={"authorization": f"Bearer {token}" if token else f"Basic {basic}"},
            timeout=60,
        )
        assert answer.is_success, (method, path, answer.status_code, answer.text[:300])
        return answer.json() if answer.content else None


def goals_of(connection: psycopg.Connection[Any], sitecode: str) -> dict[str, int]:
    """The ids of a site's goals by name."""
    return dict(
        connection.execute(
            "SELECT g.name, g.id FROM goals_goal g JOIN api_site s ON s.id = g.site_id"
            " WHERE s.sitecode = %s AND g.deleted_at IS NULL",
            [sitecode],
        ).fetchall()
    )


def make_people(operator: Person, base: str) -> Mapping[str, Person]:
    people = {}
    for name in ("olga", "eddie", "vera", "leaver", "sleeper", "ghost"):
        operator.send(
            "/admin/auth/user/add/",
            {"username": name, "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"},
        )
        people[name] = Person(base, name, PASSWORD)
    return people


def make_sites(operator: Person) -> None:
    for sitecode, name in ((RULED, "Ruled"), (BLOG, "Blog"), (EMPTY, "Nobody's yet"), (LATE, "Late")):
        operator.send("/admin/api/site/add/", {"name": name, "sitecode": sitecode})


def set_up(house: House, operator: Person, api: Api) -> dict[str, Sender]:
    """Sites, people, sources and rules; the senders by name."""
    make_sites(operator)
    with house.connect() as connection:
        connection.execute(
            "INSERT INTO api_credential_sites (credential_id, site_id)"
            " SELECT c.id, s.id FROM api_credential c, api_site s ON CONFLICT DO NOTHING"
        )
    people = make_people(operator, house.base)
    for site, name, role in (
        *((each, "olga", "owner") for each in (SHOP, RULED, BLOG, LATE)),
        *((SHOP, name, "owner") for name in ("leaver", "sleeper", "ghost")),
        (SHOP, "eddie", "editor"),
        (RULED, "vera", "viewer"),
    ):
        post(operator, f"/admin/s/{site}/settings/members/", "change/", do="invite", username=name, role=role)
    for name in ("leaver", "sleeper", "ghost", "olga"):
        people[name].sign_in()
        page = f"/admin/s/{SHOP}/settings/tokens/"
        post(people[name], page, "change/", do="create", description=f"Made by {name}", role="owner", lifetime="")
    post(operator, f"/admin/s/{SHOP}/settings/members/", "change/", do="remove", member=member(house, "leaver"))
    with house.connect() as connection:
        users = dict(connection.execute("SELECT username, id FROM auth_user").fetchall())
    operator.send(f"/admin/auth/user/{users['sleeper']}/change/", {"is_active": None})
    operator.send(f"/admin/auth/user/{users['ghost']}/delete/", {})

    keys = {}
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
        made = api.call(
            "POST",
            "sources",
            {"sitecode": site, "name": name, "kind": kind, "writeKey": key_of(site, name)},
        )
        keys[site, name] = made["id"]
    api.call("PATCH", f"sources/{keys[RULED, 'Off']}", {"isEnabled": False})
    api.call("POST", f"sources/{keys[SHOP, 'Server']}/write-keys", {"overlapHours": 720})
    set_rules(api, keys)
    settings = f"/admin/s/{BLOG}/settings/"
    operator.send(
        settings,
        {
            "goals_per_10_seconds": "3",
            "goals_per_hour": "4",
            "max_waiting_names": "5",
            "user_id_is_visitor_code": "on",
            "keeps_done_days": "3650",
            "public_traits": "plan",
        },
        action="save/",
    )
    operator.send(
        f"/admin/s/{RULED}/settings/",
        {
            "company_is_group": "on",
            "audience_events_make_goals": "on",
            "goal_name_template": "{name} ({type})",
            "auto_tag": "Made by events",
            "default_currency": "NZD",
        },
        action="save/",
    )
    alerts: dict[str, Wanted] = {
        "Slow": {"condition": "lag", "threshold": "604800"},
        "Silent": {"condition": "silence", "threshold": "20160", "source": str(keys[SHOP, "Browser"])},
        "Exhausted": {"condition": "quota", "threshold": "", "emails": "operator@example.com"},
        "Off": {"condition": "success", "threshold": "50", "is_enabled": None},
    }
    for name, fields in alerts.items():
        operator.send(f"/admin/s/{SHOP}/settings/alerts/new/", {"name": name, **fields})

    api_key = base64.b64encode(json.dumps({"id": CLIENT_ID, "secret": CLIENT_SECRET}).encode()).decode()
    senders = {
        f"{site[:4]} {name.lower()}": Sender(
            house.base, f"before_{site[:4]}_{name.lower()}", site, f"{site[:1]}{name[:2]}"
        )
        for site, name in keys
    }
    for site in (SHOP, RULED, BLOG):
        senders[f"{site[:4]} destination"] = Sender(house.base, api_key, site, f"{site[:1]}de", is_destination=True)
    return senders


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


def member(house: House, username: str) -> str:
    with house.connect() as connection:
        row = connection.execute(
            "SELECT m.id FROM api_membership m JOIN auth_user u ON u.id = m.user_id WHERE u.username = %s", [username]
        ).fetchone()
    assert row is not None
    return str(row[0])


def post(person: Person, page: str, below: str, **fields: str) -> None:
    """Press a button of a page, whose form goes to an address below it."""
    token = person.client.get(person.base + page).text.partition('name="csrfmiddlewaretoken" value="')[2][:64]
    answer = person.client.post(
        f"{person.base}{page}{below}",
        data={"csrfmiddlewaretoken": token, **fields},
        headers={"referer": person.base + page},
    )
    assert answer.status_code == 200, (page, fields, answer.status_code, answer.text[:300])


def change_goals(operator: Person, api: Api, goals: Mapping[str, int]) -> None:
    """What people do to goals, some of it before the events that meet it."""
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


def ask(house: House, site: str, key: str) -> str:
    """Remote data as an SDK with credentials reads it."""
    answer = httpx.get(
        f"{house.base}/map/map", params={"siteCode": site, "key": key}, auth=(CLIENT_ID, CLIENT_SECRET), timeout=60
    )
    assert answer.status_code == 200, (site, key, answer.text)
    return answer.text


def migrations(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The last migration of each app."""
    return dict(connection.execute("SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app").fetchall())


def fill(house: House, *, pause: float) -> dict[str, Any]:
    operator, api = Person(house.base, "operator", PASSWORD), Api(house.base)
    operator.sign_in()
    senders = set_up(house, operator, api)
    connection = house.connect()
    shop, browser, destination = (senders[f"shop {name}"] for name in ("server", "browser", "destination"))
    story.tell_of_the_past(shop)
    story.tell_of_the_erased(senders["shop import"])
    await_digest(connection)
    connection.execute(
        "UPDATE api_message"
        " SET received_at = received_at - interval '40 days', digested_at = digested_at - interval '40 days'"
        " WHERE status = 'done' AND occurred_at < now() - interval '100 days'"
    )
    post(operator, f"/admin/s/{SHOP}/people/person/erase/?id=erase-me", "", id="erase-me")
    load_files(house)
    time.sleep(pause)
    story.tell_of_people(shop, browser, destination)
    story.tell_of_names(shop, browser)
    await_digest(connection)
    change_goals(operator, api, goals_of(connection, SHOP))
    for tell in (story.tell_of_people, story.tell_of_placeholders, story.tell_of_audiences):
        tell(shop, browser, destination)
    story.tell_of_wishes(shop, browser, destination)
    story.tell_of_message_ids(shop, destination)
    story.tell_of_names(shop, browser)
    story.tell_of_refusals(shop, browser, destination)
    await_digest(connection)
    for time_ in range(2):
        story.tell_of_twins(shop, browser, seconds=7_200.0 + time_)
        await_digest(connection)
    ruled, blog = senders["rule server"], senders["blog server"]
    story.tell_of_rules(ruled, senders["rule altis"], senders["rule off"], senders["rule destination"])
    story.tell_of_waiting(blog, senders["blog destination"])
    for name in ("Kills its worker", "Survives"):
        senders["late server"].send("track", userId="late-1", event=name)
    await_digest(connection)
    api.call(
        "PUT", f"sites/{LATE}/rules", {"rules": [{"action": "no_goal", "nameTest": "equals", "nameValue": "Survives"}]}
    )
    # Nothing is deleted because of its age in the first hour.
    connection.execute("UPDATE api_databaseclock SET steady_since = steady_since - interval '2 hours'")
    await_(lambda: is_erased_and_pruned(connection), "the erasure and the pruning")
    api.call("POST", f"goals/{goals_of(connection, SHOP)['Returns']}/archive")
    stand_still(house, connection)
    try:
        api.call("DELETE", f"goals/{goals_of(connection, SHOP)['SegmentIO screen – Docs']}")
        story.tell_last(shop, browser, destination, blog, ruled)
        seen = {"migrations": migrations(connection), **look(connection, partial(ask, house))}
        print(house.command("verify"))
        rows.dump(connection, FIXTURE)
    finally:
        for group in house.workers():
            os.killpg(group, signal.SIGCONT)
    return seen


def load_files(house: House) -> None:
    """What the commands load."""
    events = house.directory / "events.jsonl"
    lines = [
        {"type": "track", "userId": f"loaded-{number}", "event": "Loaded", "timestamp": START.isoformat()}
        for number in range(3)
    ]
    events.write_bytes(b"\xef\xbb\xbf" + b"\n".join(json.dumps(line).encode() for line in [*lines, {"type": "Track"}]))
    house.command("load", str(events), "--source", key_of(SHOP, "Import"))
    plan = house.directory / "plan.csv"
    plan.write_bytes(b"\xef\xbb\xbftype,name\ntrack,Planned\npage,Planned\ntrack,Paid\n")
    house.command("load_plan", str(plan), "--site", SHOP)


def is_erased_and_pruned(connection: psycopg.Connection[Any]) -> bool:
    erased = connection.execute("SELECT bool_and(finished_at IS NOT NULL) FROM api_erasure").fetchone()
    is_pruned = count(connection, "occurred_at < now() - interval '100 days' AND status = 'done'") == 0
    return erased == (True,) and is_pruned


def stand_still(house: House, connection: psycopg.Connection[Any]) -> None:
    """Stop the workers at a moment when they have nothing in hand."""
    groups = house.workers()
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
    raise AssertionError("the workers never rest")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pause", type=float, default=SETTLED, help="seconds between the rules and the events")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="goalpost-before-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "before_hooks.py").write_text(HOOKS)
        house = House(given.checkout.resolve(), place)
        try:
            house.start(GOALPOST_HOOKS="before_hooks", PYTHONPATH=str(place))
            seen = fill(house, pause=given.pause)
        except BaseException:
            print((place / "up.log").read_text()[-5_000:])
            raise
        finally:
            house.stop()
    (FIXTURE / "seen.json").write_text(json.dumps(seen, indent=1, ensure_ascii=False, default=str) + "\n")


if __name__ == "__main__":
    main()
