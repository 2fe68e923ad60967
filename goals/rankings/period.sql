-- Conversions of the goals of a site in some days, without the goals that have none.
--
-- goal id, conversions
WITH member AS MATERIALIZED (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
), total AS MATERIALIZED (  -- before the join, because a goal has many days
    SELECT goal_id, sum(conversions) AS conversions
      FROM goals_goalday WHERE site_id = :site AND day >= :first AND day <= :last GROUP BY goal_id
)
SELECT member.key, sum(total.conversions)::bigint AS conversions
  FROM member JOIN total USING (goal_id)
 GROUP BY member.key
