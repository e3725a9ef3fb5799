-- statement: tier_movements
create or replace view tier_movements as
select cast(date_trunc('month', h.from_at at time zone c.time_zone) as date) as month, h.previous as from_tier, h.tier as to_tier, count(*) as moves,
    count(distinct h.member_id) as members
from (
    select member_id, tier, from_at, lag(tier) over (partition by member_id order by from_at) as previous
    from tier_history
) as h
cross join staging.clock as c
group by all;
