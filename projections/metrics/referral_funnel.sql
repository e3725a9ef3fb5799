-- statement: referral_funnel_as_of
-- Referrals by month: how many count, how many of the new members bought, and again, and what they left since.
create or replace macro referral_funnel_as_of(day, known_at := null) as table (
    with brought as (
        select cast(date_trunc('month', r.occurred_at at time zone c.time_zone) as date) as month, r.referrer, r.member_id,
            r.reason is null as counts
        from main.referrals as r
        cross join staging.clock as c
        where cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
    ),

    sold as (
        select member_id, count(distinct sold_on) as purchase_days, sum(net_minor) as net_minor
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null
        group by member_id
    )

    select b.month, count(*) as referrals, count(*) filter (where b.counts) as counted, count(distinct b.referrer) filter (where b.counts) as referrers,
        count(*) filter (where b.counts and s.purchase_days >= 1) as bought, count(*) filter (where b.counts and s.purchase_days >= 2) as bought_again,
        count(*) filter (where b.counts and s.purchase_days >= 1) / nullif(count(*) filter (where b.counts), 0) as conversion,
        cast(coalesce(sum(s.net_minor) filter (where b.counts), 0) as bigint) as net_minor
    from brought as b
    left join sold as s using (member_id)
    group by b.month
);

-- statement: referral_funnel
create or replace view referral_funnel as
from referral_funnel_as_of((select c.as_of from staging.clock as c));
