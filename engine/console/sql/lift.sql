-- What moments bring, against their hold-outs, and what became of their notices.

-- statement: lift
select rule_id, rule_version, channel, members, reached, converted, rate, held_out_members, held_out_converted, held_out_rate, lift, lift_low,
    lift_high, ratio, ratio_low, ratio_high, cast(round(net_per_member_minor) as bigint) as net_per_member_minor,
    cast(round(net_per_held_out_minor) as bigint) as net_per_held_out_minor, regained, points, points_per_regained,
    cast(round(points_cost_minor) as bigint) as points_cost_minor, cast(round(cost_per_regained_minor) as bigint) as cost_per_regained_minor
from lift_as_of((select as_of from meta), $days, cast($point as double))
where goal = $goal and ($channels or channel = 'all')
order by rule_id, rule_version, channel <> 'all', channel;

-- statement: funnel
select rule_id, rule_version, channel, moments, made, no_consent, quiet, held_out, capped, too_late, sent, bounced, failed, expired, opened,
    clicked, nothing_told, open_rate, click_rate
from notice_funnel
order by rule_id, rule_version, channel;
