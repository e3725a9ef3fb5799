-- statement: referral_chains
create or replace view referral_chains as
with recursive links as (
    select member_id, any_value(referrer) as referrer
    from referrals
    where reason is null
    group by member_id
),

-- A loop is refused where it is seen and else reported by verify; here it ends after 100 steps.
upward as (
    select member_id, referrer as ancestor, 1 as steps
    from links
    union all
    select u.member_id, l.referrer, u.steps + 1
    from upward as u
    inner join links as l on l.member_id = u.ancestor
    where u.steps < 100
),

roots as (
    select member_id, max(steps) as depth, arg_max(ancestor, steps) as root
    from upward
    group by member_id
),

below as (
    select ancestor as member_id, count(*) as brought_in_all, count(*) filter (where steps = 1) as brought
    from upward
    group by ancestor
)

select coalesce(r.member_id, b.member_id) as member_id, l.referrer, coalesce(r.root, b.member_id) as root, coalesce(r.depth, 0) as depth,
    coalesce(b.brought, 0) as brought, coalesce(b.brought_in_all, 0) as brought_in_all
from roots as r
full join below as b using (member_id)
left join links as l on l.member_id = r.member_id;
