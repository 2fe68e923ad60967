-- Converting visitors of groups of goals in a period that is over.
--
-- key of the group, visitors
SELECT key, count(*) AS visitors
  FROM (SELECT DISTINCT member.key, c.visitor_code
          FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
          -- OFFSET 0 makes the planner read each goal's index once.
          JOIN LATERAL (
            SELECT visitor_code FROM goals_conversion
             WHERE site_id = :site AND goal_id = member.goal_id
                   AND occurred_at >= :since::timestamptz AND occurred_at < :until::timestamptz
            OFFSET 0) AS c ON true) AS visitor
 GROUP BY key
