-- What members had bought when a month ended -> staging.month_ends, member_months, month_turns. $1 is the last day of the month. It runs in a
-- transaction of its own (projections/months.py), once for all partitions of which a fact of a later month was answered, and makes the new
-- month from the one before and what came since. Nothing here asks for the clock on the wall or for how far the tables are: a rebuild
-- makes the same rows. Keys stay as they were told: whose they are now, questions look up.

-- statement: reach
-- From where to where, per partition; and from which month.
create or replace temp table months_reach as
with zone as (
    select c.time_zone, cast(cast($1 as date) + 1 as timestamp) at time zone c.time_zone as ends_at
    from staging.clock as c
),

behind as (
    select p.partition, min(p.position) - 1 as up_to
    from staging.purchases as p
    inner join staging.answered_facts as a on a.partition = p.partition and p.position <= a.position
    cross join zone as z
    where p.occurred_at >= z.ends_at
    group by p.partition
),

before as (
    select e.*
    from staging.month_ends as e
    inner join zone as z on z.time_zone = e.time_zone
    where e.month_end < cast($1 as date)
    qualify row_number() over (partition by e.partition order by e.month_end desc) = 1
)

select n.partition, n.up_to, coalesce(b.up_to, -1) as after_position, b.month_end as base_month, b.known_at as base_known_at, z.time_zone
from behind as n
cross join zone as z
left join before as b on b.partition = n.partition
left join staging.month_ends as e on e.partition = n.partition and e.month_end = cast($1 as date)
where e.partition is null and exists (
    select 1
    from staging.purchases as p
    where p.partition = n.partition and p.position <= n.up_to and p.position > coalesce(b.up_to, -1)
);

-- statement: new
-- Members' purchase days since then.
create or replace temp table months_new as
select distinct p.partition, p.member_id, q.day as sold_on
from staging.purchases as p
inner join months_reach as r on r.partition = p.partition and p.position > r.after_position and p.position <= r.up_to
inner join staging.counted_quarters as q on q.quarter = staging.quarter(p.occurred_at)
left join staging.uncounted_facts as u on u.partition = p.partition and u.position = p.position
where p.member_id is not null and u.position is null;

-- statement: touched
-- Members of whom a day of the months before was told late: theirs are counted anew.
create or replace temp table months_touched as
select distinct n.partition, n.member_id
from months_new as n
inner join months_reach as r on r.partition = n.partition
where n.sold_on <= r.base_month;

-- statement: present
select 'touched'
from months_touched
limit 1;

-- statement: again if touched
-- Their days by what is known now, and whether the month before had them.
create or replace temp table months_again as
select p.partition, p.member_id, q.day as sold_on, bool_or(p.position <= r.after_position) as was_known
from staging.purchases as p
inner join months_touched as t on t.partition = p.partition and t.member_id = p.member_id
inner join months_reach as r on r.partition = p.partition and p.position <= r.up_to
inner join staging.counted_quarters as q on q.quarter = staging.quarter(p.occurred_at)
left join staging.uncounted_facts as u on u.partition = p.partition and u.position = p.position
where u.position is null
group by all;

-- statement: leave_out if touched
delete from months_new as n
using months_touched as t
where t.partition = n.partition and t.member_id = n.member_id;

-- statement: take_in if touched
insert into months_new
select partition, member_id, sold_on
from months_again;

-- statement: ends
-- Before members' rows, which are made from the facts up to here.
insert into staging.month_ends
with told as (
    select partition, position, recorded_at from staging.purchases
    union all
    select partition, position, recorded_at from staging.refunds
)

select r.partition, cast($1 as date), r.up_to,
    greatest(coalesce(any_value(r.base_known_at), timestamptz '0001-01-01 00:00:00+00'), max(t.recorded_at)), r.time_zone, any_value(c.currency)
from months_reach as r
inner join told as t on t.partition = r.partition and t.position > r.after_position and t.position <= r.up_to
cross join staging.clock as c
group by r.partition, r.up_to, r.time_zone;

-- statement: spent
-- What changed of members' orders and money.
create or replace temp table months_spent as
select s.partition, s.member_id, sum(s.orders) as orders, sum(s.net_minor) as net_minor
from staging.spent_parts(cast($1 as date), keeping := true) as s
inner join months_reach as r on r.partition = s.partition
group by s.partition, s.member_id;

-- statement: members
insert into staging.member_months
with base as (
    select m.*
    from staging.member_months as m
    inner join months_reach as r on r.partition = m.partition and r.base_month = m.month_end
),

news as (
    select partition, member_id, min(sold_on) as first_on, max(sold_on) as last_on, count(*) as purchase_days
    from months_new
    group by partition, member_id
)

select coalesce(b.partition, n.partition), cast($1 as date), coalesce(b.member_id, n.member_id), least(b.first_on, n.first_on),
    greatest(b.last_on, n.last_on), if(t.member_id is null, coalesce(b.purchase_days, 0), 0) + coalesce(n.purchase_days, 0),
    coalesce(b.orders, 0) + coalesce(s.orders, 0), coalesce(b.net_minor, 0) + coalesce(s.net_minor, 0)
from base as b
full join news as n on n.partition = b.partition and n.member_id = b.member_id
left join months_spent as s on s.partition = coalesce(b.partition, n.partition) and s.member_id = coalesce(b.member_id, n.member_id)
left join months_touched as t on t.partition = b.partition and t.member_id = b.member_id;

-- statement: turns
insert into staging.month_turns
with moved as (
    select m.partition, m.turns_on, m.purchase_days
    from staging.month_turns as m
    inner join months_reach as r on r.partition = m.partition and r.base_month = m.month_end
    union all
    select n.partition, n.sold_on + cast(n.sold_on - s.first_on as integer), 1
    from months_new as n
    inner join staging.member_months as s on s.partition = n.partition and s.member_id = n.member_id and s.month_end = cast($1 as date)
    where n.sold_on > s.first_on
)

select partition, cast($1 as date), turns_on, sum(purchase_days)
from moved
group by partition, turns_on;

-- statement: turn_back if touched
-- What the month before had counted of those that were counted anew.
insert into staging.month_turns
with known as (
    select partition, member_id, sold_on, min(sold_on) over (partition by partition, member_id) as first_on
    from months_again
    where was_known
)

select partition, cast($1 as date), sold_on + cast(sold_on - first_on as integer), -count(*)
from known
where sold_on > first_on
group by all;

-- statement: forget
drop table months_new;
