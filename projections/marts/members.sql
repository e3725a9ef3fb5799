create or replace view members as
with first_facts as (
    select coalesce(w.member_id, d.member_id) as member_id, min(d.first_fact_at) as first_fact_at
    from (
        select member_id, arg_min(occurred_at, position) as first_fact_at
        from staging.decisions
        where outcome = 'decided' and member_id is not null
        group by member_id
    ) as d
    left join staging.owners as w on w.alias = d.member_id
    group by all
),

joined as (
    select coalesce(w.member_id, j.member_id) as member_id, min(j.joined_at) as joined_at, arg_min(j.joined_via, j.joined_at) as joined_via
    from (
        select j.member_id, arg_min(j.occurred_at, j.position) as joined_at, arg_min(j.via, j.position) as joined_via
        from staging.joins as j
        inner join staging.decided as d using (partition, position)
        where d.reason is distinct from 'already_joined'
        group by j.member_id
    ) as j
    left join staging.owners as w on w.alias = j.member_id
    group by all
),

-- Whoever left and did not come back; leaving or coming back twice says nothing new.
moved as (
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

select f.member_id, coalesce(j.joined_at, f.first_fact_at) as joined_at, j.joined_via, g.left_at, r.referrer, t.tier,
    coalesce(b.orders, 0) as orders, b.first_purchase_at, b.last_purchase_at
from first_facts as f
left join joined as j using (member_id)
left join gone as g using (member_id)
left join bought as b using (member_id)
left join brought as r using (member_id)
left join tiers as t using (member_id);
