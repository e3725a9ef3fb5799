-- What points do and what they will cost: the metrics of docs/metrics.md, newest first.

-- statement: months
select month, earned, redeemed, expired, clawed_back, net, outstanding, earning_members, redeeming_members
from points_months
order by month desc
limit 24;

-- statement: breakage
select cohort_month, issued, redeemed, expired, taken_back, points_left, redeemed_share, breakage_share, expected_redeemed
from breakage
order by cohort_month desc
limit 24;

-- statement: liability
select expires_month, lots, members, points, pending, expected_points
from liability_by_expiry
order by expires_month nulls last
limit 36;

-- statement: uptake
select reward, asked, granted, refused, fulfilled, cancelled, members, members_share, points
from reward_uptake
order by granted desc, reward
limit 60;

-- statement: tiers
select tier, members, share, orders, net_minor, net_per_member_minor, tier_points
from tier_distribution
order by members desc, tier;

-- statement: moves
select month, from_tier, to_tier, moves, members
from tier_movements
order by month desc, moves desc, to_tier
limit 40;
