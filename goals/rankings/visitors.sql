-- Visitors of the goals of a site since ever, without the goals that have none.
--
-- goal id, visitors
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, sum(t.visitors)::bigint AS visitors
  FROM member JOIN goals_goaltotal AS t ON t.site_id = :site AND t.goal_id = member.goal_id
 WHERE member.key NOT IN (SELECT key FROM member WHERE goal_id <> key)
 GROUP BY member.key
 UNION ALL
-- A visitor of two goals that count as one is one visitor.
SELECT key, count(*)
  FROM (SELECT DISTINCT member.key, v.visitor_code
          FROM member JOIN goals_goalvisitor AS v ON v.site_id = :site AND v.goal_id = member.goal_id
         WHERE member.key IN (SELECT key FROM member WHERE goal_id <> key)) AS visitor
 GROUP BY key
