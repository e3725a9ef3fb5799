-- statement: engagement_as_of
-- What a member did in the last 90 days, each thing by its weight, halved every 30 days: 0 for nothing, near 100 for somebody who comes often.
create or replace macro engagement_as_of(day, known_at := null) as table (
    with done as (
        select member_id, 'purchase' as what, sold_on as done_on
        from staging.purchase_days_as_of(day, known_at := known_at)
        union all
        select v.member_id, 'visit', cast(v.occurred_at at time zone c.time_zone as date)
        from main.visits as v
        cross join staging.clock as c
        where known_at is null or v.recorded_at <= cast(known_at as timestamptz)
        union all
        select r.member_id, 'review', cast(r.occurred_at at time zone c.time_zone as date)
        from main.reviews as r
        cross join staging.clock as c
        where known_at is null or r.recorded_at <= cast(known_at as timestamptz)
        union all
        select f.referrer, 'referral', cast(f.occurred_at at time zone c.time_zone as date)
        from main.referrals as f
        cross join staging.clock as c
        where f.reason is null and (known_at is null or f.recorded_at <= cast(known_at as timestamptz))
        union all
        select a.member_id, 'activity', cast(a.occurred_at at time zone c.time_zone as date)
        from main.activities as a
        cross join staging.clock as c
        where a.name not in ('delivered', 'complaint', 'service_contact')
            and (known_at is null or a.recorded_at <= cast(known_at as timestamptz))
        union all
        select d.member_id, 'redemption', cast(d.occurred_at at time zone c.time_zone as date)
        from main.redemptions as d
        cross join staging.clock as c
        where d.state <> 'refused' and (known_at is null or d.recorded_at <= cast(known_at as timestamptz))
    ),

    weighed as (
        select d.member_id, d.what, w.weight * pow(0.5, (cast(day as date) - d.done_on) / 30.0) as weight
        from done as d
        inner join (values ('purchase', 5), ('visit', 1), ('review', 4), ('referral', 8), ('activity', 1), ('redemption', 3)) as w(what, weight)
            using (what)
        where d.done_on <= cast(day as date) and d.done_on > cast(day as date) - 90
    ),

    summed as (
        select member_id, sum(weight) as weight, count(*) filter (where what = 'purchase') as purchase_days,
            count(*) filter (where what = 'visit') as visits, count(*) filter (where what = 'review') as reviews,
            count(*) filter (where what = 'referral') as referrals, count(*) filter (where what = 'activity') as activities,
            count(*) filter (where what = 'redemption') as redemptions
        from weighed
        group by member_id
    )

    select m.member_id, round(100 * (1 - exp(-coalesce(s.weight, 0) / 15)), 1) as score, coalesce(s.purchase_days, 0) as purchase_days,
        coalesce(s.visits, 0) as visits, coalesce(s.reviews, 0) as reviews, coalesce(s.referrals, 0) as referrals,
        coalesce(s.activities, 0) as activities, coalesce(s.redemptions, 0) as redemptions
    from staging.accounts as m
    left join summed as s using (member_id)
    where m.member_id not in (select w.alias from staging.owners as w)
);

-- statement: engagement
create or replace view engagement as
from engagement_as_of((select c.as_of from staging.clock as c));
