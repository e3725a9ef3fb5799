create or replace view points_entries as
select entry_id, member_id, kind, points, source, fact_id, rule_id, rule_version, occurred_at, recorded_at, caused_by,
    active_from, expires_at, order_source, order_id, lines, partition, position
from staging.points_entries;
