-- statement: roi_as_of
-- What came back of what the programme cost. Two bases, never added up: each moment against its hold-out (what it changed, with an interval), and
-- gross, which takes every sale to a member for the programme's doing: an upper bound, no effect.
-- The interval is that of a difference of two means, variances apart, by the normal distribution (z = 1.96), carried through margin and cost.
create or replace macro roi_as_of(day, window_days := 14, known_at := null) as table (
    with worth as (
        select cast(day as date) as as_of, (select w.point_minor from staging.economics_at(day) as w) as point_minor,
            (select k.kept from staging.kept_as_of(day, known_at := known_at) as k) as kept
    ),

    told as (
        select c.rule_id, c.amount_minor, coalesce(w.version, 0) as rule_version
        from main.costs as c
        cross join staging.clock as k
        asof left join staging.economics as w on w.from_on <= c.spent_on
        where c.spent_on <= cast(day as date) and c.currency = coalesce(k.currency, c.currency)
            and (known_at is null or c.recorded_at <= cast(known_at as timestamptz))
    ),

    gross as (
        select 'gross' as basis, cast(null as varchar) as rule_id, cast(null as integer) as rule_version,
            (select count(distinct s.member_id) from staging.sales_as_of(day, known_at := known_at) as s where s.in_currency) as members,
            cast(null as bigint) as held_out_members,
            (select coalesce(sum(s.net_minor), 0) from staging.sales_as_of(day, known_at := known_at) as s where s.member_id is not null and s.in_currency)
                as sales_minor,
            cast(null as double) as spread_minor,
            (select coalesce(sum(t.amount_minor), 0) from told as t) as told_minor,
            (select sum(p.spent_minor) from programme_costs_as_of(day, known_at := known_at) as p) as points_minor
    ),

    held as (
        select 'hold_out' as basis, l.rule_id, l.rule_version, l.members, l.held_out_members,
            (l.net_per_member_minor - l.net_per_held_out_minor) * l.members as sales_minor,
            1.959963984540054 * l.members
                * sqrt(pow(l.net_deviation_minor, 2) / l.members + pow(l.net_held_out_deviation_minor, 2) / l.held_out_members) as spread_minor,
            coalesce((select sum(t.amount_minor) from told as t where t.rule_id = l.rule_id and t.rule_version = l.rule_version), 0) as told_minor,
            l.points * w.point_minor as points_minor
        from lift_as_of(day, window_days := window_days, known_at := known_at) as l
        cross join worth as w
        where l.channel = 'all' and l.goal = 'purchase' and l.held_out_members > 0
    ),

    both_of_them as (
        from gross
        union all
        from held
    ),

    counted as (
        select b.*, w.kept, b.sales_minor * w.kept as margin_minor, b.spread_minor * w.kept as margin_spread_minor,
            b.told_minor + coalesce(b.points_minor, 0) as cost_minor, w.as_of
        from both_of_them as b
        cross join worth as w
    )

    select basis, rule_id, rule_version, members, held_out_members, round(sales_minor, 2) as sales_minor, round(kept, 6) as kept,
        round(margin_minor, 2) as margin_minor, round(margin_minor - margin_spread_minor, 2) as margin_low_minor,
        round(margin_minor + margin_spread_minor, 2) as margin_high_minor, cast(told_minor as bigint) as told_minor,
        cast(points_minor as bigint) as points_minor, cast(cost_minor as bigint) as cost_minor, round(margin_minor - cost_minor, 2) as gain_minor,
        if(cost_minor > 0, (margin_minor - cost_minor) / cost_minor, null) as roi,
        if(cost_minor > 0, (margin_minor - margin_spread_minor - cost_minor) / cost_minor, null) as roi_low,
        if(cost_minor > 0, (margin_minor + margin_spread_minor - cost_minor) / cost_minor, null) as roi_high,
        if(
            basis = 'gross', 'upper bound: every sale to a member counts as if the programme had made it',
            'what the moment changed, against those whom chance kept from it'
        ) as says, as_of
    from counted
);

-- statement: roi
create or replace view roi as
from roi_as_of((select c.as_of from staging.clock as c));
