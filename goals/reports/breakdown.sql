-- Conversions of some goals as one by a property, currency or source: the largest parts, and the others together.
--
-- value (NULL of the others), conversions, visitors, revenue by currency, visits that began, rank, number of all values
WITH latest AS (  -- with conversions before them, which say whether the first ones begin a visit
    SELECT c.*, row_number() OVER (ORDER BY c.occurred_at DESC, c.id DESC) AS place
      FROM unnest(:goals::bigint[]) AS member (id)
      JOIN LATERAL (
        SELECT * FROM goals_conversion
         WHERE site_id = :site AND goal_id = member.id
               AND occurred_at >= coalesce(:since, '-infinity'::timestamptz) - :visit_gap::interval
               AND occurred_at < coalesce(:until, 'infinity'::timestamptz)
         ORDER BY occurred_at DESC, id DESC LIMIT :newest::int + :before) AS c ON true
     ORDER BY c.occurred_at DESC, c.id DESC LIMIT :newest::int + :before
), dated AS (
    SELECT latest.*, coalesce(occurred_at >= lag(occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
      FROM latest
    WINDOW visitor AS (PARTITION BY visitor_code ORDER BY occurred_at)
), hit AS (
    SELECT CASE :by
               -- A value that is too long for a page is kept apart from others by its hash.
               WHEN 'property' THEN (
                   SELECT CASE WHEN length(long.value) <= :length THEN long.value
                               ELSE left(long.value, :length) || '… (' || left(md5(long.value), 8) || ')' END
                     -- OFFSET 0 reads the value once for its length, its beginning and its hash.
                     FROM (SELECT properties #>> :path::text[] AS value OFFSET 0) AS long)  -- noqa: PRS
               WHEN 'currency' THEN currency
               ELSE source_id::text END AS value,
           visitor_code, revenue, currency, visit
      FROM dated
     WHERE occurred_at >= coalesce(:since, '-infinity'::timestamptz) AND (:newest::int IS NULL OR place <= :newest)
           AND (:visitors::text[] IS NULL OR visitor_code = ANY(:visitors))
           AND NOT EXISTS (
               SELECT FROM jsonb_to_recordset(:fields::jsonb) AS field (by text, path text[], value text)
                CROSS JOIN LATERAL (
                   SELECT CASE field.by WHEN 'property' THEN dated.properties #>> field.path
                                        WHEN 'currency' THEN dated.currency
                                        ELSE dated.source_id::text END AS value OFFSET 0) AS its  -- noqa: PRS
                WHERE CASE WHEN length(its.value) <= :length THEN its.value
                           ELSE left(its.value, :length) || '… (' || left(md5(its.value), 8) || ')'
                           END IS DISTINCT FROM field.value)
), ranked AS (
    SELECT value, row_number() OVER (ORDER BY count(*) DESC, value) AS rank FROM hit GROUP BY value
), placed AS (
    SELECT hit.*, least(ranked.rank, :top + 1) AS rank
      FROM hit  -- by equality, which can be hashed: every conversion may have a value of its own
      JOIN ranked ON coalesce(ranked.value, '') = coalesce(hit.value, '')
                 AND (ranked.value IS NULL) = (hit.value IS NULL)
)
SELECT CASE WHEN rank <= :top THEN min(value) END AS value, count(*) AS conversions,
       count(DISTINCT visitor_code) AS visitors,
       (SELECT jsonb_object_agg(currency, total)::text
          FROM (SELECT p.currency, sum(p.revenue)::text AS total FROM placed AS p
                 WHERE p.rank = placed.rank AND p.revenue IS NOT NULL
                 GROUP BY p.currency) AS amount) AS revenue,
       sum(visit) AS visits, rank, (SELECT count(*) FROM ranked) AS values_in_all
  FROM placed
 GROUP BY rank
 ORDER BY rank
