-- Totals of groups of goals in periods: their whole days from the kept totals, the rest from the conversions.
--
-- place of the period, key of the group, conversions, visits that began, visitors of several goals; revenue by
-- currency, cancellations
WITH member AS MATERIALIZED (
    SELECT key, goal_id, g.day_zone AS zone, count(*) OVER (PARTITION BY key) > 1 AS is_of_several
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
      JOIN goals_goal AS g ON g.site_id = :site AND g.id = member.goal_id
), asked AS (
    SELECT place, since, until
      FROM unnest(:places::int[], :sinces::timestamptz[], :untils::timestamptz[]) AS asked (place, since, until)
), period AS MATERIALIZED (  -- with the whole days of each zone; it is within one day if day_after is before first_day
    SELECT asked.place, asked.since, asked.until, zone.name AS zone, day.first_day, day.day_after
      FROM asked CROSS JOIN (SELECT DISTINCT zone FROM member) AS zone (name),
           LATERAL (SELECT (asked.since AT TIME ZONE zone.name)::date AS day) AS begun,
           LATERAL (SELECT begun.day + (goalpost_day_start(begun.day, zone.name) < asked.since)::int AS first_day,
                           (asked.until AT TIME ZONE zone.name)::date AS day_after) AS day
), edge AS (  -- the stretches of a period that are no whole days
    SELECT place, zone, since, least(goalpost_day_start(first_day, zone), until) AS until FROM period
     UNION ALL
    SELECT place, zone, goalpost_day_start(day_after, zone), until FROM period WHERE day_after >= first_day
), stretch AS (
    SELECT edge.place, edge.since, edge.until, member.key, member.goal_id, member.is_of_several
      FROM edge JOIN member ON member.zone = edge.zone
     WHERE edge.since < edge.until
), hit AS MATERIALIZED (
    SELECT stretch.place, stretch.key, c.occurred_at, c.revenue, c.currency, stretch.since,
           (NOT stretch.is_of_several
            AND coalesce(c.occurred_at >= lag(c.occurred_at) OVER visitor + :visit_gap::interval, true))::int AS visit
      FROM stretch
      -- OFFSET 0 makes the planner read each goal's index once, not once for each visitor.
      JOIN LATERAL (
        SELECT visitor_code, occurred_at, revenue, currency FROM goals_conversion
         WHERE site_id = :site AND goal_id = stretch.goal_id
               AND occurred_at >= stretch.since - :visit_gap::interval AND occurred_at < stretch.until
        OFFSET 0) AS c ON true
    WINDOW visitor AS (
        PARTITION BY stretch.place, stretch.key, stretch.since, c.visitor_code ORDER BY c.occurred_at)
), united AS (  -- of several goals, because visits do not add up: read once for all periods, from an index
    SELECT member.key, c.occurred_at,
           lag(c.occurred_at) OVER (PARTITION BY member.key, c.visitor_code ORDER BY c.occurred_at) AS before_at
      FROM member
      JOIN LATERAL (
        SELECT visitor_code, occurred_at FROM goals_conversion
         WHERE site_id = :site AND goal_id = member.goal_id
               AND occurred_at >= (SELECT min(since) FROM asked) - :visit_gap::interval
               AND occurred_at < (SELECT max(until) FROM asked)
        OFFSET 0) AS c ON true
     WHERE member.is_of_several AND :counts_visits
), cancelled AS MATERIALIZED (
    SELECT stretch.place, stretch.key, c.revenue, coalesce(c.currency, '') AS currency
      FROM stretch
      JOIN goals_cancellation AS c
        ON c.site_id = :site AND c.goal_id = stretch.goal_id
           AND c.occurred_at >= stretch.since AND c.occurred_at < stretch.until
), day AS MATERIALIZED (
    SELECT period.place, member.key, member.is_of_several, d.conversions, d.visits, d.cancellations, d.revenue
      FROM period
      JOIN member ON member.zone = period.zone
      JOIN goals_goalday AS d
        ON d.site_id = :site AND d.goal_id = member.goal_id AND d.day >= period.first_day AND d.day < period.day_after
), part AS (
    SELECT place, key, count(*) AS conversions, sum(visit) AS visits, 0 AS visitors, 0 AS cancellations
      FROM hit WHERE occurred_at >= since GROUP BY place, key
     UNION ALL
    SELECT asked.place, united.key, 0,
           count(*) FILTER (WHERE coalesce(united.occurred_at >= united.before_at + :visit_gap::interval, true)),
           count(*) FILTER (WHERE coalesce(united.before_at < asked.since, true)), 0
      FROM united JOIN asked ON united.occurred_at >= asked.since AND united.occurred_at < asked.until
     GROUP BY asked.place, united.key
     UNION ALL
    SELECT place, key, 0, 0, 0, count(*) FROM cancelled GROUP BY place, key
     UNION ALL
    SELECT place, key, sum(conversions), sum(CASE WHEN is_of_several THEN 0 ELSE visits END), 0, sum(cancellations)
      FROM day GROUP BY place, key
), amount AS (
    SELECT place, key, currency, revenue FROM hit WHERE occurred_at >= since AND revenue IS NOT NULL
     UNION ALL
    SELECT place, key, currency, -revenue FROM cancelled WHERE revenue IS NOT NULL
     UNION ALL
    SELECT day.place, day.key, item.key, item.value::numeric FROM day, jsonb_each_text(day.revenue) AS item
), money AS MATERIALIZED (  -- once, not for each row below
    SELECT place, key, jsonb_object_agg(currency, total)::text AS revenue
      FROM (SELECT place, key, currency, sum(revenue)::text AS total FROM amount GROUP BY place, key, currency) AS sums
     GROUP BY place, key
)
SELECT place, key, sum(conversions) AS conversions, sum(visits) AS visits, sum(visitors) AS visitors,
       (SELECT money.revenue FROM money WHERE money.place = part.place AND money.key = part.key) AS revenue,
       sum(cancellations) AS cancellations
  FROM part
 GROUP BY place, key
