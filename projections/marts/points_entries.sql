create or replace view points_entries as
select e.entry_id, e.member_id, e.kind, e.points, coalesce(e.source, d.source) as source, coalesce(e.fact_id, d.fact_id) as fact_id,
    e.rule_id, e.rule_version, e.occurred_at, d.recorded_at, e.caused_by, e.active_from, e.expires_at, e.order_source, e.order_id,
    e.lines, e.earned_at, e.waits_for, e.cancel_at, e.partition, e.position
from staging.points_entries as e
inner join staging.decisions as d using (partition, position);
