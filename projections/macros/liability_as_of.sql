-- What the house owes in points at a moment, one row; in money where the version in force on that day says what a point is worth.
-- `known_at` leaves out what was recorded after that moment.
create or replace macro liability_as_of(ts, known_at := null) as table (
    with asked as (
        select cast(ts as timestamptz) as as_of
    )

    select a.as_of,
        count(*) filter (where b.available + b.pending > 0) as members_with_points,
        cast(coalesce(sum(b.available), 0) as bigint) as points_available,
        cast(coalesce(sum(b.pending), 0) as bigint) as points_pending,
        cast(coalesce(sum(b.available + b.pending), 0) as bigint) as points_outstanding,
        cast(coalesce(sum(b.debt), 0) as bigint) as points_debt,
        any_value(w.point_minor) as point_minor, cast(points_outstanding * any_value(w.point_minor) as bigint) as owed_minor
    from asked as a
    left join staging.economics_at(cast(ts as timestamptz) at time zone (select c.time_zone from staging.clock as c)) as w on true
    left join balances_as_of(ts, known_at := known_at) as b on true
    group by a.as_of
);
