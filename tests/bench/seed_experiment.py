"""An experiment over the visitors of a seeded goal: half of them each saw one variation, before their conversions."""

from django.db import connection
from django.utils import timezone

from api.models import Site
from goals.experiments import editing
from goals.experiments.editing import VariationFields
from goals.experiments.models import Experiment, ExperimentGoal
from goals.models import Goal

KEY = "checkout-2"


def ensure_experiment(site: Site, goal: Goal) -> Experiment:
    """Return the seeded experiment of a site. Older seeds have none: it is made of the visitors of a goal."""
    found = Experiment.objects.filter(site=site, key=KEY).first()
    if found is not None:
        return found
    experiment = Experiment(
        site=site,
        key=KEY,
        name="Checkout 2",
        hypothesis="Fewer steps lead to more orders.",
        owner="ada",
        origin=Experiment.Origin.PERSON,
    )
    editing.create_experiment(
        experiment,
        variations=[VariationFields("1", "Old checkout", is_reference=True), VariationFields("2", "Checkout 2")],
        goals={goal.pk: ExperimentGoal.Role.PRIMARY},
        by="ada",
        now=timezone.now(),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_exposure (site_id, visitor_code, is_user, experiment_id, variation_id, first_at)
            SELECT %(site)s, c.visitor_code, FALSE, %(experiment)s,
                   1 + abs(hashtext(c.visitor_code)) %% 2, min(c.occurred_at) - interval '1 hour'
              FROM goals_conversion c
             WHERE c.site_id = %(site)s
             GROUP BY c.visitor_code
            """,
            {"site": site.pk, "experiment": experiment.number},
        )
    return experiment
