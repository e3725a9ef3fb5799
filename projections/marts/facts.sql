create or replace view facts as
select source, fact_id, type, member_id, occurred_at, recorded_at, payload, partition, position
from staging.facts;
