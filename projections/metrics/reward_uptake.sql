-- statement: reward_uptake
create or replace view reward_uptake as
select coalesce(r.reward, 'points') as reward, count(*) as asked, count(*) filter (where r.state <> 'refused') as granted,
    count(*) filter (where r.state = 'refused') as refused, count(*) filter (where r.state = 'fulfilled') as fulfilled,
    count(*) filter (where r.state = 'cancelled') as cancelled, count(*) filter (where r.state = 'lapsed') as lapsed,
    count(distinct r.member_id) filter (where r.state <> 'refused') as members,
    count(distinct r.member_id) filter (where r.state <> 'refused') / nullif((select count(*) from balances where earned_ever > 0), 0) as members_share,
    cast(coalesce(sum(r.points) filter (where r.state not in ('refused', 'cancelled')), 0) as bigint) as points
from redemptions as r
group by coalesce(r.reward, 'points');
