-- Sums of a goal's conversions and cancellations by day of a zone. A currency has a row of its own until the last step.
WITH hit AS (
    SELECT (occurred_at AT TIME ZONE :zone)::date AS day, revenue, coalesce(currency, '') AS currency,
           coalesce(occurred_at >= lag(occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
      FROM goals_conversion WHERE site_id = :site AND goal_id = :goal
    WINDOW visitor AS (PARTITION BY visitor_code ORDER BY occurred_at)
), counted AS (
    SELECT day, currency, count(*) AS conversions, sum(visit) AS visits, 0 AS cancellations, sum(revenue) AS total
      FROM hit GROUP BY 1, 2
     UNION ALL
    SELECT (occurred_at AT TIME ZONE :zone)::date, coalesce(currency, ''), 0, 0, count(*), -sum(revenue)
      FROM goals_cancellation WHERE site_id = :site AND goal_id = :goal GROUP BY 1, 2
)
INSERT INTO goals_goalday (site_id, goal_id, day, part, conversions, visits, cancellations, revenue)
SELECT :site, :goal, day, 0, sum(conversions), sum(visits), sum(cancellations),
       coalesce(jsonb_object_agg(currency, total::text) FILTER (WHERE total IS NOT NULL), '{}')
  FROM (SELECT day, currency, sum(conversions) AS conversions, sum(visits) AS visits,
               sum(cancellations) AS cancellations, sum(total) AS total
          FROM counted GROUP BY 1, 2) AS amount
 GROUP BY day
