-- Totals of some goals as one, by day or week of a zone, from the kept totals of days.
--
-- first day of the step, conversions, visits that began, revenue by currency, cancellations
WITH member AS MATERIALIZED (
    SELECT id, day_zone = :zone AS is_of_zone FROM goals_goal WHERE site_id = :site AND id = ANY(:goals)
), part AS (
    SELECT d.day, d.conversions, CASE WHEN :is_of_several THEN 0 ELSE d.visits END AS visits, d.cancellations, d.revenue
      FROM member
      JOIN goals_goalday AS d
        ON d.site_id = :site AND d.goal_id = member.id AND d.day >= :first_day AND d.day < :day_after
     WHERE member.is_of_zone
     UNION ALL
    -- Goals that a worker has still to count again in this zone.
    SELECT (c.occurred_at AT TIME ZONE :zone)::date, 1 - c.cancelled, 0, c.cancelled,
           CASE WHEN c.revenue IS NULL THEN '{}' ELSE jsonb_build_object(coalesce(c.currency, ''), c.revenue::text) END
      FROM member
      JOIN LATERAL (
        SELECT occurred_at, currency, revenue, 0 AS cancelled FROM goals_conversion
         WHERE site_id = :site AND goal_id = member.id
               AND occurred_at >= :since::timestamptz AND occurred_at < :until::timestamptz
         UNION ALL
        SELECT occurred_at, currency, -revenue, 1 FROM goals_cancellation
         WHERE site_id = :site AND goal_id = member.id
               AND occurred_at >= :since::timestamptz AND occurred_at < :until::timestamptz) AS c ON true
     WHERE NOT member.is_of_zone
     UNION ALL
    -- Their visits, and those of several goals, which do not add up.
    SELECT (occurred_at AT TIME ZONE :zone)::date, 0, sum(visit), 0, '{}'
      FROM (SELECT c.occurred_at,
                   coalesce(c.occurred_at >= lag(c.occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
              FROM member
              -- OFFSET 0 makes the planner read each goal's index once, not once for each visitor.
              JOIN LATERAL (
                SELECT visitor_code, occurred_at FROM goals_conversion
                 WHERE site_id = :site AND goal_id = member.id
                       AND occurred_at >= :since::timestamptz - :visit_gap::interval
                       AND occurred_at < :until::timestamptz
                OFFSET 0) AS c ON true
             WHERE :is_of_several OR NOT member.is_of_zone
            WINDOW visitor AS (PARTITION BY c.visitor_code ORDER BY c.occurred_at)) AS hit
     WHERE occurred_at >= :since::timestamptz
     GROUP BY 1
), step AS (
    SELECT day - (day - :start::date) % :days AS begin, conversions, visits, cancellations, revenue FROM part
), money AS MATERIALIZED (  -- once, not for each row below
    SELECT begin, jsonb_object_agg(currency, total)::text AS revenue
      FROM (SELECT step.begin, item.key AS currency, sum(item.value::numeric)::text AS total
              FROM step, jsonb_each_text(step.revenue) AS item
             GROUP BY step.begin, item.key) AS amount
     GROUP BY begin
)
SELECT begin, sum(conversions) AS conversions, sum(visits) AS visits,
       (SELECT money.revenue FROM money WHERE money.begin = step.begin) AS revenue,
       sum(cancellations) AS cancellations
  FROM step
 GROUP BY begin
