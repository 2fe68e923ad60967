-- Conversions of the goals of a site in the last days, by the zone of each, without the goals that have none.
--
-- goal id, conversions
WITH member AS (  -- every live goal, with the goal that shows its totals
    SELECT coalesce(counts_for_id, id) AS key, id AS goal_id,
           (:now::timestamptz AT TIME ZONE day_zone)::date - :days_before::int AS month
      FROM goals_goal WHERE site_id = :site AND deleted_at IS NULL
)
SELECT member.key, sum(d.conversions)::bigint AS conversions
  FROM member JOIN goals_goalday AS d ON d.site_id = :site AND d.goal_id = member.goal_id
 WHERE d.day >= member.month
 GROUP BY member.key
