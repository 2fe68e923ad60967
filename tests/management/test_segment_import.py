"""`manage.py import_kameleoon`: segments from exports, again, and those that Goalpost cannot judge."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command

from api.models import AuditEntry
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from tests.support.management_api import make_goal
from tests.world import SITECODE, World


def run(source: Path, *options: str) -> tuple[str, list[str]]:
    out, err = StringIO(), StringIO()
    call_command("import_kameleoon", SITECODE, str(source), *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue().splitlines()


def segment(id_: Any, name: Any, *conditions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    group = {"orOperators": [True] * (len(conditions) - 1), "conditions": list(conditions)}
    found = {"firstLevelOrOperators": [], "firstLevel": [group]}
    return {"id": id_, "name": name, "segmentType": "STANDARD", "conditionsData": found, **fields}


def datum(value: str, **fields: Any) -> dict[str, Any]:
    return {"targetingType": "CUSTOM_DATUM", "valueMatchType": "EXACT", "value": value, **fields}


def named(id_: int) -> dict[str, Any]:
    return {"targetingType": "SEGMENT", "segmentId": id_, "isInclude": False}


def save(directory: Path, *segments: dict[str, Any]) -> None:
    (directory / "segments.json").write_text(json.dumps(segments))


def test_import__of_segments__brings_those_that_others_name_first(world: World, tmp_path: Path) -> None:
    goal = make_goal(world, "Bought")
    (tmp_path / "custom-datas.json").write_text(json.dumps([{"id": 501, "index": 3, "name": "plan"}]))
    save(
        tmp_path,
        segment(8, "Not paying", named(7)),
        segment(7, "Paying", datum("pro", customDataId=501), {"targetingType": "CONVERSIONS", "goalId": goal.pk}),
    )

    tried, _ = run(tmp_path, "--dry-run")
    assert tried == "3 would be created, 0 existed, 0 left out\n"
    assert not Segment.objects.exists()
    assert run(tmp_path)[0] == "3 created, 0 existed, 0 left out\n"

    paying, other = Segment.objects.order_by("pk")
    assert paying.conditions == [
        [
            {"on": "customData", "index": 3, "test": {"type": "text", "texts": ["pro"]}},
            {"on": "goal", "goal": goal.pk},
        ]
    ]
    assert paying.counted_goals == [goal.pk]
    assert other.conditions == [[{"on": "segment", "segment": paying.pk, "negated": True}]]
    assert run(tmp_path)[0] == "0 created, 3 existed, 0 left out\n"
    assert AuditEntry.objects.filter(who="manage.py import_kameleoon").exists()


def test_import__of_segments_that_cannot_be_judged__lists_each_with_a_reason(world: World, tmp_path: Path) -> None:
    CustomData.objects.create(site=world.site, index=3, name="plan")
    run_first = segment(1, "Mine", datum("pro", customDataIndex="3"))
    save(tmp_path, run_first)
    run(tmp_path)
    save(
        tmp_path,
        segment(1, "Mine", datum("free", customDataIndex="3")),
        segment(2, "By page", {"targetingType": "PAGE_URL", "url": "/", "matchType": "EXACT"}),
        segment(3, "By that", named(2)),
        segment(4, "Round", named(5)),
        segment(5, "About", named(4)),
        segment(6, "", datum("pro", customDataIndex="3")),
        segment(7, "Other", datum("pro", customDataIndex="4")),
        {"id": 8, "name": "Empty"},
    )

    out, err = run(tmp_path)

    assert out == "0 created, 0 existed, 8 left out\n"
    for reason in (
        "segment 1: the site has another segment of this name",
        "segment 2: It asks for PAGE_URL",
        "segment 3: It names the segment 2, which is not here",
        "segment 4: It names the segment 5, which is not here",
        "segment 5: It names the segment 4, which is not here",
        "segment 6: its name has not",
        "segment 7: [0][0].index: The site has no custom data with the index 4",
        "segment 8: It has no conditions",
    ):
        assert any(line.startswith(reason) for line in err), (reason, err)
    assert Segment.objects.count() == 1
