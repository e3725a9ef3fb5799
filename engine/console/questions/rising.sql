-- Who is nearest to the next tier?
select member_id, tier, next_tier, progress / 100 as spent_so_far, to_next / 100 as missing
from tiers
where to_next is not null
order by to_next, member_id
limit 5;
