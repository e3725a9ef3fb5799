-- statement: churn_by_as_of
-- Who was active `horizon_days` before the end of `day` and has bought nothing since: of all members, and by what was known of them then.
-- Active: bought within the same number of days before that. Store and channel are those of the last order until then, the category that
-- of most money until then, less what had come back by then, the segment and the tier those of that evening.
create or replace macro churn_by_as_of(day, horizon_days, known_at := null) as table (
    with asked as (
        select cast(day as date) as as_of, cast(horizon_days as integer) as horizon,
            cast(cast(day as date) - cast(horizon_days as integer) as date) as began_on, time_zone
        from staging.clock
    ),

    sold as (
        select o.*, a.began_on, a.horizon
        from staging.sales_as_of(day, known_at := known_at) as o
        cross join asked as a
        where o.member_id is not null
    ),

    stood as (
        select member_id, bool_or(sold_on > began_on) as stayed,
            arg_max(coalesce(store, 'none'), (occurred_at, position)) filter (where sold_on <= began_on) as store,
            arg_max(coalesce(channel, 'none'), (occurred_at, position)) filter (where sold_on <= began_on) as channel,
            coalesce(sum(net_minor) filter (where sold_on > began_on - horizon and sold_on <= began_on), 0) as net_minor
        from sold
        group by member_id
        having bool_or(sold_on <= began_on and sold_on > began_on - horizon)
    ),

    categories as (
        select member_id, arg_max(category, (amount_minor, category)) as category
        from (
            select l.member_id, coalesce(l.category, 'none') as category, sum(l.amount_minor) as amount_minor
            from staging.sold_lines_as_of(cast(day as date) - cast(horizon_days as integer), known_at := known_at) as l
            where l.member_id is not null
            group by all
        )
        group by member_id
    ),

    grouped as (
        select 'all' as dimension, 'all' as value, * from stood
        union all
        select 'store', store, * from stood
        union all
        select 'channel', channel, * from stood
        union all
        select 'category', c.category, s.* from stood as s inner join categories as c using (member_id)
        union all
        select 'segment', r.segment, s.*
        from stood as s
        inner join rfm_as_of(cast(day as date) - cast(horizon_days as integer), known_at := known_at) as r using (member_id)
        union all
        select 'tier', h.tier, s.*
        from stood as s
        cross join asked as a
        inner join main.tier_history as h on h.member_id = s.member_id and cast(h.from_at at time zone a.time_zone as date) <= a.began_on
            and (h.to_at is null or cast(h.to_at at time zone a.time_zone as date) > a.began_on)
    )

    select g.dimension, g.value, count(*) as members, count(*) filter (where g.stayed) as stayed, count(*) filter (where not g.stayed) as churned,
        churned / members as churn, cast(sum(g.net_minor) as bigint) as net_minor,
        cast(coalesce(sum(g.net_minor) filter (where not g.stayed), 0) as bigint) as churned_net_minor,
        any_value(a.began_on) as began_on, any_value(a.horizon) as horizon_days, any_value(a.as_of) as as_of
    from grouped as g
    cross join asked as a
    group by g.dimension, g.value
);

-- statement: churn_by
create or replace view churn_by as
from churn_by_as_of((select c.as_of from staging.clock as c), (select s.churn_horizon_days from staging.settings as s));
