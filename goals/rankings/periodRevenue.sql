-- Revenue of the goals of a site in one currency in some days, without the goals that have none.
--
-- goal id, revenue
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, sum((d.revenue ->> :currency)::numeric) AS revenue
  FROM member JOIN goals_goalday AS d ON d.site_id = :site AND d.goal_id = member.goal_id
 WHERE d.day >= :first AND d.day <= :last AND d.revenue ->> :currency IS NOT NULL
 GROUP BY member.key
