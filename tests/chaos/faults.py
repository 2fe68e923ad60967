"""Faults that leave every process alive: a full disk, a wrong clock, a held lock, a frozen worker.

Events arrive at a steady rate during each fault. Afterwards no accepted event is lost or counted twice, and
`manage.py doctor` has named the fault within a minute.
"""

import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

from tests.chaos.events import make_events, user_id
from tests.chaos.ledger import Ledger, book_answers, book_effects, book_incidents
from tests.chaos.sender import Sender, paced, take_until
from tests.chaos.stack import FAKETIME, Site, Stack, count, is_digested, running_stack, running_workers, wait_until

DOCTOR_SECONDS: Final = 60.0  # time in which the doctor must name a fault
DISK: Final = "700m"  # size of the directory that fills up; PostgreSQL's own files take about 200


@dataclass(frozen=True, slots=True)
class FaultFigures:
    per_second: float
    people: int
    seconds: float  # duration of a fault
    damages: Sequence[str] = ("gone", "empty", "garbage", "another")  # to the secret key


@contextmanager
def under_load(
    stack: Stack, site: Site, figures: FaultFigures, chooser: random.Random, *, people: int | None = None
) -> Iterator[Sender]:
    """Send events at a steady rate during the block, then wait until all of them are processed."""
    sender, is_over = Sender(site, list(stack.ports.values())), threading.Event()
    events = make_events(chooser, people=people or figures.people, goals=9)
    with sender.sending(paced(chooser, take_until(is_over, events), per_second=figures.per_second)):
        wait_until(lambda: count_done(stack, site), "the first processed event")
        try:
            yield sender
        finally:
            is_over.set()
    wait_until(lambda: is_digested(stack, site), "all events to be processed")


def count_done(stack: Stack, site: Site) -> int:
    return count(stack, site, "status = 'done'")


def note_doctor(ledger: Ledger, ask: Callable[[], str], fault: str, pattern: str) -> None:
    """Run the doctor until a line of its output matches, and note the seconds that this took."""
    begun, output = time.monotonic(), ""
    while time.monotonic() - begun < DOCTOR_SECONDS:
        output = ask()
        if re.search(pattern, output):
            ledger.note(f"doctor names {fault} after, s", time.monotonic() - begun)
            ledger.require_true(f"doctor names {fault} within a minute", holds=True)
            return
        time.sleep(1)
    ledger.require(f"doctor names {fault} within a minute", output, pattern)


def hold_lock(stack: Stack, figures: FaultFigures, chooser: random.Random) -> Ledger:
    """Lock the row of one person in an idle session, as a forgotten psql does."""
    ledger = Ledger("A lock held by an idle session")
    site = stack.sites.pop()
    with running_workers(stack, 1):
        with under_load(stack, site, figures, chooser) as sender:
            held = user_id(0)
            row = "FROM cohorts_identity WHERE site_id = %(site)s AND value = %(id)s"
            wait_until(lambda: stack.fetch(f"SELECT 1 {row}", site=site.id, id=held), "the person's identity")
            with psycopg.connect(stack.servers.environment["DATABASE_URL"]) as holder:
                holder.execute(f"SELECT 1 {row} FOR UPDATE", {"site": site.id, "id": held})
                begun = time.monotonic()
                processed = count_done(stack, site)
                time.sleep(figures.seconds / 2)
                note_doctor(ledger, stack.doctor, "the session", rf"\b{holder.info.backend_pid}\b")
                time.sleep(max(0.0, figures.seconds - (time.monotonic() - begun)))
                gone_on = count_done(stack, site) - processed
                ledger.note("processed meanwhile", gone_on)
                most = figures.per_second * figures.seconds / 2
                ledger.require_true("most of the others were processed meanwhile", holds=gone_on > most)
                ledger.note("waiting at the end", count(stack, site, "status = 'pending'"))
                holder.rollback()
            begun = time.monotonic()
        ledger.note("all processed after, s", time.monotonic() - begun)
        ledger.require("attempts counted because of it", count(stack, site, "attempts > 0"), 0)
        book_answers(ledger, sender)
        book_effects(ledger, stack, sender)
        book_incidents(ledger, stack)
    return ledger


def freeze_workers(stack: Stack, figures: FaultFigures, chooser: random.Random) -> Ledger:
    """Freeze one of two workers in the middle of a batch, then both, then continue both."""
    ledger = Ledger("Frozen workers")
    site = stack.sites.pop()
    with running_workers(stack, 2) as workers:
        with under_load(stack, site, figures, chooser) as sender:
            stack.catch(workers[0], within=30)
            stack.send(workers[0], signal.SIGSTOP)
            processed = count_done(stack, site)
            # The other worker waits up to 5 s for rows of the frozen one, then sets aside what needs them.
            seconds = max(figures.seconds, 10)
            time.sleep(seconds)
            gone_on = count_done(stack, site) - processed
            ledger.note("processed by the other meanwhile", gone_on)
            ledger.require_true("the other goes on", holds=gone_on > figures.per_second * seconds / 2)
            stack.send(workers[1], signal.SIGSTOP)
            note_doctor(ledger, stack.doctor, "frozen workers", r"(?i)(FAIL|warn) .*work")
            for worker in workers:
                stack.send(worker, signal.SIGCONT)
            begun = time.monotonic()
        ledger.note("all processed after, s", time.monotonic() - begun)
        book_answers(ledger, sender)
        book_effects(ledger, stack, sender)
        book_incidents(ledger, stack)
    return ledger


def shift_clock(stack: Stack, figures: FaultFigures, chooser: random.Random) -> Ledger:
    """Set the clock of worker and beat three days ahead, then back, then a day behind, then right."""
    ledger = Ledger("A clock ahead, back and behind")
    site = stack.sites.pop()
    clock = stack.directory / "clock"
    clock.write_text("+0")
    settings = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).with_name("clock")),
    }
    with running_workers(stack, 1, settings=settings):
        with under_load(stack, site, figures, chooser) as sender:
            for name, offset in (("ahead", "+3d"), ("right again", "+0"), ("behind", "-1d"), ("right at last", "+0")):
                clock.write_text(offset)
                time.sleep(figures.seconds / 2)
                begun, processed = time.monotonic(), count_done(stack, site)
                if offset != "+0":
                    note_doctor(ledger, partial(stack.doctor, offset), f"the clock {name}", r"(?i)(FAIL|warn) .*clock")
                wait_until(lambda before=processed: count_done(stack, site) > before, f"the digest, clock {name}")  # type: ignore[misc]
                ledger.note(f"{name}: processes on after, s", time.monotonic() - begun)
            deferred = insert_by_hand(stack, site)
            begun = time.monotonic()
            wait_until(lambda: count(stack, site, "id = %(id)s AND status = 'done'", id=deferred), "beat")
            ledger.note("message without nudge, processed after, s", time.monotonic() - begun)
            ledger.require_true("within ten seconds", holds=time.monotonic() - begun < 10)
            stack.fetch("DELETE FROM api_message WHERE id = %(id)s RETURNING id", id=deferred)
        book_answers(ledger, sender)
        book_effects(ledger, stack, sender)
        book_incidents(ledger, stack)
    return ledger


def insert_by_hand(stack: Stack, site: Site) -> int:
    """Insert a message without a nudge, so that only the schedule finds it."""
    sql = """
    WITH message AS (
        INSERT INTO api_message (site_id, type, position, received_at, occurred_at, size, status, reason, detail,
                                 warnings, effects, attempts, waiting_for)
        VALUES (%(site)s, 'identify', 0, now(), now(), 38, 'pending', '', '', '{}', '{}', 0, '')
        RETURNING site_id, id
    )
    INSERT INTO api_messagebody (site_id, id, body, content_encoding)
    SELECT site_id, id, '{"type":"identify","userId":"by-hand"}', '' FROM message
    RETURNING id
    """
    return int(stack.fetch(sql, site=site.id)[0][0])


def fill_disk(_: Stack, figures: FaultFigures, chooser: random.Random) -> Ledger:
    """Fill the disk of PostgreSQL on a separate stack, then free it."""
    ledger = Ledger("A full disk")
    with small_disk() as place, running_stack(place / "data") as stack:
        site = stack.sites.pop()
        filler = place / "filler"
        with running_workers(stack, 1):
            with under_load(stack, site, figures, chooser) as sender:
                fill(filler)
                answered = len(sender.answers)
                wait_until(lambda: "503" in sender.answers[answered:], "an answer 503")
                note_doctor(ledger, stack.doctor, "the full disk", r"(?i)FAIL .*(disk|space)")
                is_ready = any(stack.is_ready(web) for web in stack.ports)
                ledger.require_true("no web server says it is ready", holds=not is_ready)
                time.sleep(figures.seconds)
                ledger.note("answered 503 meanwhile", sender.answers[answered:].count("503"))
                filler.unlink()
                if any(
                    child.name == "postgresql" and child.process.poll() is not None for child in stack.servers.children
                ):
                    ledger.note("PostgreSQL had to be started again", 1)
                    stack.stop_server("postgresql", signal.SIGQUIT)
                    stack.start_server("postgresql")
                begun = time.monotonic()
                wait_until(partial(sender.was_answered_since, begun), "an answer 2xx after the disk was freed")
                ledger.note("accepts again after, s", time.monotonic() - begun)
            book_answers(ledger, sender)
            book_effects(ledger, stack, sender)
            book_incidents(ledger, stack)
    return ledger


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a small temporary file system; needs root."""
    with tempfile.TemporaryDirectory(prefix="goalpost-disk-") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", name], check=True)
        try:
            Path(name, "data").mkdir()
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def can_mount() -> bool:
    """Return True if this account may mount a file system."""
    with tempfile.TemporaryDirectory() as name:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", name], check=False, capture_output=True).returncode:
            return False
        return subprocess.run(["umount", name], check=False).returncode == 0


def fill(filler: Path) -> None:
    """Write a file until the file system is full."""
    with filler.open("wb", buffering=0) as file:
        piece = bytes(2**20)
        while True:
            try:
                file.write(piece)
            except OSError:
                if len(piece) == 1:
                    return
                piece = piece[: max(1, len(piece) // 16)]
