-- Totals of a site in one or two periods, its conversions by day or hour, its largest goals, those that changed most.
--
-- kind (period, day, hour, top, mover, other zone), period, visitors, day, hour, id of the goal, conversions,
-- conversions before, revenue
WITH goal AS MATERIALIZED (
    SELECT id, coalesce(counts_for_id, id) AS key, day_zone AS zone
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
), asked AS MATERIALIZED (
    SELECT number, since, until
      FROM unnest(:sinces::timestamptz[], :untils::timestamptz[]) WITH ORDINALITY AS asked (since, until, number)
), line AS (
    SELECT number, first_day, last_day, since, until
      FROM unnest(:first_days::date[], :last_days::date[], :line_sinces::timestamptz[], :line_untils::timestamptz[])
           WITH ORDINALITY AS line (first_day, last_day, since, until, number)
), period AS MATERIALIZED (  -- with the whole days of each zone; it is within one day if day_after is before first_day
    SELECT asked.number, asked.since, asked.until, zone.name AS zone, day.first_day, day.day_after
      FROM asked CROSS JOIN (SELECT DISTINCT zone FROM goal) AS zone (name),
           LATERAL (SELECT (asked.since AT TIME ZONE zone.name)::date AS day) AS begun,
           LATERAL (SELECT begun.day + (goalpost_day_start(begun.day, zone.name) < asked.since)::int AS first_day,
                           (asked.until AT TIME ZONE zone.name)::date AS day_after) AS day
), bound AS MATERIALIZED (  -- the whole days of both periods in a row, NULL without a second one
    SELECT zone, min(first_day) AS earliest,
           max(first_day) FILTER (WHERE number = 1) AS first_day, max(day_after) FILTER (WHERE number = 1) AS day_after,
           max(first_day) FILTER (WHERE number = 2) AS first_before,
           max(day_after) FILTER (WHERE number = 2) AS after_before
      FROM period GROUP BY zone
), edge AS MATERIALIZED (  -- the stretches of a period that are no whole days; nothing comes after a running period
    SELECT number AS period, zone, since, least(goalpost_day_start(first_day, zone), until) AS until FROM period
     UNION ALL
    SELECT number, zone, goalpost_day_start(day_after, zone), until FROM period
     WHERE day_after >= first_day AND until < :no_end::timestamptz
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
      FROM edge
      JOIN goals_cancellation AS c
        ON c.site_id = :site AND c.occurred_at >= edge.since AND c.occurred_at < edge.until
      JOIN goal ON goal.id = c.goal_id AND goal.zone = edge.zone
     WHERE edge.since < edge.until
), counted AS MATERIALIZED (
    SELECT key, coalesce(sum(conversions), 0) AS conversions, coalesce(sum(before), 0) AS before
      FROM (SELECT goal.key, days.conversions, days.before
              FROM bound
              JOIN LATERAL (  -- before the join with goals, because each has many days
                SELECT d.goal_id,
                       sum(d.conversions) FILTER (
                           WHERE d.day >= bound.first_day AND d.day < bound.day_after) AS conversions,
                       sum(d.conversions) FILTER (
                           WHERE d.day >= bound.first_before AND d.day < bound.after_before) AS before
                  FROM goals_goalday AS d
                 WHERE d.site_id = :site AND d.day >= bound.earliest
                 GROUP BY d.goal_id
                OFFSET 0) AS days ON true
              JOIN goal ON goal.id = days.goal_id AND goal.zone = bound.zone
             UNION ALL
            SELECT key, CASE WHEN period = 1 THEN conversions END, CASE WHEN period = 2 THEN conversions END
              FROM hit) AS either
     GROUP BY key
), amount AS (
    SELECT currency, sum(revenue) FILTER (WHERE is_now) AS revenue, sum(revenue) FILTER (WHERE is_before) AS before
      FROM (SELECT day.currency, (day.revenue ->> day.currency)::numeric AS revenue, day.is_now, day.is_before
              FROM (SELECT d.revenue, jsonb_object_keys(d.revenue) AS currency,
                           d.day >= bound.first_day AND d.day < bound.day_after AS is_now,
                           d.day >= bound.first_before AND d.day < bound.after_before AS is_before
                      FROM bound
                      JOIN goal ON goal.zone = bound.zone
                      JOIN goals_goalday AS d
                        ON d.site_id = :site AND d.goal_id = goal.id AND d.day >= bound.earliest
                           AND d.revenue <> '{}') AS day
             UNION ALL
            SELECT currency, revenue, period = 1, period = 2 FROM hit WHERE revenue IS NOT NULL) AS either
     GROUP BY currency
), money AS MATERIALIZED (
    SELECT jsonb_object_agg(currency, revenue::text) FILTER (WHERE revenue IS NOT NULL) AS revenue,
           jsonb_object_agg(currency, before::text) FILTER (WHERE before IS NOT NULL) AS before
      FROM amount
), total AS (
    SELECT asked.number, asked.since, asked.until,
           (SELECT coalesce(sum(CASE WHEN asked.number = 1 THEN conversions ELSE before END), 0)
              FROM counted) AS conversions
      FROM asked
), ranked AS MATERIALIZED (
    SELECT *, row_number() OVER (ORDER BY conversions DESC, key) AS place
      FROM counted WHERE conversions > 0 OR before > 0
)
SELECT 'period' AS kind, number AS period,
       -- Not of the second period either if those of the first are not counted.
       CASE WHEN conversions <= :most_read
                 AND (SELECT first.conversions FROM total AS first WHERE first.number = 1) <= :most_read THEN (
           SELECT count(*) FROM (
               SELECT DISTINCT c.visitor_code
                 FROM goal
                 JOIN LATERAL (
                   SELECT visitor_code FROM goals_conversion
                    WHERE site_id = :site AND goal_id = goal.id
                          AND occurred_at >= total.since AND occurred_at < total.until
                   OFFSET 0) AS c ON true) AS visitor) END AS visitors,
       NULL::date AS day, NULL::timestamptz AS hour, NULL::bigint AS key, conversions::bigint, NULL::bigint AS before,
       (SELECT CASE WHEN total.number = 1 THEN revenue ELSE before END::text FROM money) AS revenue
  FROM total
 UNION ALL
SELECT 'other zone', NULL, NULL, NULL, NULL, NULL, count(*) FILTER (WHERE zone <> :zone), count(*), NULL FROM goal
 UNION ALL
SELECT 'day', NULL, NULL, day, NULL, NULL, conversions, NULL, NULL
  FROM (SELECT d.day, sum(d.conversions) AS conversions  -- once for both periods
          FROM goals_goalday AS d
         WHERE d.site_id = :site
               AND d.day BETWEEN (SELECT min(first_day) FROM line) AND (SELECT max(last_day) FROM line)
               AND d.goal_id NOT IN (SELECT id FROM goals_goal WHERE site_id = :site AND deleted_at IS NOT NULL)
         GROUP BY d.day) AS kept
 WHERE EXISTS (SELECT FROM line WHERE kept.day BETWEEN line.first_day AND line.last_day)
 UNION ALL
SELECT 'hour', NULL, NULL, NULL, hour, NULL, count(*), NULL, NULL
  FROM line
  JOIN goal ON (SELECT max(conversions) FROM total) <= :most_read
  JOIN LATERAL (
    SELECT date_bin('1 hour', occurred_at, line.since) AS hour FROM goals_conversion
     WHERE site_id = :site AND goal_id = goal.id AND occurred_at >= line.since AND occurred_at < line.until
    OFFSET 0) AS c ON true
 WHERE :by_hour
 GROUP BY line.number, hour
 UNION ALL
SELECT 'top', NULL, NULL, NULL, NULL, key, conversions::bigint, before::bigint, NULL
  FROM (SELECT * FROM ranked WHERE place <= :top ORDER BY place) AS top
 UNION ALL
SELECT 'mover', NULL, NULL, NULL, NULL, key, conversions::bigint, before::bigint, NULL
  FROM (SELECT * FROM ranked WHERE place > :top AND conversions <> before
         ORDER BY abs(conversions - before) DESC, key LIMIT :movers) AS mover
