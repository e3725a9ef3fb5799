create or replace view redemptions as
select cast(null as varchar) as source, cast(null as varchar) as fact_id, cast(null as varchar) as redemption_id,
    cast(null as varchar) as member_id, cast(null as varchar) as reward, cast(null as bigint) as points,
    cast(null as varchar) as state, cast(null as varchar) as reason,
    cast(null as timestamptz) as occurred_at, cast(null as timestamptz) as recorded_at
where false;
