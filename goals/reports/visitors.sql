-- Conversions of some goals as one, by visitor and currency.
--
-- visitor code, currency, conversions, visits that began, revenue
WITH latest AS (  -- with conversions before them, which say whether the first ones begin a visit
    SELECT c.*, row_number() OVER (ORDER BY c.occurred_at DESC, c.id DESC) AS place
      FROM unnest(:goals::bigint[]) AS member (id)
      JOIN LATERAL (
        SELECT * FROM goals_conversion
         WHERE site_id = :site AND goal_id = member.id
               AND occurred_at >= :since::timestamptz - :visit_gap::interval AND occurred_at < :until
         ORDER BY occurred_at DESC, id DESC LIMIT :newest::int + :before) AS c ON true
     ORDER BY c.occurred_at DESC, c.id DESC LIMIT :newest::int + :before
), hit AS (
    SELECT latest.*, coalesce(occurred_at >= lag(occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
      FROM latest
    WINDOW visitor AS (PARTITION BY visitor_code ORDER BY occurred_at)
)
SELECT visitor_code, currency, count(*) AS conversions, sum(visit) AS visits, sum(revenue) AS revenue
  FROM hit
 WHERE occurred_at >= :since AND place <= :newest
       AND NOT EXISTS (
           SELECT FROM jsonb_to_recordset(:fields::jsonb) AS field (by text, path text[], value text)
            CROSS JOIN LATERAL (
               SELECT CASE field.by WHEN 'property' THEN hit.properties #>> field.path
                                    WHEN 'currency' THEN hit.currency
                                    ELSE hit.source_id::text END AS value OFFSET 0) AS its  -- noqa: PRS
            WHERE CASE WHEN length(its.value) <= :length THEN its.value
                       ELSE left(its.value, :length) || '… (' || left(md5(its.value), 8) || ')'
                       END IS DISTINCT FROM field.value)
 GROUP BY visitor_code, currency
