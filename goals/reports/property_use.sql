-- Properties of the newest conversions, and fields of those that are objects: conversions that have them, values.
--
-- path, conversions, different values, conversions that were read
WITH latest AS (
    SELECT c.properties, c.occurred_at, c.id, pg_column_size(c.properties) AS size
      FROM unnest(:goals::bigint[]) AS member (id)
      JOIN LATERAL (
        SELECT properties, occurred_at, id FROM goals_conversion
         WHERE site_id = :site AND goal_id = member.id AND occurred_at >= :since AND occurred_at < :until
         ORDER BY occurred_at DESC, id DESC LIMIT :newest) AS c ON true
     ORDER BY c.occurred_at DESC, c.id DESC LIMIT :newest
), sized AS (
    SELECT properties, sum(size) OVER (ORDER BY occurred_at DESC, id DESC) AS so_far
      FROM latest
     WHERE size <= :bytes_each
), seen AS MATERIALIZED (
    SELECT properties FROM sized WHERE so_far <= :bytes
), property AS (
    SELECT p.key AS path, p.value
      FROM seen
      JOIN LATERAL (
        SELECT key, value FROM jsonb_each(seen.properties)
         WHERE length(key) <= :length AND key NOT LIKE '%.%' LIMIT :most_each) AS p ON true
), field AS (
    SELECT path, value FROM property WHERE jsonb_typeof(value) <> 'object'
    UNION ALL
    SELECT property.path || '.' || f.key AS path, f.value
      FROM property
      JOIN LATERAL (
        SELECT key, value FROM jsonb_each(CASE jsonb_typeof(property.value) WHEN 'object' THEN property.value END)
         WHERE length(key) <= :length AND key NOT LIKE '%.%' LIMIT :most_each) AS f ON true
     WHERE jsonb_typeof(f.value) <> 'object'
)
SELECT path, count(*) AS conversions, count(DISTINCT jsonb_hash_extended(value, 0)) AS different_values,
       (SELECT count(*) FROM seen) AS conversions_read
  FROM field
 WHERE jsonb_typeof(value) <> 'null'
 GROUP BY path
 ORDER BY count(*) DESC, path
 LIMIT :most
