-- How much of the sales comes from members? By week
-- chart: bar
select cast(date_trunc('week', p.occurred_at at time zone m.time_zone) as date) as week, sum(p.total_minor) / 100 as sales,
    coalesce(sum(p.total_minor) filter (where p.member_id is not null), 0) / 100 as from_members
from purchases as p
cross join meta as m
where p.currency = m.currency
group by week
order by week;
