create or replace view balances as
with left_by_member as (
    select l.member_id, sum(l.points_left) as points_left,
        sum(l.points_left) filter (where l.active_from is null or l.active_from > c.settled_at) as pending
    from lots as l
    cross join staging.clock as c
    group by l.member_id
),

moved as (
    select member_id, sum(points) as points,
        sum(points) filter (where kind = 'earn') as earned_ever,
        -sum(points) filter (where kind in ('redeem', 'restore')) as spent_ever,
        -sum(points) filter (where kind in ('expire', 'reinstate')) as expired_ever,
        -sum(points) filter (where kind = 'clawback') as clawed_back_ever,
        -sum(points) filter (where kind = 'cancel') as cancelled_ever,
        sum(points) filter (where kind = 'adjust') as adjusted_ever,
        sum(points) filter (where kind = 'transfer') as transferred_ever
    from staging.points_entries
    group by member_id
)

select m.member_id,
    cast(coalesce(l.points_left, 0) - coalesce(l.pending, 0) as bigint) as available,
    cast(coalesce(l.pending, 0) as bigint) as pending,
    cast(coalesce(l.points_left, 0) - m.points as bigint) as debt,
    cast(coalesce(m.earned_ever, 0) as bigint) as earned_ever,
    cast(coalesce(m.spent_ever, 0) as bigint) as spent_ever,
    cast(coalesce(m.expired_ever, 0) as bigint) as expired_ever,
    cast(coalesce(m.clawed_back_ever, 0) as bigint) as clawed_back_ever,
    cast(coalesce(m.cancelled_ever, 0) as bigint) as cancelled_ever,
    cast(coalesce(m.adjusted_ever, 0) as bigint) as adjusted_ever,
    cast(coalesce(m.transferred_ever, 0) as bigint) as transferred_ever
from moved as m
left join left_by_member as l using (member_id);
