"""Pytest plugin: a test fails if the product sends a statement in it that does not name its site.

Each text is parsed once a process. The plugin looks at the stack only if a statement has a fault.
"""

import json
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import Any, Final

import pytest
from pglast.parser import ParseError
from psycopg import AsyncCursor, AsyncServerCursor, Cursor, ServerCursor, sql

from tests.support.site_judge import SITE, Fault, Judgement, judge

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("api", "goals", "cohorts", "tests")

# Tables whose rows are not of one site, or are asked for before the site is known.
COMMON_TABLES: Final = {
    "api_site": "the list of sites",
    "api_writekey": "finds the source, and so the site, of a request",
    "api_credential": "opens several sites",
    "api_credential_sites": "finds the sites of a credential",
    "api_managementtoken": "opens several sites",
    "api_managementtoken_sites": "finds the sites of a token",
    "api_membership": "finds the sites of a person",
    "api_profile": "what a person chose for all sites",
    "api_keyfingerprint": "one row of the installation",
    "api_heartbeat": "processes of the installation",
    "api_databaseclock": "one row of the installation",
    "api_backfill": "progress of a command over all sites",
}
# Applications of Django, whose tables know no sites.
COMMON_APPS: Final = {"auth", "contenttypes", "sessions", "admin", "messages", "staticfiles"}

# The beginnings of `path:function` from which a statement may go to all sites.
ALLOWED_PLACES: Final = {
    "tests/": "a test looks at rows of all sites",
    "api/checks/": "`verify` reads the whole database, in one snapshot",
    "api/management/": "commands of the operator, over all sites",
    "site_rows.py:lock_first": "finds the site whose turn it is",
    "api/http/refused_keys.py:find_sites": "a refused key names no site; the sites that it once opened are found by it",
    "api/http/refused_keys.py:find_sites_with_old_rows": "finds the sites with rows to delete",
    "goals/visit_pruning.py:list_next": "finds the sites with old rows, by the order of ids",
    "api/http/credentials.py:_find_site": "finds the site of a sitecode, with its source and rules",
    "api/http/credentials.py:_find_source": "finds the site of a write key, with its source and rules",
    "api/http/credentials.py:find_sources": "finds the sites of write keys, with their sources and rules",
    "api/digest/run.py:_pending_sites": "finds the sites with pending messages, and the first of each",
    "api/ingest/nudge.py:count_pending": "counts the pending messages of all sites, once a second",
    "api/digest/claims.py:find_notes": "finds the sites with notes of workers, once a second",
    "api/digest/segments.py:list_sites": "finds the sites with segments, once a second",
    "api/alerts/evaluate.py:list_watched_sites": "finds the sites with alerts, once a round",
    "goals/day_zones.py:list_sites_to_recount": "finds the sites with goals to count again, every five seconds",
    "goals/waiting.py:list_waiting_sites": "finds the sites with waiting names, once a second",
    "api/digest/rekey.py": "work of `manage.py rekey`, over all sites",
    "api/pages/tables.py": "the tables that Django's administrators read, over all sites",
}
# Modules that send the statements of their callers.
TRANSPORTS: Final = {"api/http/database.py", "site_rows.py"}


@dataclass
class Recorder:
    """The statements of this process, and the faults of the test that runs."""

    judgements: dict[tuple[str, bool], Judgement] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=dict)  # of each text with a fault
    offences: list[str] = field(default_factory=list)
    is_strict: bool = True

    def note(self, query: Any, parameters: Any, connection: Any) -> None:
        """Judge a statement that is about to be sent."""
        text = query.decode() if isinstance(query, bytes) else query
        if isinstance(text, sql.Composable):
            text = text.as_string(connection)
        if text.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):  # a new name each time
            return
        key = (text, parameters is not None)
        judgement = self.judgements.get(key)
        if judgement is None:
            judgement = self.judgements[key] = _judge(*key)
        faults = judgement.faults
        if len(judgement.site_parameters) > 1 and len(sites := judgement.name_sites(parameters)) > 1:
            faults = (*faults, Fault("two-sites", f"the statement names the sites {sorted(map(str, sites))}"))
        if faults:
            self._note_faults(text, faults)

    def _note_faults(self, text: str, faults: tuple[Fault, ...]) -> None:
        place = find_place()
        if place is None or place.startswith(tuple(ALLOWED_PLACES)):
            return
        for fault in faults:
            line = f"{place} {fault.table}"
            self.places.setdefault(text, set()).add(line)
            self.offences.append(f"{line}\n    {fault.text}\n    {' '.join(text.split())[:1_000]}")

    def raise_offences(self) -> None:
        """Fail the test that runs if it sent a statement with a fault."""
        if self.offences and self.is_strict:
            offences = "\n".join(dict.fromkeys(self.offences))
            self.offences.clear()
            pytest.fail(f"Statements do not name their site (tests/support/site_law.py):\n{offences}", pytrace=False)


recorder = Recorder()


def _judge(text: str, has_parameters: bool) -> Judgement:  # noqa: FBT001 - the key of a dict
    try:
        return judge(text, list_site_tables(), has_parameters=has_parameters)
    except ParseError:  # a test sends text that is no SQL, and PostgreSQL refuses it
        return Judgement((), ())


@cache
def list_site_tables() -> frozenset[str]:
    """Return the tables with a column of the site, except those of no single site."""
    from django.apps import apps

    return frozenset(
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if any(field.column == SITE for field in model._meta.local_concrete_fields)
    ).difference(COMMON_TABLES)


def find_place() -> str | None:
    """Return `path:function` of the project's code that sends the statement, or None for a migration."""
    place = None
    for path, function in _list_frames():
        if "/migrations/" in path:
            return None
        if place is None and (path not in TRANSPORTS or f"{path}:{function}" in ALLOWED_PLACES):
            place = f"{path}:{function}"
            if place.startswith(tuple(ALLOWED_PLACES)):  # otherwise one of Django's migrations may be further out
                return place
    return place or "?:?"


def _list_frames() -> Iterator[tuple[str, str]]:
    """Yield path and function of the project's frames and of Django's migrations, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        path, function = _find_path(frame.f_code.co_filename)
        if path:
            yield path, function or frame.f_code.co_qualname.partition(".<locals>")[0]
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop


@cache  # a stack has a hundred frames
def _find_path(file: str) -> tuple[str, str]:
    """Return the path of a file from our root, "" for a file to leave out, and a function if all count as one."""
    path = Path(file)
    if path.parts[-4:-1] == ("django", "db", "migrations"):
        return path.as_posix(), "migrate"
    if path.parent.parts[-3:] == ("contrib", "admin", "templatetags") or path.parent.name == "admin":
        return "api/pages/tables.py", "render"  # a list of Django's admin is read while its template is rendered
    if path.is_relative_to(ROOT) and path != Path(__file__):
        relative = path.relative_to(ROOT)
        if relative.parts[0] in PACKAGES or len(relative.parts) == 1:
            return relative.as_posix(), ""
    return "", ""


def _record(cursors: type[Any], name: str) -> None:
    """Let a method of psycopg's cursors note each statement."""
    method: Callable[..., Any] = cursors.__dict__[name]

    @wraps(method)
    def noting(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        parameters = arguments[0] if arguments else options.get("params", options.get("params_seq"))
        if name != "executemany":
            recorder.note(query, parameters, self.connection)
        elif isinstance(parameters, list | tuple):
            for row in parameters:
                recorder.note(query, row, self.connection)
        else:
            recorder.note(query, (), self.connection)
        return method(self, query, *arguments, **options)

    setattr(cursors, name, noting)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--statements", type=Path, help="write each statement with its faults to this file, and fail no test"
    )


def pytest_configure(config: pytest.Config) -> None:
    recorder.is_strict = config.getoption("--statements") is None
    for cursors in (Cursor, AsyncCursor, ServerCursor, AsyncServerCursor):
        for name in ("execute", "executemany", "stream", "copy"):
            if name in cursors.__dict__:
                _record(cursors, name)


def pytest_unconfigure(config: pytest.Config) -> None:
    path: Path | None = config.getoption("--statements")
    if path is not None:
        with path.open("a") as file:
            for (text, _), judgement in recorder.judgements.items():
                row = {"sql": text, "faults": [f"{fault.table}: {fault.text}" for fault in judgement.faults]}
                file.write(json.dumps({**row, "places": sorted(recorder.places.get(text, []))}) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None]:
    yield
    recorder.raise_offences()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    yield
    recorder.raise_offences()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    yield
    recorder.raise_offences()
