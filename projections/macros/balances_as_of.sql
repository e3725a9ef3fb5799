-- What every member had at a moment: entries up to and including it. Columns of `balances`.
create or replace macro balances_as_of(ts) as table (
    with asked as (
        select cast(ts as timestamptz) as at
    ),

    burnt as (
        select b.lot_id, sum(b.points) as points
        from staging.lot_burns as b
        inner join asked as a on b.occurred_at <= a.at
        group by b.lot_id
    ),

    left_by_member as (
        select e.member_id, sum(e.points - coalesce(b.points, 0)) as points_left,
            sum(e.points - coalesce(b.points, 0)) filter (where coalesce(e.active_from, e.occurred_at) > a.at) as pending
        from staging.points_entries as e
        inner join asked as a on e.occurred_at <= a.at
        left join burnt as b on b.lot_id = e.entry_id
        where e.kind = 'earn'
        group by e.member_id
    ),

    moved as (
        select e.member_id, sum(e.points) as points,
            sum(e.points) filter (where e.kind = 'earn') as earned_ever,
            -sum(e.points) filter (where e.kind in ('redeem', 'restore')) as spent_ever,
            -sum(e.points) filter (where e.kind = 'expire') as expired_ever,
            -sum(e.points) filter (where e.kind = 'clawback') as clawed_back_ever
        from staging.points_entries as e
        inner join asked as a on e.occurred_at <= a.at
        group by e.member_id
    )

    select m.member_id,
        cast(coalesce(l.points_left, 0) - coalesce(l.pending, 0) as bigint) as available,
        cast(coalesce(l.pending, 0) as bigint) as pending,
        cast(coalesce(l.points_left, 0) - m.points as bigint) as debt,
        cast(coalesce(m.earned_ever, 0) as bigint) as earned_ever,
        cast(coalesce(m.spent_ever, 0) as bigint) as spent_ever,
        cast(coalesce(m.expired_ever, 0) as bigint) as expired_ever,
        cast(coalesce(m.clawed_back_ever, 0) as bigint) as clawed_back_ever
    from moved as m
    left join left_by_member as l using (member_id)
);
