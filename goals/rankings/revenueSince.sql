-- Revenue of the goals of a site in one currency since a time, without the goals that have none.
--
-- goal id, revenue
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
), amount AS (
    SELECT member.key, c.revenue
      FROM member JOIN goals_conversion AS c ON c.site_id = :site AND c.goal_id = member.goal_id
     WHERE c.occurred_at >= :day AND c.currency = :currency AND c.revenue IS NOT NULL
     UNION ALL
    SELECT member.key, -c.revenue
      FROM member JOIN goals_cancellation AS c ON c.site_id = :site AND c.goal_id = member.goal_id
     WHERE c.occurred_at >= :day AND c.currency = :currency AND c.revenue IS NOT NULL
)
SELECT key, sum(revenue) AS revenue FROM amount GROUP BY key
