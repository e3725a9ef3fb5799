-- statement: tier_distribution_as_of
-- Members by tier at the end of a day, what they left in the 365 days until then, and the points that their tier itself gave them.
create or replace macro tier_distribution_as_of(day, known_at := null) as table (
    with held as (
        select h.member_id, h.tier
        from main.tier_history as h
        cross join staging.clock as c
        where cast(h.from_at at time zone c.time_zone as date) <= cast(day as date)
            and (h.to_at is null or cast(h.to_at at time zone c.time_zone as date) > cast(day as date))
    ),

    sold as (
        select member_id, count(*) as orders, sum(net_minor) as net_minor
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null and sold_on > as_of - 365
        group by member_id
    ),

    given_by_tier as (
        select member_id, sum(points) as points
        from staging.entries_as_of(day, known_at := known_at)
        where rule_id like 'tier:%' and moved_on > cast(day as date) - 365
        group by member_id
    )

    select h.tier, count(*) as members, count(*) / sum(count(*)) over () as share, cast(coalesce(sum(s.orders), 0) as bigint) as orders,
        cast(coalesce(sum(s.net_minor), 0) as bigint) as net_minor, coalesce(sum(s.net_minor), 0) / count(*) as net_per_member_minor,
        cast(coalesce(sum(g.points), 0) as bigint) as tier_points
    from held as h
    left join sold as s using (member_id)
    left join given_by_tier as g using (member_id)
    group by h.tier
);

-- statement: tier_distribution
create or replace view tier_distribution as
from tier_distribution_as_of((select c.as_of from staging.clock as c));
