-- One guest orders the same at the same time every day; the rules change on Thursday.
select strftime(any_value(p.occurred_at at time zone m.time_zone), '%a %Y-%m-%d %H:%M') as "when",
    format('{:,.2f}', any_value(p.total_minor) / 100) as "paid", any_value(e.rule_version) as "rules",
    cast(sum(e.points) as bigint) as "points", string_agg(e.rule_id || ' ' || e.points, ', ' order by e.points desc, e.rule_id) as "why"
from purchases as p
cross join meta as m
inner join points_entries as e on e.source = p.source and e.fact_id = p.fact_id
where e.kind = 'earn' and p.member_id = 'guest-001'
group by p.fact_id
order by any_value(p.occurred_at);
