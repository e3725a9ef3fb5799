-- What `stammgast backtest-churn` asks. :cut is a day, :horizon a number of days.

-- statement: span
select as_of, (select min(cast(p.occurred_at at time zone m.time_zone as date)) from purchases as p where p.member_id is not null) as first_day
from meta as m;

-- statement: outcomes
-- One row per member with a purchase until the cut: what was said of him on that evening, and what he did.
with later as (
    select distinct p.member_id
    from purchases as p
    cross join meta as m
    where cast(p.occurred_at at time zone m.time_zone as date) > date ':cut'
        and cast(p.occurred_at at time zone m.time_zone as date) <= date ':cut' + :horizon
)

select c.member_id, c.p_no_purchase, c.flagged, c.silent_days, r.purchase_days, l.member_id is null as stayed_away
from churn_as_of(date ':cut', :horizon) as c
inner join purchase_rhythm_as_of(date ':cut') as r using (member_id)
left join later as l using (member_id)
order by c.member_id;
