-- Sums of an experiment by variation and day: visitors by the day of their first exposure, without a goal.
-- For each goal, metric and currency: what the day added to the sums of y, y², x, x² and xy. All days are the result.
--
-- A visitor counts who saw one variation, first between :since and :until. Conversions count from that moment on,
-- until :attribution is over (promise W14). They count under the visitor that links say now. The metric y is capped.
-- The same metric in :lookback before it is x. A goal counts with the goals that were merged into it; a merged one
-- has the figures of the goal that it counts for. If that counts once a visit, later conversions of it add nothing.
-- Visitors of several variations are one row without one.
--
-- One pass over the exposures by `goals_exposure_experiment`, and one search of `goals_conversion_visitor` for each
-- visitor. OFFSET keeps PostgreSQL from the conversions of all goals for each visitor, because it takes them for few.
WITH exposed AS MATERIALIZED (
    SELECT
        coalesce(e.linked_code, nullif(e.visitor_code, ''), e.anonymous_id) AS code,
        min(e.first_at) AS first_at,
        min(e.variation_id) AS variation,
        min(e.variation_id) <> max(e.variation_id) AS is_mixed
    FROM goals_exposure AS e
    WHERE e.site_id = :site AND e.experiment_id = :experiment
    GROUP BY 1
),

visitor AS MATERIALIZED (
    SELECT
        x.code,
        x.variation,
        x.first_at,
        (x.first_at AT TIME ZONE :zone)::date AS day
    FROM exposed AS x
    WHERE
        NOT x.is_mixed
        AND x.first_at >= coalesce(:since, '-infinity'::timestamptz)
        AND x.first_at < coalesce(:until, 'infinity'::timestamptz)
),

counted AS MATERIALIZED (
    SELECT
        g.id,
        chosen.id AS goal,
        final.has_multiple_conversions AS has_multiple
    FROM goals_goal AS chosen
    INNER JOIN goals_goal AS final
        ON final.site_id = :site AND final.deleted_at IS NULL AND final.id = coalesce(chosen.counts_for_id, chosen.id)
    INNER JOIN goals_goal AS g
        ON g.site_id = :site AND g.deleted_at IS NULL AND (g.id = final.id OR g.counts_for_id = final.id)
    WHERE chosen.site_id = :site AND chosen.deleted_at IS NULL AND chosen.id = any(:goals::bigint[])
),

hit AS MATERIALIZED (
    SELECT
        v.code,
        v.variation,
        k.goal,
        c.occurred_at < v.first_at AS is_before,
        CASE WHEN c.occurred_at < v.first_at THEN v.day ELSE (c.occurred_at AT TIME ZONE :zone)::date END AS day,
        c.revenue,
        c.currency,
        k.has_multiple,
        lag(c.occurred_at) OVER earlier AS previous_at,
        c.occurred_at
    FROM visitor AS v
    CROSS JOIN
        LATERAL (
            SELECT
                o.goal_id,
                o.occurred_at,
                o.revenue,
                o.currency
            FROM goals_conversion AS o
            WHERE
                o.site_id = :site
                AND o.visitor_code = v.code
                AND o.occurred_at >= v.first_at - :lookback::interval
                AND o.occurred_at < v.first_at + :attribution::interval
            OFFSET 0
        ) AS c
    INNER JOIN counted AS k ON c.goal_id = k.id
    WINDOW earlier AS (PARTITION BY v.code, k.goal, c.occurred_at < v.first_at ORDER BY c.occurred_at)
),

-- Additions of a visitor to a metric on a day, or before the exposure.
added AS (
    SELECT
        h.code,
        h.variation,
        h.goal,
        m.metric,
        m.currency,
        h.is_before,
        h.day,
        sum(m.value) AS value
    FROM hit AS h
    CROSS JOIN
        LATERAL (
            VALUES
            ('converted', '', CASE WHEN h.previous_at IS NULL THEN 1 ELSE 0 END::numeric),
            (
                'conversions',
                '',
                CASE
                    WHEN h.has_multiple OR h.previous_at IS NULL THEN 1
                    WHEN h.occurred_at - h.previous_at >= :visit_gap::interval THEN 1
                    ELSE 0
                END::numeric
            ),
            ('revenue', coalesce(h.currency, ''), h.revenue)
        ) AS m (metric, currency, value)
    WHERE m.value IS NOT NULL
    GROUP BY h.code, h.variation, h.goal, m.metric, m.currency, h.is_before, h.day
),

-- The metric of the visitor after each such day, capped. One day for what was before.
reached AS (
    SELECT
        a.code,
        a.variation,
        a.goal,
        a.metric,
        a.currency,
        a.is_before,
        a.day,
        least(
            sum(a.value) OVER (
                PARTITION BY a.code, a.goal, a.metric, a.currency, a.is_before ORDER BY a.day
            ),
            cap.most
        ) AS value
    FROM added AS a
    LEFT JOIN
        unnest(:cap_goals::bigint[], :cap_metrics::text[], :cap_currencies::text[], :caps::numeric[])
            AS cap (goal, metric, currency, most)
        ON a.goal = cap.goal AND a.metric = cap.metric AND a.currency = cap.currency
),

moved AS (
    SELECT
        r.code,
        r.variation,
        r.goal,
        r.metric,
        r.currency,
        r.is_before,
        r.day,
        r.value,
        coalesce(lag(r.value) OVER days, 0) AS old,
        coalesce(max(r.value) FILTER (WHERE r.is_before) OVER (
            PARTITION BY r.code, r.goal, r.metric, r.currency
        ), 0) AS x
    FROM reached AS r
    WINDOW days AS (PARTITION BY r.code, r.goal, r.metric, r.currency, r.is_before ORDER BY r.day)
)

SELECT
    v.variation,
    v.day,
    NULL::bigint AS goal,
    '' AS metric,
    '' AS currency,
    count(*)::numeric AS y,
    0::numeric AS yy,
    0::numeric AS x,
    0::numeric AS xx,
    0::numeric AS xy
FROM visitor AS v
GROUP BY v.variation, v.day
UNION ALL
SELECT
    NULL,
    NULL,
    NULL,
    '',
    '',
    count(*)::numeric,
    0,
    0,
    0,
    0
FROM exposed AS x
WHERE
    x.is_mixed
    AND x.first_at >= coalesce(:since, '-infinity'::timestamptz)
    AND x.first_at < coalesce(:until, 'infinity'::timestamptz)
UNION ALL
SELECT
    m.variation,
    m.day,
    m.goal,
    m.metric,
    m.currency,
    coalesce(sum(m.value - m.old) FILTER (WHERE NOT m.is_before), 0),
    coalesce(sum(m.value * m.value - m.old * m.old) FILTER (WHERE NOT m.is_before), 0),
    coalesce(sum(m.value) FILTER (WHERE m.is_before), 0),
    coalesce(sum(m.value * m.value) FILTER (WHERE m.is_before), 0),
    coalesce(sum(m.x * (m.value - m.old)) FILTER (WHERE NOT m.is_before), 0)
FROM moved AS m
GROUP BY m.variation, m.day, m.goal, m.metric, m.currency
ORDER BY 2, 1, 3, 4, 5
