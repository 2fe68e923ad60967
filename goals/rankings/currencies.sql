-- Currencies of the sites' revenue: that of the most goals first, then by name.
--
-- currency
SELECT money.name
  FROM goals_goal AS g
  JOIN goals_goaltotal AS t ON t.goal_id = g.id, jsonb_object_keys(t.revenue) AS money (name)
 WHERE g.site_id = ANY(:sites) AND g.deleted_at IS NULL
 GROUP BY money.name
 ORDER BY count(*) DESC, money.name
