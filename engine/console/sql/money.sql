-- What the programme costs and brings, and how far its goals are: the metrics of docs/metrics.md.

-- statement: goals
select g.goal_id, g.metric, coalesce(g.store, g.channel) as place, g.baseline, g.target, g.value, g.share_of_way, g.begins_on, g.ends_on,
    g.share_of_time, g.line_value, g.state
from goal_progress as g
order by g.ends_on, g.goal_id;

-- statement: costs
select month, foreseen_minor, unforeseen_minor, points_spent, spent_minor, cost_minor, given_minor, member_net_minor, share_of_sales, complete
from programme_costs
order by month desc
limit 24;

-- statement: kinds
select kind, foreseen, sum(lines) as lines, sum(amount_minor) as amount_minor, max(spent_on) as newest
from cost_days
group by all
order by amount_minor desc, kind
limit 40;

-- statement: roi
select basis, rule_id, rule_version, members, held_out_members, sales_minor, kept, margin_minor, margin_low_minor, margin_high_minor, told_minor,
    points_minor, cost_minor, gain_minor, roi, roi_low, roi_high
from roi
order by basis desc, rule_id, rule_version;

-- statement: currency
select currency
from meta;

-- statement: liability
select expires_month, points, expected_points, owed_minor, expected_minor, breakage_minor
from liability_in_money
order by expires_month nulls last
limit 36;
