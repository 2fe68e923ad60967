"""`/api/goals`: list, create, change, archive and delete goals (goals.catalogue)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.digest import segments
from api.events.refusal import Refusal
from api.insight.moved_events import note_moved_events
from api.models.audit import audit_values, write_audit
from api.rest import idempotency
from api.rest.access import caller_of, open_site, visible_sites
from api.rest.goal_shapes import GoalChange, GoalQuery, GoalShape, NewGoal
from api.rest.reading import first_row, page_headers
from api.rest.schema import PAGE_HEADERS, answers
from goals import catalogue
from goals.list_order import GoalOrder, find_goals
from goals.models import Goal
from goals.queries import GoalFilter, find_live_goal


@extend_schema(tags=["goals"])
class Goals(ViewSet):
    """The goals of a caller's sites. Each method parses and answers; `goals` decides."""

    @extend_schema(
        operation_id="listGoals",
        parameters=[GoalQuery, *PAGE_HEADERS],
        responses=answers(200, GoalShape(many=True), 400, 404),
    )
    def list(self, request: Request) -> Response:
        """List the goals of your sites, one page as a JSON array."""
        query = GoalQuery.read(request)
        sites = visible_sites(request, query.get("site", ""))
        key, is_descending = query["ordering"].removeprefix("-"), query["ordering"].startswith("-")
        per_page = query["perPage"]
        found = find_goals(
            sites,
            GoalFilter(
                tags=query.get("tag", ()),
                needs_every_tag=query["tagsMode"] == "all",
                is_archived=None if "status" not in query else query["status"] == "INACTIVE",
                is_made_by_event=query.get("autoMade"),
                search=query.get("search", ""),
            ),
            now=timezone.now(),
            order=GoalOrder(key, is_descending, query.get("currency", "")),
            offset=first_row(query),
            limit=per_page,
        )
        headers = page_headers(found.total, per_page=per_page)
        return Response([shape(goal) for goal in found.goals], headers=headers)

    @extend_schema(
        operation_id="createGoal",
        request=NewGoal,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, GoalShape, 400, 403, 404, 409),
    )
    def create(self, request: Request) -> Response:
        """Create a goal. It does not count towards the new-goal limit."""
        new = NewGoal(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = new.validated_data
        site = open_site(request, sitecode=fields.pop("sitecode", None), site_id=fields.pop("site_id", None))
        tags = fields.pop("tags", ())

        def create(_secret: str) -> Mapping[str, Any]:
            goal = Goal(site=site, origin=Goal.Origin.API, **fields)
            with note_moved_events(goal, template=site.goal_name_template, by=caller_of(request).name, may_move=True):
                catalogue.create_goal(goal, tags=tags, template=site.goal_name_template)
            made = shape(find_goal(request, goal.pk))
            write_audit(caller_of(request).name, site, f"Created the goal {goal.pk}", None, edited(made))
            return made

        try:
            return idempotency.create_once(request, site, create)
        except catalogue.NameTakenError as taken:
            raise name_taken(taken) from taken

    @extend_schema(operation_id="readGoal", responses=answers(200, GoalShape, 404))
    def retrieve(self, request: Request, goal_id: int) -> Response:
        """Return a goal. For a goal that was merged into another, return that one, with `mergedInto`."""
        goal = find_goal(request, goal_id, follows_merge=True)
        return Response(shape(goal, merged_into=goal.pk if goal.pk != goal_id else None))

    @extend_schema(operation_id="changeGoal", request=GoalChange, responses=answers(200, GoalShape, 400, 403, 404, 409))
    def partial_update(self, request: Request, goal_id: int) -> Response:
        """Change a goal. Fields that are left out stay as they are."""
        goal = find_goal(request, goal_id)
        before = shape(goal)
        change = GoalChange(data=request.data, partial=True, context={"goal": before})
        change.is_valid(raise_exception=True)
        fields: dict[str, Any] = change.validated_data
        tags = fields.pop("tags", None)
        keeps_receiving = fields.pop("keeps_receiving", False)
        for name, value in fields.items():
            setattr(goal, name, value)
        template = goal.site.goal_name_template
        try:
            with note_moved_events(goal, template=template, by=caller_of(request).name, may_move=True):
                catalogue.change_goal(
                    goal, fields=fields, tags=tags, keeps_receiving=keeps_receiving, template=template
                )
                after = shape(find_goal(request, goal_id))
                was, is_now = audit_values(edited(before), edited(after))
                if is_now:
                    write_audit(caller_of(request).name, goal.site, f"Changed the goal {goal_id}", was, is_now)
        except catalogue.NameTakenError as taken:
            raise name_taken(taken) from taken
        except Goal.DoesNotExist as error:
            raise NotFound from error
        return Response(after)

    @extend_schema(operation_id="deleteGoal", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, goal_id: int) -> Response:
        """Delete a goal with its conversions. Its name can be used again."""
        goal = find_goal(request, goal_id)
        with transaction.atomic():
            catalogue.delete_goal(goal, now=timezone.now())
            segments.note_deletion_of_goals(goal.site_id)
            write_audit(caller_of(request).name, goal.site, f"Deleted the goal {goal_id}", edited(shape(goal)), None)
        return Response(status=HTTPStatus.NO_CONTENT)

    @extend_schema(operation_id="archiveGoal", request=None, responses=answers(200, GoalShape, 403, 404))
    def archive(self, request: Request, goal_id: int) -> Response:
        """Archive a goal. It still counts conversions."""
        goal = find_goal(request, goal_id)
        with transaction.atomic():
            catalogue.archive_goal(goal, now=timezone.now())
            write_audit(
                caller_of(request).name,
                goal.site,
                f"Archived the goal {goal_id}",
                {"status": "active"},
                {"status": "archived"},
            )
        return Response(shape(find_goal(request, goal_id)))

    @extend_schema(operation_id="restoreGoal", request=None, responses=answers(200, GoalShape, 403, 404))
    def restore(self, request: Request, goal_id: int) -> Response:
        """Restore an archived goal."""
        goal = find_goal(request, goal_id)
        with transaction.atomic():
            catalogue.restore_goal(goal)
            write_audit(
                caller_of(request).name,
                goal.site,
                f"Restored the goal {goal_id}",
                {"status": "archived"},
                {"status": "active"},
            )
        return Response(shape(find_goal(request, goal_id)))


def find_goal(request: Request, goal_id: int, *, follows_merge: bool = False) -> Goal:
    """Return a live goal of the caller's sites; with `follows_merge` also by the id of a goal merged into it.

    Raises NotFound. Three or four queries, and one or two for each site that does not have it.
    """
    for site_id in caller_of(request).site_ids:
        goal = find_live_goal(site_id, goal_id, follows_merge=follows_merge)
        if goal is not None:
            return goal
    raise NotFound


def shape(goal: Goal, *, merged_into: int | None = None) -> Mapping[str, Any]:
    """Return a goal as JSON."""
    return GoalShape(goal, context={"merged_into": merged_into}).data


def edited(shaped: Mapping[str, Any]) -> dict[str, Any]:
    """Return the editable fields of a goal as JSON."""
    return {
        name: shaped[name] for name in ("name", "displayName", "type", "description", "hasMultipleConversions", "tags")
    }


def name_taken(taken: catalogue.NameTakenError) -> Refusal:
    """Return 409 with the id of the goal that has the name."""
    return Refusal(
        HTTPStatus.CONFLICT,
        "name_taken",
        f"Goal {taken.goal_id} already has this name. Choose another name, or rename or delete that goal.",
    )
