-- Conversions of the goals of a site since ever, without the goals that have none.
--
-- goal id, conversions
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, sum(t.conversions)::bigint AS conversions
  FROM member JOIN goals_goaltotal AS t ON t.site_id = :site AND t.goal_id = member.goal_id
 GROUP BY member.key
