create or replace view decisions as
select source, fact_id, type, member_id, outcome, reason, programme_hash, occurred_at, recorded_at, notes,
    part, last, partition, position, fact_position
from staging.decisions;
