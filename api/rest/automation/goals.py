"""`/goals` of the Automation API: the goals of `/api/goals`, in its lists and with PUT."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, F, OuterRef, Q, Value, When
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from api.rest import goals as api_goals
from api.rest import idempotency
from api.rest.access import caller_of
from api.rest.automation.lists import AutomationQuery, Row, named_fields, named_sites, page_of
from api.rest.goal_shapes import GoalChange, GoalShape, NewGoal
from api.rest.schema import PAGE_HEADERS, answers
from goals.models import Goal, GoalTag
from goals.queries import live_goals

FIELDS: Final[dict[str, type]] = {
    "id": int,
    "siteId": int,
    "name": str,
    "type": str,
    "status": str,
    "description": str,
    "hasMultipleConversions": bool,
    "isArchived": bool,
    "tags": str,
    "dateCreated": datetime,
    "dateModified": datetime,
}
COLUMNS: Final[Mapping[str, Any]] = {
    "id": F("pk"),
    "siteId": F("site_id"),
    "name": F("name"),
    "type": F("type"),
    "status": Case(When(archived_at=None, then=Value("ACTIVE")), default=Value("INACTIVE")),
    "description": F("description"),
    "hasMultipleConversions": F("has_multiple_conversions"),
    "isArchived": Q(archived_at__isnull=False),
    "dateCreated": F("created_at"),
    "dateModified": F("updated_at"),
}


@extend_schema(tags=["Automation API"])
class AutomationGoals(api_goals.Goals):
    """Goals by the paths of the Automation API. The other methods are those of `/api/goals`."""

    @extend_schema(
        operation_id="automationListGoals",
        parameters=[AutomationQuery, *PAGE_HEADERS],
        responses=answers(200, GoalShape(many=True), 400),
    )
    def list(self, request: Request) -> Response:
        """List goals as Kameleoon's Automation API does, one page as a JSON array."""
        query = AutomationQuery.read(request)
        names = [name for name in FIELDS if name in {"id", "siteId", *named_fields(query)}]
        rows = [row for site_id in named_sites(query, caller_of(request).site_ids) for row in list_rows(site_id, names)]
        page, headers = page_of(rows, query, FIELDS)
        goals: dict[int, Goal] = {}
        for site_id in {row["siteId"] for row in page}:
            goals |= live_goals(site_id).in_bulk([row["id"] for row in page if row["siteId"] == site_id])
        return Response([api_goals.shape(goals[row["id"]]) for row in page if row["id"] in goals], headers=headers)

    @extend_schema(
        operation_id="automationCreateGoal",
        request=NewGoal,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, GoalShape, 400, 403, 404, 409),
    )
    def create(self, request: Request) -> Response:
        """Create a goal. It does not count towards the new-goal limit."""
        return super().create(request)

    @extend_schema(operation_id="automationReadGoal", responses=answers(200, GoalShape, 404))
    def retrieve(self, request: Request, goal_id: int) -> Response:
        """Return a goal that is neither deleted nor merged, or the one that it was merged into."""
        return super().retrieve(request, goal_id)

    @extend_schema(
        operation_id="automationReplaceGoal",
        request=GoalChange,
        responses=answers(200, GoalShape, 400, 403, 404, 409),
    )
    def update(self, request: Request, goal_id: int) -> Response:
        """Change a goal. Fields that are left out stay as they are."""
        return super().partial_update(request, goal_id)

    @extend_schema(
        operation_id="automationChangeGoal",
        request=GoalChange,
        responses=answers(200, GoalShape, 400, 403, 404, 409),
    )
    def partial_update(self, request: Request, goal_id: int) -> Response:
        """Change a goal. Fields that are left out stay as they are."""
        return super().partial_update(request, goal_id)

    @extend_schema(operation_id="automationDeleteGoal", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, goal_id: int) -> Response:
        """Delete a goal with its conversions. Its name can be used again."""
        return super().destroy(request, goal_id)


def list_rows(site_id: int, names: Collection[str]) -> "list[Row]":
    """Return these fields of the live goals of a site. One query."""
    tags = GoalTag.objects.filter(site_id=site_id, tag__site_id=site_id, goal=OuterRef("pk")).values("tag__name")
    columns = {**COLUMNS, "tags": ArraySubquery(tags)}
    goals = Goal.objects.filter(site_id=site_id, deleted_at=None, counts_for=None)
    return [dict(zip(names, row, strict=True)) for row in goals.values_list(*(columns[name] for name in names))]
