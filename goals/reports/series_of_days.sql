-- Totals of some goals as one, by day or week of UTC, from the kept totals of days.
--
-- begin of the step, conversions, visits that began, revenue by currency, cancellations
WITH part AS (
    SELECT date_bin(:length::interval, day::timestamp AT TIME ZONE 'UTC', :start::timestamptz) AS begin, conversions,
           CASE WHEN :is_of_several THEN 0 ELSE visits END AS visits, cancellations, revenue
      FROM goals_goalday
     WHERE site_id = :site AND goal_id = ANY(:goals) AND day >= (:since::timestamptz AT TIME ZONE 'UTC')::date
           AND day < (:until::timestamptz AT TIME ZONE 'UTC')::date
     UNION ALL
    -- Visits of several goals do not add up.
    SELECT date_bin(:length::interval, occurred_at, :start::timestamptz), 0, sum(visit), 0, '{}'
      FROM (SELECT c.occurred_at,
                   coalesce(c.occurred_at >= lag(c.occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
              FROM unnest(:goals::bigint[]) AS member (id)
              -- OFFSET 0 makes the planner read each goal's index once, not once for each visitor.
              JOIN LATERAL (
                SELECT visitor_code, occurred_at FROM goals_conversion
                 WHERE site_id = :site AND goal_id = member.id
                       AND occurred_at >= :since::timestamptz - :visit_gap::interval
                       AND occurred_at < :until::timestamptz
                OFFSET 0) AS c ON true
            WINDOW visitor AS (PARTITION BY c.visitor_code ORDER BY c.occurred_at)) AS hit
     WHERE :is_of_several AND occurred_at >= :since::timestamptz
     GROUP BY 1
), money AS (
    SELECT begin, jsonb_object_agg(currency, total)::text AS revenue
      FROM (SELECT part.begin, item.key AS currency, sum(item.value::numeric)::text AS total
              FROM part, jsonb_each_text(part.revenue) AS item
             GROUP BY part.begin, item.key) AS amount
     GROUP BY begin
)
SELECT begin, sum(conversions) AS conversions, sum(visits) AS visits,
       (SELECT money.revenue FROM money WHERE money.begin = part.begin) AS revenue,
       sum(cancellations) AS cancellations
  FROM part
 GROUP BY begin
