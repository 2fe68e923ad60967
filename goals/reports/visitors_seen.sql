-- Visitors with a conversion of some goals in periods, and in each step of them.
--
-- place of the period, begin of the step (NULL: the whole period), visitors, true if the period has more conversions
WITH chosen AS MATERIALIZED (  -- the goals of those periods that do not ask for all
    SELECT place, goal_id FROM unnest(:places::int[], :goals::bigint[]) AS chosen (place, goal_id)
), hit AS MATERIALIZED (
    SELECT period.place, c.visitor_code, width_bucket(c.occurred_at, :starts::timestamptz[]) AS step
      FROM unnest(:sinces::timestamptz[], :untils::timestamptz[], :of_all::boolean[])
           WITH ORDINALITY AS period (since, until, is_of_all, place)
     CROSS JOIN LATERAL (
        SELECT c.visitor_code, c.occurred_at
          FROM goals_goal AS g
          -- OFFSET 0 makes the planner read each goal's index once.
          JOIN LATERAL (
            SELECT visitor_code, occurred_at FROM goals_conversion
             WHERE site_id = :site AND goal_id = g.id
                   AND occurred_at >= period.since AND occurred_at < period.until
            OFFSET 0) AS c ON true
         WHERE g.site_id = :site AND g.deleted_at IS NULL
               AND (period.is_of_all OR g.id IN (SELECT goal_id FROM chosen WHERE chosen.place = period.place))
         LIMIT :most::bigint + 1) AS c
), period AS MATERIALIZED (
    SELECT place, coalesce(count(*) > :most::bigint, false) AS is_cut FROM hit GROUP BY place
), visitor AS MATERIALIZED (  -- without those of what is cut, which are not shown
    SELECT DISTINCT place, step, visitor_code FROM hit WHERE place IN (SELECT place FROM period WHERE NOT is_cut)
)
SELECT place, NULL::timestamptz AS begin, 0 AS visitors, is_cut FROM period WHERE is_cut
 UNION ALL
SELECT place, NULL, count(DISTINCT visitor_code), false FROM visitor GROUP BY place
 UNION ALL
SELECT place, (:starts::timestamptz[])[step], count(*), false FROM visitor WHERE step > 0 GROUP BY place, step
