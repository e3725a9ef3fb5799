create or replace view lots as
with burnt as (
    select lot_id, cast(sum(points) as bigint) as points
    from staging.lot_burns
    group by lot_id
)

-- What a merged account had spent can come back to a lot of which only the rest had moved over: it then holds more than its entry says.
select e.entry_id as lot_id, e.member_id, greatest(e.points, e.points - coalesce(b.points, 0)) as points,
    e.points - coalesce(b.points, 0) as points_left,
    coalesce(e.earned_at, e.occurred_at) as earned_at,
    coalesce(r.active_from, case when e.waits_for is null then coalesce(e.active_from, e.occurred_at) end) as active_from,
    case
        when r.lot_id is not null then coalesce(r.expires_at, s.expires_at)
        when e.waits_for is null then coalesce(e.expires_at, s.expires_at)
    end as expires_at,
    e.rule_id, e.order_source, e.order_id, case when r.lot_id is null then e.waits_for end as waits_for,
    case when r.lot_id is null then e.cancel_at end as cancel_at
from staging.points_entries as e
left join burnt as b on b.lot_id = e.entry_id
left join staging.releases as r on r.lot_id = e.entry_id
left join staging.slides as s on s.member_id = e.member_id and e.points > coalesce(b.points, 0)
where e.points > 0 and e.kind <> 'restore';
