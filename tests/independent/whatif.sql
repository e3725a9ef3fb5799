-- statement: movements
select member_id, strftime(month, '%Y-%m'), rule_id, kind, points_now, times_now, points_new, times_new
from whatif_movements
order by all;

-- statement: members
select member_id, tier_now, tier_new, balance_now, balance_new, kept_now, kept_new, cost_minor, reached
from whatif_members
order by all;

-- statement: summary
select members, reached, cost_minor, liability_now_minor, liability_new_minor
from whatif_summary;
