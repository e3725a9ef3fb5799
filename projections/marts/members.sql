create or replace view members as
-- Whoever left and did not come back; leaving or coming back twice says nothing new.
with moved as (
    select l.member_id, l.position, l.occurred_at as left_at
    from staging.leaves as l
    inner join staging.decided as d using (partition, position)
    where d.reason is null
    union all
    select j.member_id, j.position, null
    from staging.joins as j
    inner join staging.decided as d using (partition, position)
    where d.reason = 'joined_again'
),

gone as (
    select member_id, arg_max_null(left_at, position) as left_at
    from moved
    group by member_id
),

bought as (
    select member_id, count(*) as orders, min(occurred_at) as first_purchase_at, max(occurred_at) as last_purchase_at
    from purchases
    group by member_id
),

brought as (
    select member_id, any_value(referrer) as referrer
    from referrals
    where reason is null or reason not in ('self_referral', 'already_referred', 'not_a_new_member', 'referral_loop')
    group by member_id
)

select a.member_id, a.joined_at, a.joined_via, g.left_at, r.referrer, t.tier,
    coalesce(b.orders, 0) as orders, b.first_purchase_at, b.last_purchase_at
from staging.accounts as a
left join gone as g using (member_id)
left join bought as b using (member_id)
left join brought as r using (member_id)
left join staging.tiers_held as t using (member_id);
