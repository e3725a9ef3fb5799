create or replace view tier_history as
select member_id, tier, from_at, to_at
from staging.tier_spans(null);
