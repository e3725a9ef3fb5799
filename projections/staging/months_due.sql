-- Which month is to be kept next (projections/months.py).

-- statement: day
select as_of
from staging.clock;

-- statement: other_terms
-- Something, if what is kept was counted by the days of another time zone than the programme's, or in another currency.
select 1
from staging.month_ends as e
inner join staging.clock as c on c.time_zone <> e.time_zone or c.currency is distinct from e.currency
limit 1;

-- statement: forget_ends
delete from staging.month_ends;

-- statement: forget_members
delete from staging.member_months;

-- statement: forget_turns
delete from staging.month_turns;

-- statement: forget_points_ends
delete from staging.points_ends;

-- statement: forget_points
delete from staging.member_points;

-- statement: forget_lots
delete from staging.waiting_lots;

-- statement: due
-- The last day of the first month that ended in a partition and is not kept of it: that of the first purchase after what is kept, if one of a
-- later month was answered. Three days are left to the other partitions, so that one pass does for most of them.
with reach as (
    select a.partition, a.position as answered, coalesce(max(e.up_to), -1) as up_to
    from staging.answered_facts as a
    left join staging.month_ends as e on e.partition = a.partition
    group by a.partition, a.position
),

ahead as (
    select p.partition, min(p.position) as position, max(p.occurred_at) as newest_at
    from staging.purchases as p
    inner join reach as r on r.partition = p.partition and p.position > r.up_to
    where p.position <= r.answered
    group by p.partition
),

ended as (
    select last_day(cast(p.occurred_at at time zone c.time_zone as date)) as month_end
    from ahead as n
    inner join staging.purchases as p on p.partition = n.partition and p.position = n.position
    cross join staging.clock as c
    where n.newest_at >= cast(last_day(cast(p.occurred_at at time zone c.time_zone as date)) + 1 as timestamp) at time zone c.time_zone
        and last_day(cast(p.occurred_at at time zone c.time_zone as date)) + 3 < c.as_of
)

select min(month_end)
from ended;
