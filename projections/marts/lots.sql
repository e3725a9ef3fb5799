create or replace view lots as
with burnt as (
    select lot_id, cast(sum(points) as bigint) as points
    from staging.lot_burns
    group by lot_id
)

select e.entry_id as lot_id, e.member_id, e.points, e.points - coalesce(b.points, 0) as points_left,
    e.occurred_at as earned_at, coalesce(e.active_from, e.occurred_at) as active_from, e.expires_at, e.rule_id, e.order_source, e.order_id
from staging.points_entries as e
left join burnt as b on b.lot_id = e.entry_id
where e.kind = 'earn';
