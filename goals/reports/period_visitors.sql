-- Converting visitors of groups of goals in periods that are over.
--
-- place of the period, key of the group, visitors
SELECT place, key, count(*) AS visitors
  FROM (SELECT DISTINCT period.place, member.key, c.visitor_code
          FROM unnest(:places::int[], :sinces::timestamptz[], :untils::timestamptz[]) AS period (place, since, until)
         CROSS JOIN unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
          -- OFFSET 0 makes the planner read each goal's index once.
          JOIN LATERAL (
            SELECT visitor_code FROM goals_conversion
             WHERE site_id = :site AND goal_id = member.goal_id
                   AND occurred_at >= period.since AND occurred_at < period.until
            OFFSET 0) AS c ON true) AS visitor
 GROUP BY place, key
