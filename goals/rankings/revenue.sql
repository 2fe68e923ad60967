-- Revenue of the goals of a site in one currency since ever, without the goals that have none.
--
-- goal id, revenue
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, sum((t.revenue ->> :currency)::numeric) AS revenue
  FROM member JOIN goals_goaltotal AS t ON t.site_id = :site AND t.goal_id = member.goal_id
 WHERE t.revenue ->> :currency IS NOT NULL
 GROUP BY member.key
