-- statement: lift_as_of
-- What moments bring: members who met one, against those whom its hold-out kept from it. Chance alone told them apart, so what differs
-- afterwards is the moment's doing, within the intervals.
-- A member counts with his first moment of a rule and version, once its window is over. Compared is by intention (everybody who was not
-- held out and consents to a channel, also where quiet limits or lateness kept the notice back), for a hold-out is not asked for those
-- either; who consents to no channel stands in neither group. Each channel is compared with the held-out members whom it would have reached.
-- A point costs what it is worth under the version that gave it, unless the question says another price.
create or replace macro lift_as_of(day, window_days := 14, point_minor := null, known_at := null) as table (
    with asked as (
        select cast(day as date) as as_of, time_zone, cast(window_days as integer) as span_days,
            cast(point_minor as double) as price
        from staging.clock
    ),

    moments as (
        select n.rule_id, n.rule_version, n.member_id,
            arg_min(n.channel, (n.occurred_at, n.notice_id)) as channel,
            arg_min(coalesce(n.reason, 'none') = 'held_out', (n.occurred_at, n.notice_id)) as held_out,
            arg_min(n.state = 'made', (n.occurred_at, n.notice_id)) as made,
            arg_min(coalesce(n.points, 0), (n.occurred_at, n.notice_id)) as points,
            arg_min(greatest(n.occurred_at, coalesce(n.not_before, n.occurred_at)), (n.occurred_at, n.notice_id)) as began_at
        from main.notices as n
        where n.channel is not null and (known_at is null or n.recorded_at <= cast(known_at as timestamptz))
        group by n.rule_id, n.rule_version, n.member_id
    ),

    over as (
        select m.*, m.began_at + to_days(a.span_days) as ends_at, a.as_of, a.span_days, a.price
        from moments as m
        cross join asked as a
        where cast((m.began_at + to_days(a.span_days)) at time zone a.time_zone as date) <= a.as_of
    ),

    bought as (
        select o.rule_id, o.rule_version, o.member_id, sum(s.net_minor) as net_minor, count(*) as purchases
        from over as o
        inner join staging.sales_as_of(day, known_at := known_at) as s
            on s.member_id = o.member_id and s.occurred_at > o.began_at and s.occurred_at <= o.ends_at
        group by all
    ),

    came as (
        select o.rule_id, o.rule_version, o.member_id, count(*) as visits
        from over as o
        inner join main.visits as v on v.member_id = o.member_id and v.occurred_at > o.began_at and v.occurred_at <= o.ends_at
        where known_at is null or v.recorded_at <= cast(known_at as timestamptz)
        group by all
    ),

    followed as (
        select o.*, coalesce(b.net_minor, 0) as net_minor, coalesce(b.purchases, 0) > 0 as buys, coalesce(c.visits, 0) > 0 as comes
        from over as o
        left join bought as b using (rule_id, rule_version, member_id)
        left join came as c using (rule_id, rule_version, member_id)
    ),

    spread as (
        select f.*, unnest(['all', f.channel]) as by_channel
        from followed as f
    ),

    goals as (
        select s.* exclude (channel, buys, comes), s.by_channel as channel, unnest(['purchase', 'visit']) as goal,
            unnest([s.buys, s.comes]) as converted
        from spread as s
    ),

    counted as (
        select rule_id, rule_version, channel, goal,
            count(*) filter (where not held_out) as members, count(*) filter (where made) as reached,
            count(*) filter (where converted and not held_out) as converted,
            count(*) filter (where held_out) as held_out_members, count(*) filter (where converted and held_out) as held_out_converted,
            avg(net_minor) filter (where not held_out) as net_per_member_minor,
            avg(net_minor) filter (where held_out) as net_per_held_out_minor,
            stddev_samp(net_minor) filter (where not held_out) as net_deviation_minor,
            stddev_samp(net_minor) filter (where held_out) as net_held_out_deviation_minor,
            cast(coalesce(sum(points) filter (where not held_out), 0) as bigint) as points,
            any_value(price) as price, any_value(span_days) as span_days, any_value(as_of) as as_of
        from goals
        group by rule_id, rule_version, channel, goal
        having count(*) filter (where not held_out) > 0
    ),

    worths as (
        select w.version as rule_version, arg_max(w.point_minor, w.from_on) as worth
        from staging.economics as w
        group by w.version
    ),

    compared as (
        select counted.*, converted / members as rate, held_out_converted / nullif(held_out_members, 0) as held_out_rate,
            newcombe_low(converted, members, held_out_converted, held_out_members) as low,
            newcombe_high(converted, members, held_out_converted, held_out_members) as high,
            points * coalesce(price, worth) as cost
        from counted
        left join worths using (rule_version)
    )

    select rule_id, rule_version, channel, goal, members, reached, converted, rate, held_out_members, held_out_converted, held_out_rate,
        rate - held_out_rate as lift, low as lift_low, high as lift_high,
        if(held_out_rate > 0, rate / held_out_rate, null) as ratio,
        katz_bound(converted, members, held_out_converted, held_out_members, -1) as ratio_low,
        katz_bound(converted, members, held_out_converted, held_out_members, 1) as ratio_high,
        round(net_per_member_minor, 2) as net_per_member_minor, round(net_per_held_out_minor, 2) as net_per_held_out_minor,
        round(net_deviation_minor, 2) as net_deviation_minor, round(net_held_out_deviation_minor, 2) as net_held_out_deviation_minor,
        (rate - held_out_rate) * members as regained, points, round(cost, 2) as points_cost_minor,
        if(rate > held_out_rate, round(points / ((rate - held_out_rate) * members), 2), null) as points_per_regained,
        if(rate > held_out_rate, round(cost / ((rate - held_out_rate) * members), 2), null) as cost_per_regained_minor,
        span_days as window_days, as_of
    from compared
);

-- statement: lift
create or replace view lift as
from lift_as_of((select c.as_of from staging.clock as c));
