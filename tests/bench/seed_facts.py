"""Rows of a seeded site that the addresses of tests/bench/looks.py name."""

from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.db.models import Sum

from api.digest import goal_changes
from api.models import Alert, Annotation, Erasure, GoalsChange, Message, Rule, Site
from cohorts.models import CustomData, Group, Persona
from cohorts.segment_tables import Segment
from goals.experiments.models import Experiment
from goals.flags.models import FeatureFlag
from goals.models import Conversion, Goal, GoalTotal, Tag
from tests.bench.seed import annotate
from tests.bench.seed_experiment import ensure_experiment


@dataclass(frozen=True, slots=True)
class Facts:
    """Rows that the addresses name."""

    largest: Goal  # without merged goals
    union: Goal  # of the largest merged goals
    usual: Goal
    conversion: Conversion  # the 5,000th of the largest goal, otherwise its last
    newest: Message
    middle: int
    reasons: dict[str, str]  # a status of each reason
    tag: str
    rule: Rule
    alert: Alert
    flag: FeatureFlag
    custom_data: CustomData
    annotation: Annotation
    experiment: Experiment
    erasure: Erasure
    change: GoalsChange  # of all goals
    sources: list[int]
    persona: str
    segment: Segment
    group: str


def find_facts(site: Site) -> Facts:
    totals = GoalTotal.objects.values("goal_id").annotate(size=Sum("conversions")).order_by("-size")
    live = Goal.objects.filter(site=site, deleted_at=None)
    into = {id_ for id_ in live.values_list("counts_for", flat=True) if id_ is not None}
    alone = set(live.filter(counts_for=None, archived_at=None).exclude(pk__in=into).values_list("pk", flat=True))
    by_size = [row["goal_id"] for row in totals]
    largest, *_, usual = (id_ for id_ in by_size[: len(by_size) // 2] if id_ in alone)
    goals = live.in_bulk([largest, usual, next(id_ for id_ in by_size if id_ in into)])
    newest = Message.objects.filter(site=site).latest("pk")
    oldest = Message.objects.filter(site=site).earliest("pk")
    failed = Message.objects.filter(site=site, status__in=["rejected", "failed"]).order_by("-pk")[:5_000]
    conversions = Conversion.objects.filter(goal=largest).order_by("-occurred_at", "-id")[:5_000]
    users = get_user_model().objects.filter(is_superuser=True)
    persona, group = Persona.objects.filter(site=site), Group.objects.filter(site=site)
    return Facts(
        largest=goals[largest],
        union=goals[next(id_ for id_ in by_size if id_ in into)],
        usual=goals[usual],
        conversion=list(conversions)[-1],
        newest=newest,
        middle=(newest.pk + oldest.pk) // 2,
        reasons=dict(failed.values_list("reason", "status")),
        tag=Tag.objects.filter(site=site).exclude(name=site.auto_tag).order_by("pk")[1].name,
        rule=site.rules.order_by("pk")[0],
        alert=site.alerts.order_by("pk")[0],
        flag=FeatureFlag.objects.filter(site=site).order_by("pk")[0],
        custom_data=CustomData.objects.filter(site=site).order_by("pk")[0],
        annotation=site.annotations.order_by("pk").first() or annotate(site),  # older seeds have none
        experiment=ensure_experiment(site, goals[largest]),
        erasure=site.erasures.order_by("pk")[0],
        change=goal_changes.prepare_change(
            site, GoalsChange.Action.DELETE, list(live.values_list("pk", flat=True)), user=users.order_by("pk")[0]
        ),
        sources=list(site.sources.order_by("pk").values_list("pk", flat=True)),
        persona=persona.order_by("pk")[0].name,
        segment=Segment.objects.filter(site=site).order_by("pk")[0],
        group=group.order_by("pk")[0].group_id,
    )
