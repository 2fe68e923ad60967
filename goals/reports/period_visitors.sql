-- Converting visitors of groups of goals in periods. `last_day` is of UTC.
--
-- place of the period, key of the group, visitors
WITH member AS MATERIALIZED (
    SELECT key, goal_id, count(*) OVER (PARTITION BY key) > 1 AS is_of_several
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
), asked AS MATERIALIZED (
    SELECT period.place, period.since, period.until, member.key, member.goal_id,
           period.until = :no_end::timestamptz AND NOT member.is_of_several AS is_kept
      FROM unnest(:places::int[], :sinces::timestamptz[], :untils::timestamptz[]) AS period (place, since, until)
     CROSS JOIN member
)
-- Of a single goal in a period that runs, from the kept totals of visitors.
SELECT asked.place, asked.key, later.visitors + of_day.visitors AS visitors
  FROM asked
  JOIN LATERAL (
    SELECT count(*) AS visitors FROM goals_goalvisitor AS v
     WHERE v.site_id = :site AND v.goal_id = asked.goal_id AND v.last_day > (asked.since AT TIME ZONE 'UTC')::date
  ) AS later ON true
  JOIN LATERAL (
    SELECT count(*) AS visitors FROM goals_goalvisitor AS v
     WHERE v.site_id = :site AND v.goal_id = asked.goal_id AND v.last_day = (asked.since AT TIME ZONE 'UTC')::date
           AND v.last_at >= asked.since
  ) AS of_day ON true
 WHERE asked.is_kept
 UNION ALL
-- Otherwise from the conversions. A visitor of two goals that count as one is one visitor.
SELECT place, key, count(*) AS visitors
  FROM (SELECT DISTINCT asked.place, asked.key, c.visitor_code
          FROM asked
          -- OFFSET 0 makes the planner read each goal's index once.
          JOIN LATERAL (
            SELECT visitor_code FROM goals_conversion
             WHERE site_id = :site AND goal_id = asked.goal_id
                   AND occurred_at >= asked.since AND occurred_at < asked.until
            OFFSET 0) AS c ON true
         WHERE NOT asked.is_kept) AS visitor
 GROUP BY place, key
