-- Totals of groups of goals since a time; each group counts as one goal.
--
-- key of the group, conversions, visits that began, visitors, revenue by currency, cancellations
WITH hit AS MATERIALIZED (
    SELECT member.key, c.visitor_code, c.occurred_at, c.revenue, c.currency,
           coalesce(c.occurred_at >= lag(c.occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit,
           0 AS cancelled
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
      JOIN goals_conversion AS c
        ON c.site_id = :site AND c.goal_id = member.goal_id
           AND c.occurred_at >= :since::timestamptz - :visit_gap::interval
    WINDOW visitor AS (PARTITION BY member.key, c.visitor_code ORDER BY c.occurred_at)
     UNION ALL
    SELECT member.key, NULL, c.occurred_at, -c.revenue, coalesce(c.currency, ''), 0, 1
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
      JOIN goals_cancellation AS c
        ON c.site_id = :site AND c.goal_id = member.goal_id AND c.occurred_at >= :since
), money AS MATERIALIZED (  -- once, not for each row below
    SELECT key, jsonb_object_agg(currency, total)::text AS revenue
      FROM (SELECT key, currency, sum(revenue)::text AS total
              FROM hit WHERE occurred_at >= :since AND revenue IS NOT NULL GROUP BY key, currency) AS amount
     GROUP BY key
)
SELECT key, count(visitor_code) AS conversions, sum(visit) AS visits, count(DISTINCT visitor_code) AS visitors,
       (SELECT money.revenue FROM money WHERE money.key = hit.key) AS revenue, sum(cancelled) AS cancellations
  FROM hit WHERE occurred_at >= :since
 GROUP BY key
