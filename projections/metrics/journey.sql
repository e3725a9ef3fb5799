-- statement: journey_as_of
-- How far members come on two paths. A member is at a step only if he took all steps before it.
create or replace macro journey_as_of(day, known_at := null) as table (
    with days_of as (
        select member_id, sold_on, row_number() over (partition by member_id order by sold_on) as nth
        from staging.purchase_days_as_of(day, known_at := known_at)
    ),

    bought as (
        select member_id, min(sold_on) filter (where nth = 1) as first_on, min(sold_on) filter (where nth = 2) as second_on,
            min(sold_on) filter (where nth = 3) as third_on, min(sold_on) filter (where nth = 10) as tenth_on
        from days_of
        group by member_id
    ),

    moved as (
        select member_id, min(moved_on) filter (where kind = 'earn') as earned_on, min(moved_on) filter (where kind = 'redeem') as redeemed_on
        from staging.entries_as_of(day, known_at := known_at)
        group by member_id
    ),

    members_of as (
        select a.member_id, cast(a.joined_at at time zone c.time_zone as date) as joined_on
        from staging.accounts as a
        cross join staging.clock as c
        where cast(a.joined_at at time zone c.time_zone as date) <= cast(day as date) and a.member_id not in (select w.alias from staging.owners as w)
    ),

    paths as (
        select 'buying' as path, m.member_id,
            [m.joined_on, b.first_on, b.second_on, b.third_on, b.tenth_on] as reached,
            ['account', 'first purchase', 'second purchase day', 'third purchase day', 'tenth purchase day'] as names
        from members_of as m
        left join bought as b using (member_id)
        union all
        select 'rewards', m.member_id, [m.joined_on, e.earned_on, e.redeemed_on], ['account', 'first points', 'first reward']
        from members_of as m
        left join moved as e using (member_id)
    ),

    steps as (
        select path, member_id, generate_subscripts(reached, 1) as step, unnest(names) as name, unnest(reached) as reached_on,
            unnest(list_concat([cast(null as date)], reached[:-2])) as before_on
        from paths
    )

    select path, cast(step as integer) as step, name, count(reached_on) as members,
        count(reached_on) / nullif(first_value(count(reached_on)) over (partition by path order by step), 0) as share_of_all,
        count(reached_on) / nullif(lag(count(reached_on)) over (partition by path order by step), 0) as share_of_before,
        lag(count(reached_on)) over (partition by path order by step) - count(reached_on) as dropped,
        median(reached_on - before_on) as median_days
    from steps
    group by path, step, name
);

-- statement: journey
create or replace view journey as
from journey_as_of((select c.as_of from staging.clock as c));
