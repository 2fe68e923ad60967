"""Count the figures of the conversions that are there. Nothing converts meanwhile: half a minute for a million."""

from django.db import migrations

COUNT = """
LOCK TABLE goals_conversion IN SHARE ROW EXCLUSIVE MODE;

CREATE TEMPORARY TABLE hit ON COMMIT DROP AS
SELECT goal_id, visitor_code, occurred_at, (occurred_at AT TIME ZONE 'UTC')::date AS day, revenue, currency,
       coalesce(occurred_at - lag(occurred_at) OVER visitor >= interval '30 minutes', true)::int AS visit
  FROM goals_conversion
WINDOW visitor AS (PARTITION BY goal_id, visitor_code ORDER BY occurred_at);

INSERT INTO goals_goalvisitor (goal_id, visitor_code, conversions, visits, first_at, last_at, revenue)
SELECT goal_id, visitor_code, count(*), sum(visit), min(occurred_at), max(occurred_at), '{}'
  FROM hit GROUP BY goal_id, visitor_code;

UPDATE goals_goalvisitor v SET revenue = money.revenue
  FROM (SELECT goal_id, visitor_code, jsonb_object_agg(currency, total) AS revenue
          FROM (SELECT goal_id, visitor_code, currency, sum(revenue)::text AS total
                  FROM hit WHERE revenue IS NOT NULL GROUP BY 1, 2, 3) AS each
         GROUP BY 1, 2) AS money
 WHERE v.goal_id = money.goal_id AND v.visitor_code = money.visitor_code;

INSERT INTO goals_goalday (goal_id, day, part, conversions, visits, revenue)
SELECT goal_id, day, 0, count(*), sum(visit), '{}' FROM hit GROUP BY goal_id, day;

UPDATE goals_goalday d SET revenue = money.revenue
  FROM (SELECT goal_id, day, jsonb_object_agg(currency, total) AS revenue
          FROM (SELECT goal_id, day, currency, sum(revenue)::text AS total
                  FROM hit WHERE revenue IS NOT NULL GROUP BY 1, 2, 3) AS each
         GROUP BY 1, 2) AS money
 WHERE d.goal_id = money.goal_id AND d.day = money.day;

INSERT INTO goals_goaltotal (goal_id, part, conversions, visits, visitors, revenue)
SELECT v.goal_id, 0, sum(v.conversions), sum(v.visits), count(*), coalesce(min(money.revenue::text)::jsonb, '{}')
  FROM goals_goalvisitor v
  LEFT JOIN (SELECT goal_id, jsonb_object_agg(currency, total) AS revenue
               FROM (SELECT goal_id, currency, sum(revenue)::text AS total
                       FROM hit WHERE revenue IS NOT NULL GROUP BY 1, 2) AS each
              GROUP BY 1) AS money ON money.goal_id = v.goal_id
 GROUP BY v.goal_id;
"""


class Migration(migrations.Migration):
    dependencies = [("goals", "0003_figures")]

    operations = [
        migrations.RunSQL(COUNT, "TRUNCATE goals_goalvisitor; TRUNCATE goals_goalday; TRUNCATE goals_goaltotal;"),
    ]
