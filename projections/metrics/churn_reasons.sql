-- statement: churn_reasons_as_of
-- Who is flagged, with every reason that the tables know, and the money of his last active year.
create or replace macro churn_reasons_as_of(day, horizon_days, known_at := null) as table (
    with sold as (
        select member_id, sold_on, net_minor, max(sold_on) over (partition by member_id) as last_on
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null
    ),

    years as (
        select member_id, cast(sum(net_minor) as bigint) as yearly_minor
        from sold
        where sold_on > last_on - 365
        group by member_id
    ),

    signs_of as (
        select member_id, list(sign order by sign) as signs
        from unhappy_members_as_of(day, known_at := known_at)
        group by member_id
    )

    select c.member_id, c.p_no_purchase, c.silent_days, c.usual_gap_days, c.reason, coalesce(s.signs, []) as signs, y.yearly_minor,
        cast(round(y.yearly_minor * c.p_no_purchase) as bigint) as at_stake_minor
    from churn_as_of(day, horizon_days, known_at := known_at) as c
    left join signs_of as s using (member_id)
    left join years as y using (member_id)
    where c.flagged
);

-- statement: churn_reasons
create or replace view churn_reasons as
from churn_reasons_as_of((select c.as_of from staging.clock as c), (select s.churn_horizon_days from staging.settings as s));
