-- Other goals that visitors converted, among the newest conversions of each visitor. A merged goal is its target.
--
-- visitor code, id of the goal
SELECT DISTINCT visitor.code, coalesce(g.counts_for_id, g.id) AS goal_id
  FROM unnest(:codes::text[]) AS visitor (code)
  JOIN LATERAL (
    SELECT DISTINCT goal_id
      FROM (SELECT goal_id FROM goals_conversion
             WHERE site_id = :site AND visitor_code = visitor.code
             ORDER BY occurred_at DESC, id DESC LIMIT :most) AS newest) AS c ON true
  JOIN goals_goal AS g ON g.site_id = :site AND g.id = c.goal_id AND g.deleted_at IS NULL
 WHERE coalesce(g.counts_for_id, g.id) <> :goal
