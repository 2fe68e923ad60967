"""`manage.py doctor`: one line for each thing that must be well, and what to do about each that is not."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min
from psycopg.errors import DiskFull, ReadOnlySqlTransaction

from api.celery import app
from api.digest import rekey
from api.http import heartbeats
from api.http.database import connect
from api.http.health import REFUSALS, probe_write
from api.http.heartbeats import LastHeartbeat, Role, RoleState, role_state
from api.http.secret_key import require_same_key
from api.insight.sessions import find_holders
from api.models import DuplicateSources, Message

LAG_WARNING = timedelta(seconds=30)  # a digest takes seconds; more is a worker that is away or overrun
LAG_FAILURE = timedelta(minutes=10)
TWIN_AGE = timedelta(days=1)
CLOCK_WARNING = 1.0  # seconds
CLOCK_FAILURE = 60.0  # beyond this the digest believes this clock and not a sender's
MOST_NAMED = 3
HELD_WARNING = timedelta(seconds=5)
HELD_FAILURE = timedelta(minutes=1)
DISK_WARNING = 2 * 2**30
DISK_FAILURE = 2**28
PING_SECONDS = 3.0
CLOCK_AGE = timedelta(minutes=10)  # of a sign of life that still tells the time of its host
SHORT_KEY = 32
SEE_WORKER = "see the worker's log, or end its process: the next one takes its events"


@dataclass(frozen=True, slots=True)
class Finding:
    level: str  # ok, warn or FAIL
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    subject: str
    look: Callable[[], Finding]
    advice: str  # for when looking itself fails
    needs: str = ""  # the subject without which looking is pointless


class Command(BaseCommand):
    help = "Check database, broker, worker, locks, inbox, clock, disk and more, and say what to do about each trouble."
    requires_system_checks = ()  # they need what is checked here

    def handle(self, **_: Any) -> None:
        failed: set[str] = set()
        for check, finding in findings():
            self.stdout.write(f"{finding.level:4}  {check.subject:10}  {finding.text}")
            if finding.advice:
                self.stdout.write(f"{'':18}-> {finding.advice}")
            if finding.level == "FAIL":
                failed.add(check.subject)
        if failed:
            raise CommandError(f"not well: {', '.join(sorted(failed))}")


def findings() -> Iterator[tuple[HealthCheck, Finding]]:
    """Yield every check with its finding. An exception of a check is a finding too."""
    unreachable: set[str] = set()
    for check in CHECKS:
        if check.needs in unreachable:
            yield check, Finding("warn", f"not checked without the {check.needs}")
            continue
        try:
            finding = check.look()
        except Exception as error:  # noqa: BLE001 - a failed check is a finding
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            finding = Finding("FAIL", reason, check.advice)
            unreachable.add(check.subject)
        yield check, finding


def look_at_database() -> Finding:
    with connection.cursor() as cursor:
        # With a linguistic order "a" comes before "B". Sweeps of segments and the search for ids rely on code points.
        cursor.execute("SELECT current_setting('server_version'), current_database(), 'B'::text < 'a'::text")
        version, name, is_by_code_points = cursor.fetchone()
    return grade_order(f"PostgreSQL {version} answers, database {name}", is_by_code_points=is_by_code_points)


def grade_order(text: str, *, is_by_code_points: bool) -> Finding:
    """Return the finding for a database with this order of texts. Pure."""
    if is_by_code_points:
        return Finding("ok", text)
    advice = "create a database with the locale C.UTF-8, and restore a dump into it"
    return Finding("warn", f"{text}, which does not sort by code points", advice)


def look_at_migrations() -> Finding:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:3])
        return Finding("FAIL", f"{len(missing)} not applied: {names}", "run `python manage.py prepare`")
    if rekey.is_waiting():
        text = "all applied; conversions of the version before do not count for the devices of their users yet"
        return Finding("warn", text, "run `python manage.py rekey`, while everything runs")
    return Finding("ok", "all applied")


def look_at_broker() -> Finding:
    with app.connection_for_read() as broker:
        broker.ensure_connection(max_retries=1, timeout=2)
        return Finding("ok", f"{broker.transport_cls} answers")


def look_at_key() -> Finding:
    with connect() as session:
        require_same_key(session)
    if len(settings.SECRET_KEY) < SHORT_KEY:
        text = f"the one of this database, but of {len(settings.SECRET_KEY)} characters only: it can be guessed"
        return Finding("warn", text, "choose 50 random characters for a new installation; see UPGRADING.md")
    return Finding("ok", "the one of this database")


def look_at_writes() -> Finding:
    with connect() as session:
        try:
            probe_write(session)
        except (DiskFull, ReadOnlySqlTransaction) as error:
            text, _, advice = REFUSALS[type(error)].message.partition(": ")
            return Finding("FAIL", text, advice)
    return Finding("ok", "the database stores what it is given")


def look_at_worker() -> Finding:
    signs = [sign for sign in heartbeats.load_heartbeats() if sign.role == Role.WORKER]
    if role_state(signs) is RoleState.ALIVE:
        return alive(signs)
    beats = [sign for sign in heartbeats.load_heartbeats() if sign.role == Role.BEAT]
    # A process that answers may be at work for long, or have nothing to do because nothing is scheduled.
    if app.control.ping(timeout=PING_SECONDS, limit=1):
        if role_state(beats) is not RoleState.ALIVE:
            return Finding("warn", "a worker answers, but gets nothing to do", "see to beat first")
        return Finding("FAIL", f"a worker answers, but has done nothing {since(signs)}: events wait", SEE_WORKER)
    return missing(signs, "worker", "events are accepted and wait")


def look_at_beat() -> Finding:
    signs = [sign for sign in heartbeats.load_heartbeats() if sign.role == Role.BEAT]
    if role_state(signs) is RoleState.ALIVE:
        return alive(signs)
    return missing(signs, "beat", "pruning, erasure, alerts and new goals beyond the limit wait")


def alive(signs: Sequence[LastHeartbeat]) -> Finding:
    """Return a finding that says when the last sign of life came."""
    return Finding("ok", f"gave a sign of life {max(0.0, signs[0].age.total_seconds()):.0f} s ago")


def missing(signs: Sequence[LastHeartbeat], role: str, meaning: str) -> Finding:
    """Return a finding that names the frozen process, or says that none runs."""
    command = f"`python -m celery -A api.celery {role}`"
    frozen = next((sign for sign in signs if sign.is_connected), None)
    if frozen is not None:
        return Finding(
            "FAIL",
            f"frozen {since(signs)}, though its session is open (process {frozen.process} of {frozen.host}): {meaning}",
            f"let it go on (`kill -CONT {frozen.process}` there), or end it and start another: {command}",
        )
    return Finding("FAIL", f"none runs {since(signs)}: {meaning}", f"start one: {command}, or see the log of the last")


def since(signs: Sequence[LastHeartbeat]) -> str:
    return f"for {abs(signs[0].age.total_seconds()):.0f} s" if signs else "and none ever did"


def look_at_inbox() -> Finding:
    oldest = Message.objects.filter(status=Message.Status.PENDING).aggregate(oldest=Min("received_at"))["oldest"]
    if oldest is None:
        return Finding("ok", "nothing waits")
    lag = datetime.now(UTC) - oldest
    text = f"the oldest message waits for {lag.total_seconds():.0f} s"
    advice = "end what locks says" if find_holders() else "if a worker is well, it is overrun: add workers"
    return grade(lag, LAG_WARNING, LAG_FAILURE, text, advice)


def look_at_locks() -> Finding:
    holders = find_holders()
    if not holders:
        return Finding("ok", "no session holds what others need")
    text = "; ".join(str(holder) for holder in holders[:MOST_NAMED])
    waiting = sum(holder.waiting for holder in holders)
    held = max(holder.since or LAG_WARNING for holder in holders)
    remedies = "; ".join(holder.remedy for holder in holders[:MOST_NAMED])
    advice = f"what needs its rows waits, and so do {waiting} sessions at this moment: {remedies}"
    return grade(held, HELD_WARNING, HELD_FAILURE, f"{len(holders)} hold rows or tables: {text}", advice)


def look_at_sources() -> Finding:
    recent = DuplicateSources.objects.filter(last_seen_at__gt=datetime.now(UTC) - TWIN_AGE).select_related(
        "one", "other", "site"
    )
    pairs = [f"{pair.one} and {pair.other} of {pair.site}" for pair in recent.order_by("-last_seen_at")[:3]]
    if pairs:
        text = f"send the same events: {'; '.join(pairs)}"
        return Finding("warn", text, "under Settings, Sources, switch off “Count track events” at one of each pair")
    return Finding("ok", "no two send the same events")


def look_at_clock() -> Finding:
    asked = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        theirs = cursor.fetchone()[0]
    ours = asked + (datetime.now(UTC) - asked) / 2
    difference = (theirs - ours).total_seconds()
    text = f"the database's is {difference:+.3f} s from this machine's"
    advice = "synchronise both machines' clocks (NTP)"
    for sign in heartbeats.load_heartbeats():
        if abs(sign.clock_ahead) > abs(difference) and abs(sign.age) < CLOCK_AGE:
            difference = sign.clock_ahead
            text = f"the {sign.role}'s on {sign.host} is {difference:+.3f} s from the database's"
    finding = grade(abs(difference), CLOCK_WARNING, CLOCK_FAILURE, text, advice)
    jump = heartbeats.load_last_jump()
    if finding.level != "FAIL" and jump is not None and jump.age < heartbeats.STEADY_AFTER:
        return Finding(
            "warn",
            f"the database's jumped by {jump.seconds:+.0f} s, {jump.age.total_seconds():.0f} s ago",
            "nothing is deleted because of its age for an hour. Find the cause (NTP, a machine that slept), and look "
            "at the times of the events between",
        )
    return finding


def look_at_disk() -> Finding:
    free = shutil.disk_usage(settings.DATA_DIR).free
    text = f"{free / 2**30:.1f} GiB free at {settings.DATA_DIR}"
    return grade(-free, -DISK_WARNING, -DISK_FAILURE, text, "make room, or move GOALPOST_DATA_DIR to a larger disk")


def grade(measured: Any, warning: Any, failure: Any, text: str, advice: str) -> Finding:
    """Compare with two limits, the greater the worse."""
    if measured > failure:
        return Finding("FAIL", text, advice)
    if measured > warning:
        return Finding("warn", text, advice)
    return Finding("ok", text)


CHECKS = (
    HealthCheck("database", look_at_database, "start PostgreSQL (`make run` brings its own) or correct DATABASE_URL"),
    HealthCheck("migrations", look_at_migrations, "run `python manage.py prepare`", needs="database"),
    HealthCheck("key", look_at_key, "restore GOALPOST_SECRET_KEY, or the file secret-key", needs="database"),
    HealthCheck("writes", look_at_writes, "see the database's log: events are answered 503", needs="database"),
    HealthCheck("broker", look_at_broker, "start Redis or Valkey, or correct REDIS_URL; no event is lost meanwhile"),
    HealthCheck("worker", look_at_worker, "run `python manage.py prepare`", needs="database"),
    HealthCheck("beat", look_at_beat, "run `python manage.py prepare`", needs="database"),
    HealthCheck("locks", look_at_locks, "run `python manage.py prepare`", needs="database"),
    HealthCheck("inbox", look_at_inbox, "run `python manage.py prepare`", needs="database"),
    HealthCheck("sources", look_at_sources, "run `python manage.py prepare`", needs="database"),
    HealthCheck("clock", look_at_clock, "see the database's log", needs="database"),
    HealthCheck("disk", look_at_disk, "make the directory, or correct GOALPOST_DATA_DIR"),
)
