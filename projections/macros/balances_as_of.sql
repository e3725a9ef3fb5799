-- What every member had at a moment: entries up to and including it. Columns of `balances`. `known_at` leaves out what was recorded
-- after that moment.
create or replace macro balances_as_of(ts, known_at := null) as table (
    with asked as (
        select cast(ts as timestamptz) as at
    ),

    entries as (
        select e.*
        from staging.points_entries as e
        inner join asked as a on e.occurred_at <= a.at
        left join staging.standing(known_at) as k on k.partition = e.partition
        where known_at is null or e.position <= k.position
    ),

    known_burns as (
        select b.*
        from staging.lot_burns as b
        inner join asked as a on b.occurred_at <= a.at
        left join staging.standing(known_at) as k on k.partition = b.partition
        where known_at is null or b.position <= k.position
    ),

    burnt as (
        select lot_id, sum(points) as points
        from known_burns
        group by lot_id
    ),

    active as (
        select b.lot_id, arg_max(e.active_from, (e.position, e.ordinal)) as active_from
        from entries as e
        inner join known_burns as b on b.partition = e.partition and b.position = e.position and b.entry_id = e.entry_id
        where e.kind = 'release'
        group by b.lot_id
    ),

    left_by_member as (
        select e.member_id, sum(e.points - coalesce(b.points, 0)) as points_left,
            sum(e.points - coalesce(b.points, 0)) filter (
                where r.active_from is null and (e.waits_for is not null or coalesce(e.active_from, e.occurred_at) > a.at)
            ) as pending
        from entries as e
        cross join asked as a
        left join burnt as b on b.lot_id = e.entry_id
        left join active as r on r.lot_id = e.entry_id
        where e.points > 0 and e.kind <> 'restore'
        group by e.member_id
    ),

    moved as (
        select e.member_id, sum(e.points) as points,
            sum(e.points) filter (where e.kind = 'earn') as earned_ever,
            -sum(e.points) filter (where e.kind in ('redeem', 'restore')) as spent_ever,
            -sum(e.points) filter (where e.kind in ('expire', 'reinstate')) as expired_ever,
            -sum(e.points) filter (where e.kind = 'clawback') as clawed_back_ever,
            -sum(e.points) filter (where e.kind = 'cancel') as cancelled_ever,
            sum(e.points) filter (where e.kind = 'adjust') as adjusted_ever,
            sum(e.points) filter (where e.kind = 'transfer') as transferred_ever
        from entries as e
        group by e.member_id
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
    left join left_by_member as l using (member_id)
);
