-- Totals of groups of goals in a period: its whole days from the kept totals, the rest from the conversions.
--
-- key of the group, conversions, visits that began, revenue by currency, cancellations
WITH member AS MATERIALIZED (
    SELECT key, goal_id, count(*) OVER (PARTITION BY key) > 1 AS is_of_several
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
), stretch AS (  -- edges without whole days; the period of several goals, because their visits do not add up
    SELECT edge.since, edge.until, member.key, member.goal_id, member.is_of_several, true AS counts
      FROM unnest(:edge_begins::timestamptz[], :edge_ends::timestamptz[]) AS edge (since, until), member
     UNION ALL
    SELECT :since::timestamptz, :until::timestamptz, key, goal_id, true, false FROM member WHERE is_of_several
), hit AS MATERIALIZED (
    SELECT stretch.key, c.occurred_at, c.revenue, c.currency, stretch.since, stretch.counts,
           (stretch.is_of_several <> stretch.counts
            AND coalesce(c.occurred_at >= lag(c.occurred_at) OVER visitor + :visit_gap::interval, true))::int AS visit
      FROM stretch
      -- OFFSET 0 makes the planner read each goal's index once, not once for each visitor.
      JOIN LATERAL (
        SELECT visitor_code, occurred_at, revenue, currency FROM goals_conversion
         WHERE site_id = :site AND goal_id = stretch.goal_id
               AND occurred_at >= stretch.since - :visit_gap::interval AND occurred_at < stretch.until
        OFFSET 0) AS c ON true
    WINDOW visitor AS (PARTITION BY stretch.key, stretch.since, stretch.counts, c.visitor_code ORDER BY c.occurred_at)
), part AS (
    SELECT key, sum(counts::int) AS conversions, sum(visit) AS visits, 0 AS cancellations
      FROM hit WHERE occurred_at >= since GROUP BY key
     UNION ALL
    SELECT stretch.key, 0, 0, count(*)
      FROM stretch
      JOIN goals_cancellation AS c
        ON c.site_id = :site AND c.goal_id = stretch.goal_id
           AND c.occurred_at >= stretch.since AND c.occurred_at < stretch.until
     WHERE stretch.counts
     GROUP BY stretch.key
     UNION ALL
    SELECT member.key, sum(d.conversions), sum(CASE WHEN member.is_of_several THEN 0 ELSE d.visits END),
           sum(d.cancellations)
      FROM member
      JOIN goals_goalday AS d
        ON d.site_id = :site AND d.goal_id = member.goal_id AND d.day >= :first_day AND d.day < :day_after
     GROUP BY member.key
), amount AS (
    SELECT key, currency, revenue FROM hit WHERE counts AND occurred_at >= since AND revenue IS NOT NULL
     UNION ALL
    SELECT stretch.key, coalesce(c.currency, ''), -c.revenue
      FROM stretch
      JOIN goals_cancellation AS c
        ON c.site_id = :site AND c.goal_id = stretch.goal_id
           AND c.occurred_at >= stretch.since AND c.occurred_at < stretch.until
     WHERE stretch.counts AND c.revenue IS NOT NULL
     UNION ALL
    SELECT member.key, item.key, item.value::numeric
      FROM member
      JOIN goals_goalday AS d
        ON d.site_id = :site AND d.goal_id = member.goal_id AND d.day >= :first_day AND d.day < :day_after,
           jsonb_each_text(d.revenue) AS item
), money AS (
    SELECT key, jsonb_object_agg(currency, total)::text AS revenue
      FROM (SELECT key, currency, sum(revenue)::text AS total FROM amount GROUP BY key, currency) AS sums
     GROUP BY key
)
SELECT key, sum(conversions) AS conversions, sum(visits) AS visits,
       (SELECT money.revenue FROM money WHERE money.key = part.key) AS revenue, sum(cancellations) AS cancellations
  FROM part
 GROUP BY key
