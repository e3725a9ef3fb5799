create or replace view activities as
select a.source, a.fact_id, a.member_id, a.occurred_at, a.recorded_at, a.name, a.attributes
from staging.activities as a
inner join staging.decided as d using (partition, position);
