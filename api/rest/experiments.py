"""`/api/sites/{sitecode}/experiments`: experiments with variations, goals and decisions."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.insight import experiment_changes
from api.insight.experiment_changes import Decided, ExperimentChange
from api.rest import idempotency
from api.rest.access import caller_of, open_site
from api.rest.reading import Query
from api.rest.schema import answers
from goals.experiments.editing import EDITABLE_FIELDS, ExperimentError, VariationFields, find_number
from goals.experiments.models import (
    DECISION_LENGTH,
    HYPOTHESIS_LENGTH,
    KEY_LENGTH,
    MOST_WINDOW_DAYS,
    NAME_LENGTH,
    OWNER_LENGTH,
    REASON_LENGTH,
    Experiment,
    ExperimentGoal,
    Variation,
)
from goals.experiments.reading import ExperimentState, find_experiment, list_experiments, state_of

MOST_ID: Final = 2**63 - 1


class VariationToSet(serializers.Serializer[Any]):
    """A variation as a person describes it."""

    key = serializers.CharField(max_length=KEY_LENGTH, help_text="As exposures name it.")
    name = serializers.CharField(max_length=NAME_LENGTH, allow_blank=True, default="")
    share = serializers.DecimalField(
        max_digits=9,
        decimal_places=8,
        min_value=0,
        max_value=1,
        allow_null=True,
        default=None,
        help_text="Of the exposed visitors. Variations with null divide the rest equally.",
    )
    isReference = serializers.BooleanField(
        source="is_reference", default=False, help_text="The others are compared with it."
    )


@extend_schema_serializer(component_name="Variation")
class VariationShape(serializers.Serializer[Any]):
    """A variation of an experiment."""

    number = serializers.IntegerField(help_text="The `variationId` of its exposures.")
    key = serializers.CharField(help_text="As exposures name it.")
    name = serializers.CharField(source="__str__", help_text="By a person, otherwise by events, otherwise the key.")
    share = serializers.DecimalField(max_digits=9, decimal_places=8, allow_null=True)
    isReference = serializers.BooleanField(source="is_reference")


class GoalOfExperiment(serializers.Serializer[Any]):
    """A goal of an experiment with its role."""

    goal = serializers.IntegerField(source="goal_id", min_value=1, max_value=MOST_ID)
    role = serializers.ChoiceField(choices=ExperimentGoal.Role.choices, default=ExperimentGoal.Role.SECONDARY.value)


class PhaseShape(serializers.Serializer[Any]):
    """A time in which shares stayed. The result is of the visitors who came in the last one."""

    startedAt = serializers.DateTimeField(source="started_at")
    reason = serializers.CharField()


class DecisionFields(serializers.Serializer[Any]):
    """A decision about an experiment."""

    decision = serializers.ChoiceField(
        choices=Experiment.Decision.choices, allow_blank=True, help_text="Empty takes a decision back."
    )
    reason = serializers.CharField(allow_blank=True, max_length=DECISION_LENGTH, default="")
    variation = serializers.CharField(
        max_length=KEY_LENGTH, allow_null=True, default=None, help_text="The key of the variation to ship."
    )


class ExperimentFields(serializers.Serializer[Any]):
    """The editable fields of an experiment."""

    name = serializers.CharField(max_length=NAME_LENGTH, allow_blank=True, required=False)
    hypothesis = serializers.CharField(max_length=HYPOTHESIS_LENGTH, allow_blank=True, required=False)
    owner = serializers.CharField(max_length=OWNER_LENGTH, allow_blank=True, required=False)
    windowDays = serializers.IntegerField(
        source="window_days",
        min_value=1,
        max_value=MOST_WINDOW_DAYS,
        required=False,
        help_text="Days after the first exposure in which conversions count. Default: 7.",
    )
    startedAt = serializers.DateTimeField(source="started_at", allow_null=True, required=False)
    stoppedAt = serializers.DateTimeField(source="stopped_at", allow_null=True, required=False)
    variations = VariationToSet(many=True, required=False)
    goals = GoalOfExperiment(many=True, required=False)


class NewExperiment(ExperimentFields):
    """An experiment to create before its first exposure."""

    key = serializers.CharField(max_length=KEY_LENGTH, help_text="As exposures name it. It stays.")


class ExperimentToChange(ExperimentFields):
    """Changes of an experiment. Fields that are left out stay."""

    reason = serializers.CharField(
        max_length=REASON_LENGTH, required=False, help_text="Why the shares change. Needed while the experiment runs."
    )
    decided = DecisionFields(required=False)
    isArchived = serializers.BooleanField(required=False)


@extend_schema_serializer(component_name="Experiment")
class ExperimentShape(serializers.Serializer[Experiment]):
    """An experiment. The first exposure made it, or a person did."""

    id = serializers.IntegerField()
    number = serializers.IntegerField(help_text="The `experimentId` of its exposures; below 0 if its key is a text.")
    key = serializers.CharField()
    name = serializers.CharField(source="__str__", help_text="By a person, otherwise by events, otherwise the key.")
    state = serializers.SerializerMethodField()
    origin = serializers.ChoiceField(choices=Experiment.Origin.choices)
    tags = serializers.ListField(child=serializers.CharField(), help_text="Kinds of senders of its exposures.")
    hypothesis = serializers.CharField()
    owner = serializers.CharField()
    windowDays = serializers.IntegerField(source="window_days")
    startedAt = serializers.DateTimeField(source="started_at", allow_null=True)
    stoppedAt = serializers.DateTimeField(source="stopped_at", allow_null=True)
    variations = VariationShape(many=True, source="variations.all")
    goals = GoalOfExperiment(many=True, source="goals.all")
    phases = PhaseShape(many=True, source="phases.all")
    decision = serializers.CharField(help_text="Empty, `ship`, `keep` or `repeat`.")
    decidedFor = serializers.IntegerField(source="decided_for", allow_null=True, help_text="The number to ship.")
    decisionReason = serializers.CharField(source="decision_reason")
    decidedAt = serializers.DateTimeField(source="decided_at", allow_null=True)
    archivedAt = serializers.DateTimeField(source="archived_at", allow_null=True)
    dateCreated = serializers.DateTimeField(source="created_at")

    @extend_schema_field(serializers.ChoiceField(choices=[state.value for state in ExperimentState]))
    def get_state(self, experiment: Experiment) -> str:
        return state_of(experiment, now=timezone.now()).value


class ExperimentQuery(Query):
    archived = serializers.BooleanField(default=False, help_text="True for the archived ones instead.")


@extend_schema(tags=["experiments"])
class Experiments(ViewSet):
    """The experiments of a site. Each method parses and answers; api.insight.experiment_changes decides."""

    @extend_schema(
        operation_id="listExperiments",
        parameters=[ExperimentQuery],
        responses=answers(200, ExperimentShape(many=True), 400, 404),
    )
    def list(self, request: Request, sitecode: str) -> Response:
        """List the experiments of a site, the newest first: 1,000 at most, or the archived ones."""
        query = ExperimentQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        found = list_experiments(site.pk, is_archived=query["archived"])
        return Response([ExperimentShape(each).data for each in found])

    @extend_schema(
        operation_id="createExperiment",
        request=NewExperiment,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, ExperimentShape, 400, 403, 404, 409),
    )
    def create(self, request: Request, sitecode: str) -> Response:
        """Create an experiment before its first exposure. Exposures find it by its key."""
        new = NewExperiment(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = new.validated_data
        key = fields.pop("key")
        site = open_site(request, sitecode=sitecode)

        def create(_secret: str) -> Mapping[str, Any]:
            created = experiment_changes.create_experiment(
                site,
                key,
                read_change(fields),
                origin=Experiment.Origin.API,
                by=caller_of(request).name,
                now=timezone.now(),
            )
            return ExperimentShape(created).data

        with refusing():
            return idempotency.create_once(request, site, create)

    @extend_schema(operation_id="readExperiment", responses=answers(200, ExperimentShape, 404))
    def retrieve(self, request: Request, sitecode: str, experiment_id: int) -> Response:
        """Return an experiment with variations, goals, phases and decision."""
        return Response(ExperimentShape(load_experiment(request, sitecode, experiment_id)).data)

    @extend_schema(
        operation_id="changeExperiment",
        request=ExperimentToChange,
        responses=answers(200, ExperimentShape, 400, 403, 404),
    )
    def partial_update(self, request: Request, sitecode: str, experiment_id: int) -> Response:
        """Change, decide, archive or restore an experiment. Other shares begin a new phase if it runs."""
        experiment = load_experiment(request, sitecode, experiment_id)
        change = ExperimentToChange(data=request.data)
        change.is_valid(raise_exception=True)
        with refusing():
            changed = experiment_changes.change_experiment(
                experiment,
                read_change(change.validated_data, known=experiment.variations.all()),
                by=caller_of(request).name,
                now=timezone.now(),
            )
        return Response(ExperimentShape(changed).data)


def load_experiment(request: Request, sitecode: str, experiment_id: int) -> Experiment:
    """Return an experiment of a site. Raises NotFound."""
    site = open_site(request, sitecode=sitecode)
    experiment = find_experiment(site.pk, experiment_id)
    if experiment is None:
        raise NotFound
    experiment.site = site
    return experiment


def read_change(fields: Mapping[str, Any], *, known: Iterable[Variation] = ()) -> ExperimentChange:
    """Return the change that a validated body asks for, of an experiment with the known variations. Pure."""
    variations, goals, decided = fields.get("variations"), fields.get("goals"), fields.get("decided")
    return ExperimentChange(
        fields={name: value for name, value in fields.items() if name in EDITABLE_FIELDS},
        variations=None if variations is None else [VariationFields(**each) for each in variations],
        reason=fields.get("reason", ""),
        goals=None if goals is None else {each["goal_id"]: ExperimentGoal.Role(each["role"]) for each in goals},
        decided=None
        if decided is None
        else Decided(
            Experiment.Decision(decided["decision"]),
            decided["reason"],
            None if decided["variation"] is None else find_number(known, decided["variation"]),
        ),
        is_archived=fields.get("isArchived"),
    )


@contextmanager
def refusing() -> Iterator[None]:
    """Raise ValidationError for a change that the experiment does not allow."""
    try:
        yield
    except ExperimentError as error:
        raise serializers.ValidationError(str(error)) from error
