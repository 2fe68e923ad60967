-- Conversions of the goals of a site since a time, without the goals that have none.
--
-- goal id, conversions
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, count(*) AS conversions
  FROM member JOIN goals_conversion AS c ON c.site_id = :site AND c.goal_id = member.goal_id
 WHERE c.occurred_at >= :day
 GROUP BY member.key
