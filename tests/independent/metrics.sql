-- statement: repeat_purchases
select within_days, buyers, repeaters
from repeat_purchases;

-- statement: retention
select month, members_start, kept, lost, new_members, returned, members_end
from retention;

-- statement: cohorts
select cohort_month, months_since, cohort_size, active_members, orders, net_minor, rolling_members
from cohorts;

-- statement: purchase_rhythm
select member_id, purchase_days, cast(mean_gap_days as decimal(9, 1)), usual_gap_days, shortest_gap_days, longest_gap_days, silent_days
from purchase_rhythm;

-- statement: sleepers
select member_id, silent_days, yearly_minor
from sleepers;

-- statement: sales_months
select month, orders, member_orders, members, net_minor, member_net_minor
from sales_months
where dimension = 'all';

-- statement: preferred_products
select member_id, sku, quantity, amount_minor, orders
from preferred_products;

-- statement: products
select sku, orders, sold_quantity, returned_quantity, members, repeat_members
from products;

-- statement: churn
select members, churned
from churn_by_as_of((select as_of from meta), 14)
where dimension = 'all';

-- statement: rfm
select member_id, r, f
from rfm_as_of(date ':day');

-- statement: leaders
select month, place, member_id, amount
from leaderboards
where measure = 'money';

-- statement: points_months
select month, earned, clawed_back, outstanding
from points_months;
