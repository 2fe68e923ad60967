-- Converting visitors of groups of goals since a time, from the kept totals of visitors.
--
-- key of the group, visitors
WITH member AS MATERIALIZED (
    SELECT key, goal_id, count(*) OVER (PARTITION BY key) > 1 AS is_of_several
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
)
SELECT member.key, sum(later.visitors + of_day.visitors) AS visitors
  FROM member
  JOIN LATERAL (
    SELECT count(*) AS visitors FROM goals_goalvisitor AS v
     WHERE v.site_id = :site AND v.goal_id = member.goal_id AND v.last_day > (:since AT TIME ZONE 'UTC')::date
  ) AS later ON true
  JOIN LATERAL (
    SELECT count(*) AS visitors FROM goals_goalvisitor AS v
     WHERE v.site_id = :site AND v.goal_id = member.goal_id AND v.last_day = (:since AT TIME ZONE 'UTC')::date
           AND v.last_at >= :since
  ) AS of_day ON true
 WHERE NOT member.is_of_several
 GROUP BY member.key
 UNION ALL
SELECT key, count(*) AS visitors
  FROM (SELECT DISTINCT member.key, v.visitor_code
          FROM member
          JOIN goals_goalvisitor AS v ON v.site_id = :site AND v.goal_id = member.goal_id AND v.last_at >= :since
         WHERE member.is_of_several) AS visitor
 GROUP BY key
