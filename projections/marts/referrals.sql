create or replace view referrals as
select r.source, r.fact_id, r.member_id, r.referrer, r.occurred_at, r.recorded_at, d.reason
from staging.referrals as r
inner join staging.decided as d using (partition, position);
