"""`/goals` of the Automation API: the goals of `/api/goals`, in its lists and with PUT."""

from datetime import datetime
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from api.rest import goals as api_goals
from api.rest import idempotency
from api.rest.access import caller_of
from api.rest.automation.lists import AutomationQuery, Row, named_sites, page_of
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
COLUMNS: Final = (
    "pk",
    "site_id",
    "name",
    "type",
    "description",
    "has_multiple_conversions",
    "archived_at",
    "created_at",
    "updated_at",
)


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
        rows = [row for site_id in named_sites(query, caller_of(request).site_ids) for row in list_rows(site_id)]
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


def list_rows(site_id: int) -> "list[Row]":
    """Return what filters compare of the live goals of a site. Two queries."""
    tags: dict[int, list[str]] = {}
    named = GoalTag.objects.filter(site_id=site_id, tag__site_id=site_id)
    for goal_id, name in named.values_list("goal_id", "tag__name"):
        tags.setdefault(goal_id, []).append(name)
    rows = Goal.objects.filter(site_id=site_id, deleted_at=None, counts_for=None).values_list(*COLUMNS)
    return [_row(tags.get(pk, []), pk, *columns) for pk, *columns in rows]


def _row(tags: "list[str]", id_: int, site_id: int, *columns: Any) -> Row:
    name, type_, description, has_multiple, archived_at, created_at, updated_at = columns
    return {
        "id": id_,
        "siteId": site_id,
        "name": name,
        "type": type_,
        "status": "INACTIVE" if archived_at else "ACTIVE",
        "description": description,
        "hasMultipleConversions": has_multiple,
        "isArchived": archived_at is not None,
        "tags": tags,
        "dateCreated": created_at,
        "dateModified": updated_at,
    }
