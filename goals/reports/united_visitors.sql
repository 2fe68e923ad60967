-- Visitors of several goals that count as one: since ever, and those who converted since a time.
--
-- key of the group, visitors, visitors of the month
SELECT key, count(*) AS visitors, count(*) FILTER (WHERE last_day >= :month) AS month_visitors
  FROM (SELECT member.key, max(v.last_day) AS last_day
          FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
          JOIN goals_goalvisitor AS v ON v.site_id = :site AND v.goal_id = member.goal_id
         GROUP BY member.key, v.visitor_code) AS visitor
 GROUP BY key
