-- Currencies of a site's revenue.
--
-- currency, goals
SELECT money.name, count(*) AS goals
  FROM goals_goal AS g
  JOIN goals_goaltotal AS t ON t.site_id = :site AND t.goal_id = g.id, jsonb_object_keys(t.revenue) AS money (name)
 WHERE g.site_id = :site AND g.deleted_at IS NULL
 GROUP BY money.name
