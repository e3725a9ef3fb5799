-- statement: breakage_as_of
-- What became of the points of each month of issue. expected_redeemed is a chain ladder: how redemptions of older months grew with age
-- tells how those of younger ones will; months without a redemption yet stay at what they have.
create or replace macro breakage_as_of(day, known_at := null) as table (
    with moves as (
        select *
        from staging.entries_as_of(day, known_at := known_at)
    ),

    issued as (
        select entry_id as lot_id, points, cast(date_trunc('month', coalesce(e.earned_at, e.occurred_at) at time zone c.time_zone) as date) as cohort_month
        from moves as e
        cross join staging.clock as c
        where e.points > 0 and e.kind <> 'restore'
    ),

    burns as (
        select i.cohort_month, b.points, e.kind, date_diff('month', i.cohort_month, e.moved_on) as age
        from staging.lot_burns as b
        inner join moves as e on e.partition = b.partition and e.position = b.position and e.entry_id = b.entry_id
        inner join issued as i on i.lot_id = b.lot_id
    ),

    sums as (
        select cohort_month, sum(points) filter (where kind in ('redeem', 'restore')) as redeemed,
            sum(points) filter (where kind in ('expire', 'reinstate')) as expired, sum(points) filter (where kind = 'transfer') as moved,
            sum(points) filter (where kind not in ('redeem', 'restore', 'expire', 'reinstate', 'transfer')) as taken_back
        from burns
        group by cohort_month
    ),

    cohorts_of as (
        select cohort_month, sum(points) as points, date_diff('month', cohort_month, cast(day as date)) as age
        from issued
        group by cohort_month
    ),

    grown as (
        select c.cohort_month, c.age as newest_age, g.age, coalesce(sum(b.points) filter (where b.kind in ('redeem', 'restore') and b.age <= g.age), 0) as redeemed
        from cohorts_of as c
        inner join (select unnest(range(0, 1200)) as age) as g on g.age <= c.age
        left join burns as b on b.cohort_month = c.cohort_month
        group by all
    ),

    factors as (
        select n.age - 1 as age, ln(greatest(sum(n.redeemed) / nullif(sum(o.redeemed), 0), 1)) as growth
        from grown as n
        inner join grown as o on o.cohort_month = n.cohort_month and o.age = n.age - 1
        group by n.age
    ),

    growths as (
        select c.cohort_month, exp(coalesce(sum(f.growth), 0)) as growth
        from cohorts_of as c
        left join factors as f on f.age >= c.age
        group by c.cohort_month
    )

    select c.cohort_month, cast(c.points - coalesce(s.moved, 0) as bigint) as issued, cast(coalesce(s.redeemed, 0) as bigint) as redeemed,
        cast(coalesce(s.expired, 0) as bigint) as expired, cast(coalesce(s.taken_back, 0) as bigint) as taken_back,
        cast(c.points - coalesce(s.moved, 0) - coalesce(s.redeemed, 0) - coalesce(s.expired, 0) - coalesce(s.taken_back, 0) as bigint) as points_left,
        coalesce(s.redeemed, 0) / nullif(c.points - coalesce(s.moved, 0) - coalesce(s.taken_back, 0), 0) as redeemed_share,
        coalesce(s.expired, 0) / nullif(c.points - coalesce(s.moved, 0) - coalesce(s.taken_back, 0), 0) as breakage_share,
        cast(least(round(coalesce(s.redeemed, 0) * g.growth), c.points - coalesce(s.moved, 0) - coalesce(s.taken_back, 0) - coalesce(s.expired, 0)) as bigint)
            as expected_redeemed
    from cohorts_of as c
    inner join growths as g using (cohort_month)
    left join sums as s using (cohort_month)
);

-- statement: breakage
create or replace view breakage as
from breakage_as_of((select c.as_of from staging.clock as c));
