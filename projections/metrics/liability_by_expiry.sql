-- statement: liability_by_expiry
-- Points outstanding by the month in which they expire, and how many of them will be spent if they go as points have gone so far: of all
-- points that have come to an end, the share that was spent. A management figure, on points; see ifrs15_* for the accounting one.
create or replace view liability_by_expiry as
with ended as (
    select coalesce(sum(redeemed), 0) as redeemed, coalesce(sum(expired), 0) as expired
    from breakage
)

select cast(date_trunc('month', l.expires_at at time zone c.time_zone) as date) as expires_month, count(*) as lots, count(distinct l.member_id) as members,
    cast(sum(l.points_left) as bigint) as points,
    cast(coalesce(sum(l.points_left) filter (where l.active_from is null or l.active_from > c.settled_at), 0) as bigint) as pending,
    any_value(e.redeemed / nullif(e.redeemed + e.expired, 0)) as redeemed_share,
    cast(round(sum(l.points_left) * coalesce(any_value(e.redeemed / nullif(e.redeemed + e.expired, 0)), 1)) as bigint) as expected_points
from lots as l
cross join staging.clock as c
cross join ended as e
where l.points_left > 0
group by expires_month;
