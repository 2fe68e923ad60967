-- Visitors of several goals that count as one: since ever, and those who converted since a time.
--
-- key of the group, visitors, visitors of the month
SELECT key, count(*) AS visitors, count(*) FILTER (WHERE last_at >= :month_start) AS month_visitors
  FROM (SELECT member.key, max(v.last_at) AS last_at
          FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
          JOIN goals_goalvisitor AS v USING (goal_id)
         GROUP BY member.key, v.visitor_code) AS visitor
 GROUP BY key
