-- What every member had at a moment: entries up to and including it. Columns of `balances`. `known_at` leaves out what was recorded
-- after that moment. From the newest kept month that had ended by then (projections/months.py), and what moved after it: everything is a sum.
-- Whole numbers below 2^53 add up exactly as doubles, and DuckDB adds those in half the time: whole ones it adds in 128 bits.
create or replace macro balances_as_of(ts, known_at := null) as table (
    with reach as materialized (
        from staging.points_reach(ts, known_at := known_at)
    ),

    burns as (
        select b.partition, b.position, b.entry_id, b.lot_id, b.member_id, b.points
        from staging.lot_burns as b
        inner join reach as r on r.partition = b.partition and b.position > r.up_to and b.position <= r.known_to and b.occurred_at <= r.as_of
    ),

    last_burns as (
        select b.partition, max(b.position) as position
        from burns as b
        group by b.partition
    ),

    -- A fact told late can take from a lot that began later: it takes when the lot is there. No burn stands before its lot in the log.
    lots_to_come as (
        select e.entry_id as lot_id
        from staging.points_entries as e
        inner join last_burns as l on l.partition = e.partition and e.position <= l.position
        inner join reach as r on r.partition = e.partition and e.position > r.up_to and e.occurred_at > r.as_of
        where e.points > 0 and e.kind <> 'restore'
    ),

    waiting as (
        select w.lot_id, w.member_id, w.points_left
        from staging.waiting_lots as w
        inner join reach as r on r.partition = w.partition and r.month_end = w.month_end
        where w.active_from is null or w.active_from > r.as_of
        union all
        select e.entry_id, e.member_id, e.points
        from staging.points_entries as e
        inner join reach as r on r.partition = e.partition and e.position > r.up_to and e.position <= r.known_to and e.occurred_at <= r.as_of
        where e.points > 0 and e.kind <> 'restore' and (e.waits_for is not null or e.active_from > r.as_of)
    ),

    released as (
        select b.lot_id
        from staging.points_entries as e
        inner join reach as r on r.partition = e.partition and e.position > r.up_to and e.position <= r.known_to and e.occurred_at <= r.as_of
        inner join burns as b on b.partition = e.partition and b.position = e.position and b.entry_id = e.entry_id
        where e.kind = 'release'
    ),

    still_waiting as (
        select w.lot_id, w.member_id, w.points_left
        from waiting as w
        where w.lot_id not in (select r.lot_id from released as r)
    ),

    moved as (
        select m.member_id, m.points_left, 0 as pending, m.debt, m.earned, m.spent, m.expired, m.clawed_back, m.cancelled, m.adjusted, m.transferred
        from staging.member_points as m
        inner join reach as r on r.partition = m.partition and r.month_end = m.month_end
        union all
        select m.member_id, m.points_left, 0, m.debt, m.earned, m.spent, m.expired, m.clawed_back, m.cancelled, m.adjusted, m.transferred
        from staging.points_moves as m
        inner join reach as r on r.partition = m.partition and m.position > r.up_to and m.position <= r.known_to and m.occurred_at <= r.as_of
        union all
        select b.member_id, b.points, 0, b.points, 0, 0, 0, 0, 0, 0, 0
        from burns as b
        inner join lots_to_come as l on l.lot_id = b.lot_id
        union all
        select w.member_id, 0, w.points_left, 0, 0, 0, 0, 0, 0, 0, 0
        from still_waiting as w
        union all
        select b.member_id, 0, -b.points, 0, 0, 0, 0, 0, 0, 0, 0
        from burns as b
        inner join still_waiting as w on w.lot_id = b.lot_id
    )

    select member_id,
        cast(sum(cast(points_left as double)) - sum(cast(pending as double)) as bigint) as available,
        cast(sum(cast(pending as double)) as bigint) as pending,
        cast(sum(cast(debt as double)) as bigint) as debt,
        cast(sum(cast(earned as double)) as bigint) as earned_ever,
        cast(sum(cast(spent as double)) as bigint) as spent_ever,
        cast(sum(cast(expired as double)) as bigint) as expired_ever,
        cast(sum(cast(clawed_back as double)) as bigint) as clawed_back_ever,
        cast(sum(cast(cancelled as double)) as bigint) as cancelled_ever,
        cast(sum(cast(adjusted as double)) as bigint) as adjusted_ever,
        cast(sum(cast(transferred as double)) as bigint) as transferred_ever
    from moved
    group by member_id
);
