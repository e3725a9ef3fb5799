create or replace view raffle_tickets as
-- Tickets that came together have one name. After a takeover their states stand with the member again: the first giving counts, whoever has
-- them, and any end.
with given as (
    select id, arg_min(member_id, occurred_at) as member_id, any_value(state) as said, min(occurred_at) as given_at, min(recorded_at) as recorded_at
    from staging.state_changes
    where what = 'raffle_tickets' and state <> 'void'
    group by id
),

came as (
    select id, any_value(state) as came_with
    from staging.state_changes
    where what = 'raffle_tickets_by'
    group by id
),

ended as (
    select id, min(occurred_at) as void_at, min(recorded_at) as void_recorded_at
    from staging.state_changes
    where what = 'raffle_tickets' and state = 'void'
    group by id
)

select split_part(g.said, ' ', 2) as raffle, g.id || '-' || lpad(cast(n.number as varchar), 4, '0') as ticket_id,
    coalesce(w.member_id, g.member_id) as member_id, split_part(c.came_with, ' ', 1) as rule_id, g.given_at, g.recorded_at, e.void_at,
    e.void_recorded_at, e.void_at is null as is_valid
from given as g
cross join lateral (select unnest(range(1, cast(split_part(g.said, ' ', 1) as bigint) + 1)) as number) as n
left join came as c on c.id = g.id
left join ended as e on e.id = g.id
left join staging.owners as w on w.alias = g.member_id;
