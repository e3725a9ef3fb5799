-- What do we owe in points, and to whom? By tier
select coalesce(t.tier, '(no tier)') as tier, count(*) as members, sum(b.available + b.pending)::bigint as points_outstanding,
    round(avg(b.available + b.pending), 1) as points_per_member
from balances as b
left join tiers as t using (member_id)
group by all
order by points_outstanding desc;
