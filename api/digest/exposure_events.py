"""Reader of track events that say which variation of an experiment their visitor saw. Pure.

A site's settings name such events. Their properties are those of Segment's specification, or of a tool in TOOLS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from api.digest.identified_event import IdentifiedEvent
from goals.experiments.catalogue import SaidVariation
from goals.experiments.models import KEY_LENGTH, NAME_LENGTH
from goals.experiments.numbers import number_of
from goals.visit_facts import NewExposure, VisitHolder


@dataclass(frozen=True, slots=True)
class ToolProperties:
    """Properties of a tool's events, each with its spellings. The first that is there counts."""

    tag: str
    experiment: Sequence[str]
    variation: Sequence[str]
    experiment_name: Sequence[str] = ()
    variation_name: Sequence[str] = ()


# The first whose experiment and variation are both there reads the event.
TOOLS: Final = (
    # Segment's specification, and the spelling of its integration of Optimizely and of GrowthBook's examples.
    ToolProperties(
        "segment.io",
        ("experiment_id", "experimentId"),
        ("variation_id", "variationId"),
        ("experiment_name", "experimentName"),
        ("variation_name", "variationName"),
    ),
    ToolProperties("posthog", ("$feature_flag",), ("$feature_flag_response",)),
    # As Statsig forwards exposures.
    ToolProperties(
        "statsig",
        ("statsig::config", "config", "experiment"),
        ("statsig::rule_id", "statsig::group", "ruleID", "rule_id", "group"),
        (),
        ("statsig::group_name", "groupName", "group_name"),
    ),
    # The evaluation detail that LaunchDarkly's clients give to an inspector or hook.
    ToolProperties(
        "launchdarkly", ("flagKey", "flag_key", "featureFlagKey"), ("variationIndex", "variation_index", "variation")
    ),
    # Mixpanel's, which GrowthBook sends to it.
    ToolProperties("mixpanel", ("Experiment name",), ("Variant name",)),
    # Events that name both without ids.
    ToolProperties(
        "segment.io",
        ("experiment_name", "experimentName", "experiment"),
        ("variation_name", "variationName", "variation", "variant"),
    ),
)


def read_exposure(event: IdentifiedEvent) -> NewExposure | None:
    """Return the exposure that an event says, or None with a warning if it names no experiment or no variation.

    Events before the reading that knows exposures have none.
    """
    if not event.reading.reads_exposures:
        return None
    for tool in TOOLS:
        experiment, variation = _read_key(event, tool.experiment), _read_key(event, tool.variation)
        if experiment is not None and variation is not None:
            break
    else:
        event.warnings.add("odd_exposure")
        return None
    said = SaidVariation(
        number_of(experiment),
        number_of(variation),
        experiment,
        variation,
        at=event.message.occurred_at,
        experiment_name=(_read_text(event, tool.experiment_name) or "")[:NAME_LENGTH],
        variation_name=(_read_text(event, tool.variation_name) or "")[:NAME_LENGTH],
        tag=tool.tag,
    )
    if event.visitor is not None:
        return NewExposure(VisitHolder(event.visitor, is_user=False), said)
    return NewExposure(VisitHolder(event.user or "", is_user=event.user is not None), said, event.anonymous or "")


def _read_key(event: IdentifiedEvent, names: Sequence[str]) -> str | None:
    key = _read_text(event, names)
    return key if key is not None and len(key) <= KEY_LENGTH else None


def _read_text(event: IdentifiedEvent, names: Sequence[str]) -> str | None:
    """Return the first of these properties that is a text or a plain value, None if there is none."""
    texts = (_write(event.properties.get(name)) for name in names)
    return next((text for text in texts if text), None)


def _write(value: Any) -> str:
    """Return a value as a text without white space around it, empty for a value that names nothing."""
    if isinstance(value, bool):  # a flag without variants
        return "true" if value else "false"
    return str(value).strip() if isinstance(value, str | int | float) else ""
