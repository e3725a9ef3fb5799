-- Members' points at a moment: from the newest kept month that had ended by then (projections/months.py), and what moved after it.

-- statement: points_moves
-- One row per movement of points, as what it adds to sums by which members' points are told: an entry, or what one takes from a lot. Debt is what
-- lots hold above what was moved.
create or replace view staging.points_moves as
select partition, position, occurred_at, member_id,
    if(points > 0 and kind <> 'restore', points, 0) as points_left,
    if(points > 0 and kind <> 'restore', 0, -points) as debt,
    if(kind = 'earn', points, 0) as earned,
    if(kind in ('redeem', 'restore'), -points, 0) as spent,
    if(kind in ('expire', 'reinstate'), -points, 0) as expired,
    if(kind = 'clawback', -points, 0) as clawed_back,
    if(kind = 'cancel', -points, 0) as cancelled,
    if(kind = 'adjust', points, 0) as adjusted,
    if(kind = 'transfer', points, 0) as transferred
from staging.points_entries
union all
select partition, position, occurred_at, member_id, -points, -points, 0, 0, 0, 0, 0, 0, 0
from staging.lot_burns;

-- statement: points_reach
-- One row per partition: the kept month to begin with, up to where it goes, and up to where and when what came after it counts.
create or replace macro staging.points_reach(ts, known_at := null) as table (
    with asked as (
        select cast(ts as timestamptz) as as_of
    ),

    known as (
        select l.partition, if(known_at is null, l.position, coalesce(k.position, -1)) as known_to
        from main.log_positions as l
        left join staging.standing(known_at) as k on k.partition = l.partition
        where l.topic = 'points-log'
    ),

    kept as (
        select e.partition, max(e.month_end) as month_end, max(e.up_to) as up_to
        from staging.points_ends as e
        inner join known as k on k.partition = e.partition and e.up_to <= k.known_to
        inner join asked as a on e.ends_at <= a.as_of
        group by e.partition
    )

    select k.partition, k.known_to, a.as_of, e.month_end, coalesce(e.up_to, -1) as up_to
    from known as k
    cross join asked as a
    left join kept as e on e.partition = k.partition
);
