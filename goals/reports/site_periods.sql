-- Totals of a site in some periods, its conversions by day, its largest goals and those that changed most.
--
-- kind (period, day, top, mover, other zone), period, visitors, day, id of the goal, conversions, conversions before,
-- revenue
WITH goal AS MATERIALIZED (
    SELECT id, coalesce(counts_for_id, id) AS key, day_zone AS zone
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
), asked AS (
    SELECT number, since, until
      FROM unnest(:sinces::timestamptz[], :untils::timestamptz[]) WITH ORDINALITY AS asked (since, until, number)
), period AS MATERIALIZED (  -- with the whole days of each zone; it is within one day if day_after is before first_day
    SELECT asked.number, asked.since, asked.until, zone.name AS zone, day.first_day, day.day_after
      FROM asked CROSS JOIN (SELECT DISTINCT zone FROM goal) AS zone (name),
           LATERAL (SELECT (asked.since AT TIME ZONE zone.name)::date AS day) AS begun,
           LATERAL (SELECT begun.day + (goalpost_day_start(begun.day, zone.name) < asked.since)::int AS first_day,
                           (asked.until AT TIME ZONE zone.name)::date AS day_after) AS day
), edge AS MATERIALIZED (  -- the stretches of a period that are no whole days
    SELECT number AS period, zone, since, least(goalpost_day_start(first_day, zone), until) AS until FROM period
     UNION ALL
    SELECT number, zone, goalpost_day_start(day_after, zone), until FROM period WHERE day_after >= first_day
), day AS MATERIALIZED (
    SELECT goal.key, goal.zone, d.day, d.conversions, d.revenue
      FROM goal
      JOIN goals_goalday AS d
        ON d.site_id = :site AND d.goal_id = goal.id
           AND d.day >= least(:line_since::date, (SELECT min(first_day) FROM period))
     WHERE d.day >= :line_since::date
           OR EXISTS (
               SELECT FROM period
                WHERE period.zone = goal.zone AND d.day >= period.first_day AND d.day < period.day_after)
), hit AS MATERIALIZED (
    SELECT edge.period, goal.key, c.revenue, c.currency, 1 AS conversions
      FROM edge JOIN goal ON goal.zone = edge.zone
      JOIN LATERAL (  -- OFFSET 0, because the planner might join the whole table
        SELECT revenue, currency FROM goals_conversion
         WHERE site_id = :site AND goal_id = goal.id AND occurred_at >= edge.since AND occurred_at < edge.until
        OFFSET 0) AS c ON true
     WHERE edge.since < edge.until
     UNION ALL
    SELECT edge.period, goal.key, -c.revenue, coalesce(c.currency, ''), 0
      FROM edge JOIN goal ON goal.zone = edge.zone
      JOIN LATERAL (
        SELECT revenue, currency FROM goals_cancellation
         WHERE site_id = :site AND goal_id = goal.id AND occurred_at >= edge.since AND occurred_at < edge.until
        OFFSET 0) AS c ON true
     WHERE edge.since < edge.until
), counted AS MATERIALIZED (
    SELECT period, key, sum(conversions) AS conversions
      FROM (SELECT period.number AS period, day.key, day.conversions
              FROM period
              JOIN day ON day.zone = period.zone AND day.day >= period.first_day AND day.day < period.day_after
             UNION ALL
            SELECT period, key, conversions FROM hit) AS either
     GROUP BY period, key
), money AS (
    SELECT period, jsonb_object_agg(currency, total)::text AS revenue
      FROM (SELECT period, currency, sum(revenue)::text AS total
              FROM (SELECT period.number AS period, item.key AS currency, item.value::numeric AS revenue
                      FROM period
                      JOIN day
                        ON day.zone = period.zone AND day.day >= period.first_day AND day.day < period.day_after
                           AND day.revenue <> '{}',
                           jsonb_each_text(day.revenue) AS item
                     UNION ALL
                    SELECT period, currency, revenue FROM hit WHERE revenue IS NOT NULL) AS amount
             GROUP BY period, currency) AS sums
     GROUP BY period
), total AS (
    SELECT asked.number, asked.since, asked.until,
           (SELECT coalesce(sum(conversions), 0) FROM counted WHERE counted.period = asked.number) AS conversions
      FROM asked
), changed AS (
    SELECT key, coalesce(sum(conversions) FILTER (WHERE period = 1), 0) AS conversions,
           coalesce(sum(conversions) FILTER (WHERE period = 2), 0) AS before
      FROM counted GROUP BY key
), ranked AS (
    SELECT *, row_number() OVER (ORDER BY conversions DESC, key) AS place
      FROM changed WHERE conversions > 0 OR before > 0
)
SELECT 'period' AS kind, number AS period,
       CASE WHEN conversions <= :most_read THEN (
           SELECT count(*) FROM (
               SELECT DISTINCT c.visitor_code
                 FROM goal
                 JOIN LATERAL (
                   SELECT visitor_code FROM goals_conversion
                    WHERE site_id = :site AND goal_id = goal.id
                          AND occurred_at >= total.since AND occurred_at < total.until
                   OFFSET 0) AS c ON true) AS visitor) END AS visitors,
       NULL::date AS day, NULL::bigint AS key, conversions::bigint, NULL::bigint AS before,
       (SELECT revenue FROM money WHERE money.period = total.number) AS revenue
  FROM total
 UNION ALL
SELECT 'other zone', NULL, NULL, NULL, NULL, count(*), NULL, NULL FROM goal WHERE zone <> :zone
 UNION ALL
SELECT 'day', NULL, NULL, day, NULL, sum(conversions)::bigint, NULL, NULL
  FROM day WHERE day >= :line_since GROUP BY day
 UNION ALL
SELECT 'top', NULL, NULL, NULL, key, conversions::bigint, before::bigint, NULL
  FROM (SELECT * FROM ranked WHERE place <= :top ORDER BY place) AS top
 UNION ALL
SELECT 'mover', NULL, NULL, NULL, key, conversions::bigint, before::bigint, NULL
  FROM (SELECT * FROM ranked WHERE place > :top AND conversions <> before
         ORDER BY abs(conversions - before) DESC, key LIMIT :movers) AS mover
