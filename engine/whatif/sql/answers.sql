-- What is shown of a comparison, on a terminal and on the page.

-- statement: run
from whatif_run;

-- statement: summary
from whatif_summary;

-- statement: months
from whatif_months;

-- statement: rules
from whatif_rules;

-- statement: tiers
from whatif_tiers;

-- statement: tier_moves
select *
from whatif_tier_moves
where tier_now <> tier_new;

-- statement: tier_flows
from whatif_tier_moves;

-- statement: segments
from whatif_segments;

-- statement: notices
from whatif_notices;

-- statement: members
-- Those whose balance differs most.
select member_id, segment, tier_now, tier_new, balance_now, balance_new, balance_more, kept_new - kept_now as points_more, cost_minor,
    notices_new - notices_now as notices_more
from whatif_members
where reached
order by abs(balance_more) desc, member_id
limit 20;
