-- What members had in points when a month ended -> staging.points_ends, member_points, waiting_lots. $1 is the last day of the month. It runs after
-- staging/months.sql, for the partitions of which that keeps the month (months_reach), and like it makes the new month from the one before and what
-- came since. It goes up to a decision by which nothing had moved later than the month, so that nobody is ever counted anew.

-- statement: reach
-- From where to where, per partition; and from which month.
create or replace temp table points_reach as
with zone as (
    select cast(cast($1 as date) + 1 as timestamp) at time zone c.time_zone as ends_at
    from staging.clock as c
),

later as (
    select d.partition, min(d.position) as position
    from staging.decisions as d
    inner join months_reach as r on r.partition = d.partition and d.fact_position > r.up_to
    group by d.partition
    union all
    select e.partition, min(e.position)
    from staging.points_entries as e
    inner join zone as z on e.occurred_at >= z.ends_at
    group by e.partition
),

before as (
    select e.*
    from staging.points_ends as e
    where e.month_end < cast($1 as date)
    qualify row_number() over (partition by e.partition order by e.month_end desc) = 1
)

select r.partition, min(l.position) - 1 as up_to, coalesce(any_value(b.up_to), -1) as after_position, any_value(b.month_end) as base_month,
    any_value(z.ends_at) as ends_at
from months_reach as r
inner join later as l on l.partition = r.partition
cross join zone as z
left join before as b on b.partition = r.partition
group by r.partition
having min(l.position) - 1 > coalesce(any_value(b.up_to), -1);

-- statement: members
insert into staging.member_points
with moved as (
    select m.partition, m.member_id, m.points_left, m.debt, m.earned, m.spent, m.expired, m.clawed_back, m.cancelled, m.adjusted, m.transferred
    from staging.member_points as m
    inner join points_reach as r on r.partition = m.partition and r.base_month = m.month_end
    union all
    select m.partition, m.member_id, m.points_left, m.debt, m.earned, m.spent, m.expired, m.clawed_back, m.cancelled, m.adjusted, m.transferred
    from staging.points_moves as m
    inner join points_reach as r on r.partition = m.partition and m.position > r.after_position and m.position <= r.up_to
)

select partition, cast($1 as date), member_id, sum(points_left), sum(debt), sum(earned), sum(spent), sum(expired), sum(clawed_back),
    sum(cancelled), sum(adjusted), sum(transferred)
from moved
group by partition, member_id;

-- statement: lots
-- What can no more be pending is left out: what was released, what could be spent by then, what waited in vain and was taken; nothing is given
-- back to a lot that waits for a fact.
insert into staging.waiting_lots
with burns as (
    select b.partition, b.position, b.entry_id, b.lot_id, b.points
    from staging.lot_burns as b
    inner join points_reach as r on r.partition = b.partition and b.position > r.after_position and b.position <= r.up_to
),

released as (
    select b.lot_id
    from staging.points_entries as e
    inner join points_reach as r on r.partition = e.partition and e.position > r.after_position and e.position <= r.up_to
    inner join burns as b on b.partition = e.partition and b.position = e.position and b.entry_id = e.entry_id
    where e.kind = 'release'
),

waiting as (
    select w.partition, w.lot_id, w.member_id, w.points_left, w.active_from
    from staging.waiting_lots as w
    inner join points_reach as r on r.partition = w.partition and r.base_month = w.month_end
    where w.active_from is null or w.active_from > r.ends_at
    union all
    select e.partition, e.entry_id, e.member_id, e.points, if(e.waits_for is null, e.active_from, null)
    from staging.points_entries as e
    inner join points_reach as r on r.partition = e.partition and e.position > r.after_position and e.position <= r.up_to
    where e.points > 0 and e.kind <> 'restore' and (e.waits_for is not null or e.active_from > r.ends_at)
)

select w.partition, cast($1 as date), w.lot_id, w.member_id, w.points_left - coalesce(b.points, 0), w.active_from
from waiting as w
left join (select lot_id, sum(points) as points from burns group by lot_id) as b on b.lot_id = w.lot_id
where w.lot_id not in (select r.lot_id from released as r) and (w.active_from is not null or w.points_left > coalesce(b.points, 0));

-- statement: ends
-- Last, as a month without this row is not looked at.
insert into staging.points_ends
select partition, cast($1 as date), up_to, ends_at
from points_reach;
