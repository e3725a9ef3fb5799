-- What comes back? Refunds by week, and how many of them name no known order
select cast(date_trunc('week', r.occurred_at at time zone m.time_zone) as date) as week, count(*) as refunds,
    count(*) filter (where r.reason = 'unknown_order') as of_unknown_orders,
    coalesce(sum(r.refunded_minor) filter (where r.reason is null), 0) / 100 as refunded
from refunds as r
cross join meta as m
group by week
order by week;
