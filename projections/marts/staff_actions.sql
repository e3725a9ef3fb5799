create or replace view staff_actions as
select s.source, s.fact_id, s.action, s.member_id, s.occurred_at, s.recorded_at, s.operator, s.reason, s.details, d.reason as refused
from staging.staff_actions as s
inner join staging.decided as d using (partition, position);
