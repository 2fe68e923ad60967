"""Segments as SDKs read them: those that a file brought, and Goalpost's own as far as every SDK judges them alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from cohorts.models import CustomData
from cohorts.segments import membership
from cohorts.segments.conditions import CompiledSegment
from cohorts.segments.sdk_conditions import ComparedCustomData, Shapes, say_segments
from goals.flags.models import ImportedSegment
from goals.flags.segment_checks import MOST_LEVELS, find_withheld

Document = Mapping[str, Any]
TOO_DEEP: Final = f"Its conditions lead through more than {MOST_LEVELS} segments."


@dataclass(frozen=True, slots=True)
class SdkSegments:
    """The segments of a site for SDKs and for evaluations by Goalpost."""

    own: frozenset[int]  # made in Goalpost
    served: Sequence[Document]
    withheld: frozenset[int]  # imported ones
    reasons: Mapping[int, str]  # of its own that are withheld
    judged_here: Sequence[Document]  # imported ones, which may lead to any of its own if Goalpost evaluates them

    @property
    def own_documents(self) -> dict[int, Document]:
        """Return Goalpost's own segments that SDKs get, by id."""
        return {document["id"]: document for document in self.served if document["id"] in self.own}


def compose_segments(imported: Sequence[Document], own: Sequence[CompiledSegment], shapes: Shapes) -> SdkSegments:
    """Return the segments of a site for SDKs. `own` has segments after those that they name. Pure."""
    said, reasons = say_segments(own, shapes)
    documents = {
        segment.id: {
            "id": segment.id,
            "name": segment.name,
            "audienceTracking": False,
            "conditionsData": said[segment.id],
        }
        for segment in own
        if segment.id in said
    }
    brought = {segment["id"]: segment for segment in imported}
    by_id: dict[int, Document] = {**documents, **brought}
    withheld = find_withheld(by_id)
    leaves = {segment.id: {"id": segment.id, "conditionsData": {"firstLevel": ()}} for segment in own}
    beyond = find_withheld({**leaves, **brought})
    return SdkSegments(
        frozenset(leaves),
        [by_id[id_] for id_ in sorted(by_id) if id_ not in withheld],
        frozenset(withheld & brought.keys()),
        reasons | dict.fromkeys(sorted(withheld - brought.keys()), TOO_DEEP),
        [segment for segment in imported if segment["id"] not in beyond],
    )


def find_sdk_segments(site_id: int) -> SdkSegments:
    """Return the segments of a site for SDKs. Three queries."""
    imported = ImportedSegment.objects.filter(site_id=site_id).values_list("document", flat=True)
    shapes = CustomData.objects.filter(site_id=site_id).values_list("index", "type", "format", "filled_from")
    own = membership.read_segments(site_id)
    return compose_segments(
        list(imported), own.ordered if own else (), {index: ComparedCustomData(*shape) for index, *shape in shapes}
    )


def take_free_id(site_id: int) -> int:
    """Return an id for a new segment that no imported one has. Two queries, two more for each id that one has.

    Call it in a transaction that has locked the configuration of the site, so that no import brings the id meanwhile.
    """
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT nextval('cohorts_segment_id_seq')")
            id_: int = cursor.fetchone()[0]
            if not ImportedSegment.objects.filter(site_id=site_id, number=id_).exists():
                return id_


def explain_withheld(site_id: int) -> Mapping[int, str]:
    """Return why SDKs do not get a segment, as a sentence, for each of Goalpost's own that they do not get.

    Rules of flags that name such a segment are left out of `/v3`. OFREP evaluates them. Three queries.
    """
    return find_sdk_segments(site_id).reasons
