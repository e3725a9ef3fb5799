create or replace view reviews as
select r.source, r.fact_id, r.member_id, r.occurred_at, r.recorded_at, r.sku, r.place, r.rating, r.verified, r.link
from staging.reviews as r
inner join staging.decided as d using (partition, position);
