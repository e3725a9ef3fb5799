-- How many hold which tier, and until when at least.
select t.tier as "tier", count(*) as "members", cast(sum(coalesce(b.available, 0)) as bigint) as "points held",
    cast(max(t.until) at time zone any_value(m.time_zone) as date) as "held until"
from tiers as t
left join balances as b on b.member_id = t.member_id
cross join meta as m
group by t.tier
order by "points held" / "members";
