-- Visitors with a conversion of some goals in periods, and in each step of them.
--
-- place of the period, begin of the step (NULL: the whole period), visitors, true if the period has more conversions
WITH hit AS MATERIALIZED (
    SELECT period.place, c.visitor_code, width_bucket(c.occurred_at, :starts::timestamptz[]) AS step
      FROM unnest(:sinces::timestamptz[], :untils::timestamptz[])
           WITH ORDINALITY AS period (since, until, place)
     CROSS JOIN LATERAL (
        SELECT c.visitor_code, c.occurred_at
          FROM goals_goal AS g
          -- OFFSET 0 makes the planner read each goal's index once.
          JOIN LATERAL (
            SELECT visitor_code, occurred_at FROM goals_conversion
             WHERE site_id = :site AND goal_id = g.id
                   AND occurred_at >= period.since AND occurred_at < period.until
            OFFSET 0) AS c ON true
         WHERE g.site_id = :site AND g.deleted_at IS NULL AND (:goals::bigint[] IS NULL OR g.id = ANY(:goals))
         LIMIT :most::bigint + 1) AS c
), visitor AS MATERIALIZED (
    SELECT place, step, visitor_code, count(*) AS conversions FROM hit GROUP BY place, step, visitor_code
)
SELECT place, NULL::timestamptz AS begin, count(*) AS visitors, sum(conversions) > :most::bigint AS is_cut
  FROM (SELECT place, sum(conversions) AS conversions FROM visitor GROUP BY place, visitor_code) AS whole
 GROUP BY place
 UNION ALL
SELECT place, (:starts::timestamptz[])[step], count(*), false FROM visitor WHERE step > 0 GROUP BY place, step
