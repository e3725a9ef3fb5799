create or replace view visits as
select v.source, v.fact_id, v.member_id, v.occurred_at, v.recorded_at, v.store, v.dwell_seconds, v.seen_by
from staging.visits as v
inner join staging.decided as d using (partition, position)
where d.reason is distinct from 'same_visit';
