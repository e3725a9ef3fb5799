-- statement: points_months_as_of
-- Points by month and reason; outstanding is what all members together have at the month's end, less what they owe.
create or replace macro points_months_as_of(day, known_at := null) as table (
    with moved as (
        select cast(date_trunc('month', moved_on) as date) as month,
            coalesce(sum(points) filter (where kind = 'earn'), 0) as earned,
            coalesce(sum(points) filter (where kind = 'adjust'), 0) as adjusted,
            coalesce(-sum(points) filter (where kind in ('redeem', 'restore')), 0) as redeemed,
            coalesce(-sum(points) filter (where kind in ('expire', 'reinstate')), 0) as expired,
            coalesce(-sum(points) filter (where kind = 'clawback'), 0) as clawed_back,
            coalesce(-sum(points) filter (where kind = 'cancel'), 0) as cancelled,
            coalesce(sum(points) filter (where kind = 'transfer'), 0) as transferred,
            sum(points) as net, count(distinct member_id) filter (where kind = 'earn') as earning_members,
            count(distinct member_id) filter (where kind = 'redeem') as redeeming_members
        from staging.entries_as_of(day, known_at := known_at)
        group by month
    )

    select month, cast(earned as bigint) as earned, cast(adjusted as bigint) as adjusted, cast(redeemed as bigint) as redeemed,
        cast(expired as bigint) as expired, cast(clawed_back as bigint) as clawed_back, cast(cancelled as bigint) as cancelled,
        cast(transferred as bigint) as transferred, cast(net as bigint) as net, cast(sum(net) over (order by month) as bigint) as outstanding,
        earning_members, redeeming_members
    from moved
);

-- statement: points_months
create or replace view points_months as
from points_months_as_of((select c.as_of from staging.clock as c));
