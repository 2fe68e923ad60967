-- Last conversions of the goals of a site, without the goals that have none.
--
-- goal id, time
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, max(c.occurred_at) AS last_at
  FROM member
  JOIN LATERAL (
    SELECT occurred_at FROM goals_conversion
     WHERE site_id = :site AND goal_id = member.goal_id ORDER BY occurred_at DESC LIMIT 1) AS c ON true
 GROUP BY member.key
