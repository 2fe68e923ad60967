-- Converting visitors of groups of goals since some times, from the kept totals of visitors. `last_day` is of UTC.
--
-- place of the period, key of the group, visitors
WITH member AS MATERIALIZED (
    SELECT key, goal_id, count(*) OVER (PARTITION BY key) > 1 AS is_of_several
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
), period AS (
    SELECT place, since FROM unnest(:places::int[], :sinces::timestamptz[]) AS period (place, since)
)
SELECT period.place, member.key, sum(later.visitors + of_day.visitors) AS visitors
  FROM period CROSS JOIN member
  JOIN LATERAL (
    SELECT count(*) AS visitors FROM goals_goalvisitor AS v
     WHERE v.site_id = :site AND v.goal_id = member.goal_id AND v.last_day > (period.since AT TIME ZONE 'UTC')::date
  ) AS later ON true
  JOIN LATERAL (
    SELECT count(*) AS visitors FROM goals_goalvisitor AS v
     WHERE v.site_id = :site AND v.goal_id = member.goal_id AND v.last_day = (period.since AT TIME ZONE 'UTC')::date
           AND v.last_at >= period.since
  ) AS of_day ON true
 WHERE NOT member.is_of_several
 GROUP BY period.place, member.key
 UNION ALL
SELECT place, key, count(*) AS visitors
  FROM (SELECT DISTINCT period.place, member.key, v.visitor_code
          FROM period CROSS JOIN member
          JOIN goals_goalvisitor AS v
            ON v.site_id = :site AND v.goal_id = member.goal_id AND v.last_at >= period.since
         WHERE member.is_of_several) AS visitor
 GROUP BY place, key
