"""The law that each statement names its site: its judge, its lists, and the statements that it records."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import UniqueConstraint

from tests.support.site_judge import judge
from tests.support.site_law import (
    ALLOWED_PLACES,
    COMMON_APPS,
    COMMON_TABLES,
    ROOT,
    list_site_tables,
    recorder,
)

TABLES: Final = {"goal", "hit", "tag"}
MISSING: Final = "site_id = <constant> is missing"
PER_ROW: Final = "a subquery with LIMIT and a lock may run once a row: put it into WITH"

RIGHT: Final = {
    "a parameter": "SELECT 1 FROM goal WHERE site_id = %s AND id = %s",
    "a named parameter": "SELECT 1 FROM goal g WHERE g.site_id = %(site)s::bigint",
    "a literal": "SELECT 1 FROM goal g WHERE 7 = g.site_id",
    "a row": "SELECT 1 FROM goal g WHERE (g.site_id, g.name) = (%s, %s)",
    "no site": "SELECT 1 FROM goal WHERE site_id IS NULL",
    "each relation": "SELECT 1 FROM goal g, hit h WHERE g.site_id = %(s)s AND h.site_id = %(s)s",
    "an inner join": "SELECT 1 FROM goal g JOIN hit h ON h.id = g.id AND h.site_id = g.site_id WHERE g.site_id = %s",
    "the joined side": "SELECT 1 FROM goal g JOIN hit h ON h.site_id = g.site_id WHERE h.site_id = %s",
    "an outer join": "SELECT 1 FROM goal g LEFT JOIN hit h ON h.site_id = g.site_id WHERE g.site_id = 1",
    "a right join": "SELECT 1 FROM hit h RIGHT JOIN goal g ON h.site_id = g.site_id WHERE g.site_id = 1",
    "three tables": "SELECT 1 FROM goal JOIN hit h USING (site_id) JOIN tag t USING (site_id) WHERE site_id = 1",
    "the site's own row": "SELECT 1 FROM goal g JOIN api_site s ON s.id = g.site_id WHERE s.id = %s",
    "other tables": "SELECT 1 FROM api_site s, unnest(%s::bigint[]) AS u (site_id), pg_class c WHERE s.id = u.site_id",
    "a subquery": "SELECT 1 FROM goal g WHERE g.site_id = %s AND EXISTS (SELECT 1 FROM hit h WHERE h.site_id = %s)",
    "WITH": "WITH goal AS (SELECT 1 FROM hit WHERE site_id = %s) SELECT 1 FROM goal",
    "a union": "SELECT 1 FROM goal WHERE site_id = %s UNION SELECT 1 FROM hit WHERE site_id = %s",
    "an insert": "INSERT INTO goal (name, site_id) VALUES (%s, %s), (%s, %s) ON CONFLICT DO NOTHING",
    "an insert of rows": "INSERT INTO goal (site_id, name) SELECT %s, name FROM unnest(%s::text[]) AS u (name)",
    "an insert of a site's rows": "INSERT INTO hit (site_id) SELECT g.site_id FROM goal g WHERE g.site_id = %s",
    "an upsert": "INSERT INTO goal (site_id, a) VALUES (%s, 1) ON CONFLICT (site_id, b) DO UPDATE SET a = excluded.a",
    "an update": "UPDATE goal g SET a = 1 FROM hit h WHERE g.site_id = %s AND h.site_id = g.site_id",
    "a deletion": "DELETE FROM goal g USING hit h WHERE g.site_id = %s AND h.site_id = %s",
    "chosen rows": """WITH c AS (SELECT id FROM goal WHERE site_id = %s LIMIT 3 FOR UPDATE SKIP LOCKED)
        DELETE FROM goal g USING c WHERE g.site_id = %s AND g.id = c.id""",
    "copied rows": "COPY goal (site_id, name) FROM STDIN",
    "a plan": "EXPLAIN SELECT 1 FROM goal WHERE site_id = 1",
    "several statements": "SET work_mem = '4MB'; SELECT 1 FROM goal WHERE site_id = 1",
    "nothing": "",
}
WRONG: Final = {
    "an id": ("SELECT 1 FROM goal WHERE id = %s", [f"goal: goal.{MISSING}"]),
    "one of two": ("SELECT 1 FROM goal g, hit h WHERE g.site_id = %s AND h.goal_id = g.id", [f"hit: h.{MISSING}"]),
    "several sites": ("SELECT 1 FROM goal WHERE site_id IN (%s, %s)", [f"goal: goal.{MISSING}"]),
    "an array": ("SELECT 1 FROM goal WHERE site_id = ANY(%s)", [f"goal: goal.{MISSING}"]),
    "joined sites": ("SELECT 1 FROM goal g JOIN unnest(%s::int[]) u (s) ON u.s = g.site_id", [f"goal: g.{MISSING}"]),
    "a comparison": ("SELECT 1 FROM goal WHERE site_id >= %s", [f"goal: goal.{MISSING}"]),
    "an alternative": ("SELECT 1 FROM goal WHERE site_id = %s OR id = %s", [f"goal: goal.{MISSING}"]),
    "a negation": ("SELECT 1 FROM goal WHERE NOT site_id = %s", [f"goal: goal.{MISSING}"]),
    "a scalar": ("SELECT 1 FROM goal WHERE site_id = (SELECT 1)", [f"goal: goal.{MISSING}"]),
    "the sitecode": (
        "SELECT 1 FROM goal g JOIN api_site s ON s.id = g.site_id WHERE s.sitecode = %s",
        [f"goal: g.{MISSING}"],
    ),
    "another scope": (
        "SELECT 1 FROM goal g WHERE g.site_id = %s AND EXISTS (SELECT 1 FROM hit h WHERE h.site_id = g.site_id)",
        [f"hit: h.{MISSING}"],
    ),
    "a lateral": (
        "SELECT 1 FROM goal g, LATERAL (SELECT 1 FROM hit h WHERE h.site_id = g.site_id LIMIT 1) x WHERE g.site_id = 1",
        [f"hit: h.{MISSING}"],
    ),
    "the kept side of an outer join": (
        "SELECT 1 FROM goal g LEFT JOIN hit h ON h.site_id = g.site_id AND g.site_id = %s",
        [f"goal: g.{MISSING}", f"hit: h.{MISSING}"],
    ),
    "back over an outer join": (
        "SELECT 1 FROM goal g LEFT JOIN hit h ON h.site_id = g.site_id AND h.site_id = %s",
        [f"goal: g.{MISSING}"],
    ),
    "rows that an outer join lacks": (
        "SELECT 1 FROM goal g LEFT JOIN hit h ON h.goal_id = g.id WHERE g.site_id = %s AND h.site_id IS NULL",
        [f"hit: h.{MISSING}"],
    ),
    "a full join": (
        "SELECT 1 FROM goal g FULL JOIN hit h ON h.site_id = g.site_id WHERE g.site_id = 1",
        [f"hit: h.{MISSING}"],
    ),
    "WITH of all": ("WITH c AS (SELECT * FROM goal) SELECT 1 FROM c WHERE site_id = %s", [f"goal: goal.{MISSING}"]),
    "an insert without": ("INSERT INTO goal (name) VALUES (%s)", ["goal: INSERT gives no site_id"]),
    "an insert of arrays": (
        "INSERT INTO goal (site_id) SELECT * FROM unnest(%s::int[])",
        ["goal: INSERT gives site_id from rows, not as a constant"],
    ),
    "an upsert by another key": (
        "INSERT INTO goal (site_id, id) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING",
        ["goal: ON CONFLICT names a key without site_id"],
    ),
    "an upsert with a subquery": (
        "INSERT INTO goal (site_id) VALUES (1) ON CONFLICT (site_id) DO UPDATE SET a = (SELECT 1)",
        ["goal: DO UPDATE contains a subquery: write UPDATE, then INSERT"],
    ),
    "an upsert with a clock": (
        "INSERT INTO goal (site_id) VALUES (1) ON CONFLICT (site_id) DO UPDATE SET a = now()",
        ["goal: DO UPDATE reads a clock or adds an interval: pass or insert the value"],
    ),
    "an update by id": ("UPDATE goal SET a = 1 WHERE id = %s", [f"goal: goal.{MISSING}"]),
    "a deletion by another": (
        "DELETE FROM goal g USING hit h WHERE h.site_id = %s AND g.id = h.goal_id",
        [f"goal: g.{MISSING}"],
    ),
    "chosen by IN": (
        "DELETE FROM goal WHERE site_id = 1 AND id IN (SELECT id FROM goal WHERE site_id = 1 LIMIT 3 FOR UPDATE)",
        [f"goal: {PER_ROW}"],
    ),
    "chosen by ANY": (
        "UPDATE goal SET a = 1 WHERE site_id = 1 AND id = ANY(SELECT 1 FROM goal WHERE site_id = 1 LIMIT 3 FOR SHARE)",
        [f"goal: {PER_ROW}"],
    ),
    "chosen by FROM": (
        """UPDATE goal g SET a = 1 FROM (SELECT id FROM goal WHERE site_id = 1 LIMIT 3 FOR UPDATE) c
            WHERE g.site_id = 1 AND g.id = c.id""",
        [f"goal: {PER_ROW}"],
    ),
    "a merge": (
        "MERGE INTO goal g USING api_site s ON s.id = g.site_id WHEN MATCHED THEN DELETE",
        ["goal: MERGE is not read here: write UPDATE, then INSERT"],
    ),
    "a copied table": ("COPY goal TO STDOUT", ["goal: COPY gives no site_id"]),
    "a copied query": ("COPY (SELECT 1 FROM goal) TO STDOUT", [f"goal: goal.{MISSING}"]),
}


@pytest.mark.parametrize("case", RIGHT)
def test_judge__statement_that_names_its_site__finds_nothing(case: str) -> None:
    assert judge(RIGHT[case], TABLES, has_parameters=True).faults == ()


@pytest.mark.parametrize("case", WRONG)
def test_judge__statement_that_does_not__names_table_and_fault(case: str) -> None:
    statement, faults = WRONG[case]

    found = judge(statement, TABLES, has_parameters=True).faults

    assert [f"{fault.table}: {fault.text}" for fault in found] == faults


def test_judgement__of_two_sites__names_both() -> None:
    statement = "SELECT '%%' FROM goal g, hit h WHERE g.name = %s AND g.site_id = %s AND h.site_id = %s"
    named = "SELECT 1 FROM goal g, hit h WHERE g.site_id = %(one)s AND h.site_id = %(other)s AND g.name = %(name)s"

    assert judge(statement, TABLES, has_parameters=True).name_sites(["x", 1, 2]) == {1, 2}
    assert judge(statement, TABLES, has_parameters=True).name_sites(("x", 1, 1)) == {1}
    assert judge(named, TABLES, has_parameters=True).name_sites({"name": "x", "one": 1, "other": 2}) == {1, 2}
    assert judge("SELECT 1 FROM goal WHERE site_id = 5", TABLES, has_parameters=False).name_sites(None) == set()


def test_tables__without_a_site__are_listed_with_a_reason() -> None:
    models = [model for model in apps.get_models(include_auto_created=True) if model._meta.app_label not in COMMON_APPS]
    tables = {model._meta.db_table for model in models}

    without = tables - list_site_tables() - set(COMMON_TABLES)

    assert without == set()
    assert set(COMMON_TABLES) <= tables


def test_places__of_the_lists__exist() -> None:
    assert [place for place in ALLOWED_PLACES if not [*ROOT.glob(place.partition(":")[0].rstrip("/"))]] == []


@pytest.fixture
def offences(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the offences of this test alone, which do not fail it."""
    found: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "offences", found)
        patch.setattr(recorder, "is_strict", False)
        yield found


def compile_sender(path: str) -> Callable[..., Any]:
    """Return a function that sends a statement from this path of the project."""
    names: dict[str, Any] = {"connection": connection}
    code = "def send(sql, *parameters):\n    with connection.cursor() as cursor: cursor.execute(sql, *parameters)\n"
    exec(compile(code, ROOT / path, "exec"), names)  # the path of a function is that of its code
    send: Callable[..., Any] = names["send"]
    return send


@pytest.mark.django_db
def test_statement__of_the_product_without_its_site__is_an_offence(offences: list[str]) -> None:
    send = compile_sender("api/alerts/outbox.py")

    send("SELECT 1 FROM api_alert WHERE site_id = %s", [1])
    assert offences == []

    send("SELECT 1 FROM api_alert WHERE id = %s", [1])
    send("SELECT 1 FROM api_alert a, api_rule r WHERE a.site_id = %s AND r.site_id = %s", [1, 2])

    assert [text.splitlines()[:2] for text in offences] == [
        ["api/alerts/outbox.py:send api_alert", f"    api_alert.{MISSING}"],
        ["api/alerts/outbox.py:send two-sites", "    the statement names the sites ['1', '2']"],
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["tests/a.py", "api/checks/a.py", "api/migrations/0001_a.py", "api/management/commands/a.py"]
)
def test_statement__from_an_allowed_place__is_none(offences: list[str], path: str) -> None:
    compile_sender(path)("SELECT 1 FROM api_alert")

    assert offences == []


def test_unique_keys__of_tables_with_sites__begin_with_the_site() -> None:
    models = [model for model in apps.get_models() if model._meta.db_table in list_site_tables()]
    keys = {
        key.name: key.fields for model in models for key in model._meta.constraints if isinstance(key, UniqueConstraint)
    }
    alone = {
        f"{model.__name__}.{field.name}"
        for model in models
        for field in model._meta.local_fields
        if field.unique and not field.primary_key
    }

    assert {name: fields for name, fields in keys.items() if fields[:1] != ("site",)} == {}
    assert alone == set()
