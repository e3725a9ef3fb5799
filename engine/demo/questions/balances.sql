-- Who has most points.
select b.member_id as "member", t.tier as "tier", b.available as "points", b.earned_ever as "earned", b.clawed_back_ever as "taken back"
from balances as b
left join tiers as t using (member_id)
order by b.available desc, b.member_id
limit 8;
