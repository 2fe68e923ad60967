"""Make the experiments and variations of the exposures that are there: a second for a million exposures."""

from django.db import migrations

EXPERIMENTS = """
INSERT INTO goals_experiment (
    site_id, number, key, event_name, tags, origin, name, hypothesis, owner, window_days, decision, decision_reason,
    created_at, updated_at)
SELECT site_id, experiment_id, experiment_id::text, '', '{kameleoon}', 'event', '', '', '', 7, '', '', first_at, now()
  FROM (SELECT site_id, experiment_id, min(first_at) AS first_at,
               row_number() OVER (PARTITION BY site_id ORDER BY experiment_id) AS place
          FROM goals_exposure GROUP BY site_id, experiment_id) AS its
 WHERE place <= 1000
ON CONFLICT DO NOTHING
"""
VARIATIONS = """
INSERT INTO goals_variation (site_id, experiment_id, number, key, event_name, name, is_reference)
SELECT its.site_id, e.id, its.variation_id, its.variation_id::text, '', '', false
  FROM (SELECT site_id, experiment_id, variation_id,
               row_number() OVER (PARTITION BY site_id, experiment_id ORDER BY variation_id) AS place
          FROM goals_exposure GROUP BY site_id, experiment_id, variation_id) AS its
  JOIN goals_experiment e ON e.site_id = its.site_id AND e.number = its.experiment_id
 WHERE its.place <= 100
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("goals", "0025_key_of_exposures")]

    operations = [
        migrations.RunSQL(EXPERIMENTS, migrations.RunSQL.noop),
        migrations.RunSQL(VARIATIONS, migrations.RunSQL.noop),
    ]
