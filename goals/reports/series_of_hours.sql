-- Totals of some goals as one, by hour, from the conversions and cancellations.
--
-- begin of the step, conversions, visits that began, revenue by currency, cancellations
WITH part AS (
    SELECT date_bin('1 hour', occurred_at, :start::timestamptz) AS begin, currency, sum(1 - cancelled) AS conversions,
           0 AS visits, sum(cancelled) AS cancellations, sum(revenue) AS revenue
      FROM (SELECT occurred_at, currency, revenue, 0 AS cancelled FROM goals_conversion
             WHERE site_id = :site AND goal_id = ANY(:goals) AND occurred_at >= :since AND occurred_at < :until
             UNION ALL
            SELECT occurred_at, coalesce(currency, ''), -revenue, 1 FROM goals_cancellation
             WHERE site_id = :site AND goal_id = ANY(:goals) AND occurred_at >= :since AND occurred_at < :until)
           AS either
     GROUP BY 1, currency
     UNION ALL
    SELECT date_bin('1 hour', occurred_at, :start::timestamptz), NULL, 0, sum(visit), 0, NULL
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
     WHERE occurred_at >= :since
     GROUP BY 1
)
SELECT begin, sum(conversions) AS conversions, sum(visits) AS visits,
       (jsonb_object_agg(currency, revenue::text) FILTER (WHERE revenue IS NOT NULL))::text AS revenue,
       sum(cancellations) AS cancellations
  FROM part
 GROUP BY begin
