create or replace macro churn_as_of(day, horizon_days) as table (
    with asked as (
        select cast(day as date) as as_of, cast(horizon_days as integer) as horizon, time_zone
        from staging.clock
    ),
    days as (
        select distinct p.member_id, a.as_of, a.horizon, cast(p.occurred_at at time zone a.time_zone as date) as bought_on
        from staging.orders as p cross join asked as a
        where p.member_id is not null and cast(p.occurred_at at time zone a.time_zone as date) <= a.as_of
    )
    select member_id, any_value(as_of) as as_of, any_value(horizon) as horizon_days, 0.5 as p_no_purchase, false as flagged,
      null::double as usual_gap_days, 0 as silent_days, '' as reason
    from days group by member_id
);
