-- When do members buy? Orders by weekday, as a plot in the answer itself
select isodow(p.occurred_at at time zone m.time_zone) as number, dayname(p.occurred_at at time zone m.time_zone) as weekday,
    count(*) as orders, rtrim(bar(count(*), 0, max(count(*)) over (), 30)) as plot
from purchases as p
cross join meta as m
where p.member_id is not null
group by all
order by number;
