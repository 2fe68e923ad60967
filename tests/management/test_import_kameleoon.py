"""`manage.py import_kameleoon`: from exports, from a host, again, and only tried."""

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from api.ingest.provisioning import create_site
from api.management import kameleoon_import
from api.models import AuditEntry, Site
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from goals.flags.models import FeatureFlag
from goals.models import Goal
from tests.support.management_api import Caller, make_goal
from tests.support.segments import make_segment
from tests.world import SITECODE, World

GOALS = [
    {"id": 412_345, "name": "Bought", "type": "CUSTOM", "hasMultipleConversions": True, "tags": ["shop"]},
    {"id": 412_346, "name": "Old", "type": "CLICK", "status": "INACTIVE"},
]
CUSTOM = [
    {"index": 3, "name": "plan", "type": "UNIQUE", "format": "STRING", "scope": "VISITOR", "method": "GTM"},
    {"index": 4, "name": "tags", "type": "LIST", "isLocalOnly": True},
]


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    (tmp_path / "goals.json").write_text(json.dumps(GOALS))
    (tmp_path / "custom-datas.json").write_text(json.dumps(CUSTOM))
    return tmp_path


def run(source: object, *options: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("import_kameleoon", SITECODE, str(source), *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_import__of_exports__keeps_ids_names_tags_and_state(world: World, exports: Path) -> None:
    out, err = run(exports)

    assert out == "4 created, 0 existed, 0 left out\n"
    assert "CLICK" in err
    assert "GTM" in err
    bought, old = Goal.objects.filter(site=world.site).order_by("pk")
    assert (bought.pk, bought.name, bought.has_multiple_conversions, bought.archived_at) == (
        412_345,
        "Bought",
        True,
        None,
    )
    assert [tag.name for tag in bought.tags.all()] == ["shop"]
    assert (old.type, old.origin, old.archived_at is not None) == ("CLICK", "import", True)
    assert list(CustomData.objects.values_list("index", "name", "type", "is_local_only")) == [
        (3, "plan", "UNIQUE", False),
        (4, "tags", "LIST", True),
    ]
    assert make_goal(world, "New").pk > 412_346


def test_import__of_a_goal_that_takes_events_of_another__is_logged_for_both(world: World, exports: Path) -> None:
    world.track("Bought")
    loser = Goal.objects.get()

    run(exports)

    what = f"Moved events of the goal {loser.pk} to the goal 412345"
    assert AuditEntry.objects.get(what=what).before == {"events": ["track Bought"]}


def test_import__again__creates_nothing_and_goes_on(world: World, exports: Path) -> None:
    run(exports)
    Goal.objects.filter(pk=412_346).delete()

    out, _ = run(exports)

    assert out == "1 created, 3 existed, 0 left out\n"


def test_import__with_a_configuration__brings_its_flags(world: World, exports: Path) -> None:
    variations: list[dict[str, Any]] = [{"key": key, "name": key, "variables": []} for key in ("off", "on")]
    flag = {"id": 5, "featureKey": "ff1", "environmentEnabled": True, "defaultVariationKey": "off", "rules": []}
    file = {"configuration": {}, "customData": [], "segments": [], "featureFlags": [{**flag, "variations": variations}]}
    (exports / "configuration.json").write_text(json.dumps(file))

    assert "would import: 1 flags" in run(exports, "--dry-run")[0]
    assert "imported: 1 flags created" in run(exports)[0]
    assert FeatureFlag.objects.get().key == "ff1"


def test_import__only_tried__changes_nothing(world: World, exports: Path) -> None:
    out, _ = run(exports, "--dry-run")

    assert out == "4 would be created, 0 existed, 0 left out\n"
    assert not Goal.objects.exists()
    assert not CustomData.objects.exists()


def test_import__of_what_cannot_be__lists_each_with_a_reason(world: World, tmp_path: Path) -> None:
    other = Goal.objects.create(site=create_site(name="Else"), name="Elsewhere")
    mine = make_goal(world, "Bought")
    CustomData.objects.create(site=world.site, index=1, name="mine")
    goals = [
        {"id": "x", "name": "No id"},
        {"id": 7_001, "name": ""},
        {"id": 7_002, "name": "Bought"},
        {"id": other.pk, "name": "Other's id"},
        {"id": 7_003, "name": "Odd", "type": "TREE"},
    ]
    custom = [{"index": 1, "name": "theirs"}, {"name": "none"}, {"index": 2, "name": "c", "isConstant": True}]
    (tmp_path / "goals.json").write_text(json.dumps(goals))
    (tmp_path / "custom-datas.json").write_text(json.dumps(custom))

    out, err = run(tmp_path)

    assert out == "0 created, 0 existed, 8 left out\n"
    for reason in (
        "goal x: its id",
        "goal 7001: its name",
        f"goal 7002: goal {mine.pk} has this name",
        f"goal {other.pk}: a goal of another site has this id",
        "goal 7003: there is no type TREE",
        "custom data 1: the site defines it otherwise",
        "custom data None: it has no index",
        "custom data 2: constant",
    ):
        assert reason in err


@pytest.mark.parametrize("text", ["{", "{}", "[1]"])
def test_import__of_an_export_that_is_none__is_refused(world: World, tmp_path: Path, text: str) -> None:
    (tmp_path / "goals.json").write_text(text)

    with pytest.raises(CommandError, match="cannot be read"):
        run(tmp_path)


def test_import__of_a_place_that_is_none__is_refused(world: World) -> None:
    with pytest.raises(CommandError, match="no directory"):
        run("/nowhere/at/all")


def test_import__from_a_host__reads_all_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is this Goalpost: another site of it."""
    monkeypatch.setattr(kameleoon_import, "PER_PAGE", 2)
    source = create_site(name="Source")
    for number in range(5):
        Goal.objects.create(site=source, name=f"Goal {number}")
    CustomData.objects.create(site=source, index=9, name="plan")
    plan = {"on": "customData", "index": 9, "test": {"type": "text", "texts": ["pro"]}}
    make_segment(source, [plan], name="pro")
    caller = Caller.build(source)

    def ask(path: str) -> tuple[Any, Mapping[str, str]]:
        answer = caller.ask("GET", path)
        assert answer.status_code == 200, answer.content
        return json.loads(answer.content), {name.lower(): value for name, value in answer.items()}

    export = kameleoon_import.read_host(ask, source.sitecode)
    Site.objects.filter(pk=source.pk).update(name="Moved")
    Goal.objects.filter(site=source).delete()
    report = kameleoon_import.import_export(world.site, export, now=timezone.now(), is_try=False)

    assert (report.created, report.left_out) == (7, [])
    assert Segment.objects.get(site=world.site).conditions == [[plan]]
    names = Goal.objects.filter(site=world.site).order_by("name").values_list("name", flat=True)
    assert list(names) == [f"Goal {number}" for number in range(5)]
    with pytest.raises(kameleoon_import.UnreadableExportError, match="no site"):
        kameleoon_import.read_host(ask, "aaaaaaaaaa")
