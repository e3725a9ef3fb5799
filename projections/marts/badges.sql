create or replace view badges as
with said as (
    select member_id, id, arg_max(state, (position, ordinal)) filter (what = 'badge') as state,
        arg_max(occurred_at, (position, ordinal)) filter (what = 'badge') as since,
        arg_max(state, (position, ordinal)) filter (what = 'badge_by') as came_with
    from staging.state_changes
    where what in ('badge', 'badge_by') and member_id not in (select w.alias from staging.owners as w)
    group by member_id, id
)

-- "<rule> <version> -<lines> <origin>": the origin is an order, "<source>|<order id>", or "challenge|<challenge>|<window>".
select s.member_id, s.id as badge, p.label, s.since as earned_at, split_part(s.came_with, ' ', 1) as rule_id,
    case when o.origin like 'challenge|%' then split_part(o.origin, '|', 2) end as challenge,
    case when o.origin not like 'challenge|%' then nullif(split_part(o.origin, '|', 1), '') end as order_source,
    case when o.origin not like 'challenge|%' then nullif(split_part(o.origin, '|', 2), '') end as order_id
from said as s
cross join lateral (select array_to_string(string_split(s.came_with, ' ')[4:], ' ') as origin) as o
left join staging.badge_plans as p on p.id = s.id
where s.state = 'earned';
