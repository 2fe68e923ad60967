"""Faults of a Goalpost that `make run` started: a killed child and a lost secret key."""

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from dotenv import dotenv_values

from api.http.credentials import encode_api_key
from tests.chaos.events import make_events
from tests.chaos.faults import FaultFigures
from tests.chaos.ledger import Ledger, book_answers, book_effects
from tests.chaos.sender import Sender, paced, take_until
from tests.chaos.stack import Site, Stack, find_free_port, wait_until
from tests.runtime.installation import Installation

# Part of the command line of each child of `make run`.
CHILDREN: Final = {"web": "granian", "worker": "api.celery worker ", "beat": "api.celery beat "}
DAMAGES: Final = {"gone": None, "empty": b"", "garbage": b"\xff\xfe\0", "another": b"x" * 50}


class Product(Installation):
    """A Goalpost that `manage.py up` runs, its database and its first site."""

    def fetch(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        address = dotenv_values(self.data_dir / "servers.env")["DATABASE_URL"]
        with psycopg.connect(str(address), autocommit=True) as connection:
            return connection.execute(sql, parameters).fetchall()

    def site(self) -> Site:
        """Return the first site with its credential."""
        first = dotenv_values(self.data_dir / "first-site.env")
        (id_,) = self.fetch("SELECT id FROM api_site WHERE sitecode = %(s)s", s=self.sitecode())[0]
        key = encode_api_key(str(first["GOALPOST_CLIENT_ID"]), str(first["GOALPOST_CLIENT_SECRET"]))
        return Site(id_, self.sitecode(), f"Basic {key}")

    def count(self, site: Site, *statuses: str) -> int:
        sql = "SELECT count(*) FROM api_message WHERE site_id = %(s)s AND status = ANY(%(statuses)s)"
        return int(self.fetch(sql, s=site.id, statuses=list(statuses))[0][0])

    def is_digested(self, site: Site) -> bool:
        return not self.count(site, "pending", "deferred")

    def children(self, name: str) -> set[int]:
        """Return the process ids of web, worker or beat."""
        return {pid for pid, command in self.processes().items() if CHILDREN[name] in f"{command} "}

    def stop(self) -> None:
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGINT)
            self.seconds_until_gone()


@contextmanager
def running_product() -> Iterator[Product]:
    """Run a Goalpost until the block ends."""
    with tempfile.TemporaryDirectory(prefix="goalpost-product-") as name:
        product = Product(Path(name) / "data", port=find_free_port())
        try:
            product.ensure_running()
            yield product
        finally:
            product.stop()


def kill_children(_: Stack, figures: FaultFigures, chooser: random.Random) -> Ledger:
    """Kill web, worker and beat of `make run` in turn under steady load."""
    ledger = Ledger("A child of `make run` is killed")
    with running_product() as product:
        site = product.site()
        sender, is_over = Sender(site, [product.port]), threading.Event()
        events = make_events(chooser, people=figures.people, goals=9)
        with sender.sending(paced(chooser, take_until(is_over, events), per_second=figures.per_second)):
            wait_until(lambda: product.count(site, "done"), "the first processed event")
            for name in CHILDREN:
                kill_one(ledger, product, site, sender, name)
            is_over.set()
        wait_until(lambda: product.is_digested(site), "the digest")
        ledger.require_true("`make run` still runs", holds=product.up is not None and product.up.poll() is None)
        book_answers(ledger, sender)
        book_effects(ledger, product, sender)
    return ledger


def kill_one(ledger: Ledger, product: Product, site: Site, sender: Sender, name: str) -> None:
    """Kill the first process of web, worker or beat, and note when its successor works."""
    before, begun = product.children(name), time.monotonic()
    os.kill(product.process_of(CHILDREN[name].strip()), signal.SIGKILL)
    wait_until(lambda: bool(now := product.children(name)) and not now & before, f"another {name}")
    ledger.note(f"{name}: runs again after, s", time.monotonic() - begun)
    at = time.monotonic()
    wait_until(lambda: sender.was_answered_since(at), "an answer 2xx")
    processed = product.count(site, "done")
    wait_until(lambda: product.count(site, "done") > processed, "the digest")
    ledger.note(f"{name}: all goes on after, s", time.monotonic() - begun)


def lose_key(_: Stack, figures: FaultFigures, chooser: random.Random) -> Ledger:
    """Remove and damage the secret key between two starts, then restore it."""
    ledger = Ledger("The secret key is lost")
    with running_product() as product:
        site = product.site()
        sender, events = Sender(site, [product.port]), make_events(chooser, people=figures.people, goals=9)
        with sender.sending(event for event, _ in zip(events, range(50), strict=False)):
            pass
        wait_until(lambda: product.is_digested(site), "the digest")
        product.stop()
        key = product.data_dir / "secret-key"
        kept = key.read_bytes()
        for name in figures.damages:
            damage = DAMAGES[name]
            key.unlink(missing_ok=True)
            if damage is not None:
                key.write_bytes(damage)
            begun = time.monotonic()
            ran = product.command("up")
            output = ran.stdout + ran.stderr
            ledger.note(f"{name}: refused after, s", time.monotonic() - begun)
            ledger.require_true(f"{name}: the start is refused", holds=ran.returncode != 0)
            last_line = output.strip().split("\n")[-1].lower()
            ledger.require_true(f"{name}: its last line is about the key", holds="secret" in last_line)
            ledger.require_true(f"{name}: without a traceback", holds="Traceback" not in output)
        key.unlink(missing_ok=True)
        key.write_bytes(kept)
        product.ensure_running()
        book_answers(ledger, sender)
        book_effects(ledger, product, sender)
    return ledger
