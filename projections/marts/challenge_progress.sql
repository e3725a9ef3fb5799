create or replace view challenge_progress as
-- What an alias played is its member's from the takeover on: the states and moves stand there again.
with moved as (
    select member_id, name, cast(sum(amount) as bigint) as progress, max(occurred_at) as newest_at
    from staging.challenge_moves
    where member_id not in (select w.alias from staging.owners as w)
    group by all
),

said as (
    select member_id, id as name,
        arg_max(state, (position, ordinal)) filter (what = 'challenge') as state,
        arg_max(occurred_at, (position, ordinal)) filter (what = 'challenge') as state_since,
        arg_max(state, (position, ordinal)) filter (what = 'challenge_span') as span,
        arg_max(state, (position, ordinal)) filter (what = 'challenge_by') as made_by,
        arg_max(state, (position, ordinal)) filter (what = 'challenge_award') as award,
        arg_max(state, (position, ordinal)) filter (what = 'challenge_reward') as redemption_id,
        arg_max(state, (position, ordinal)) filter (what = 'challenge_tier') as tier
    from staging.state_changes
    where what in ('challenge', 'challenge_span', 'challenge_by', 'challenge_award', 'challenge_reward', 'challenge_tier')
        and member_id not in (select w.alias from staging.owners as w)
    group by all
),

windows as (
    select coalesce(m.member_id, s.member_id) as member_id, coalesce(m.name, s.name) as name, coalesce(m.progress, 0) as progress,
        s.state = 'met' as is_met, s.state_since, s.span, s.made_by, s.award, s.redemption_id, s.tier
    from moved as m
    full join said as s on s.member_id = m.member_id and s.name = m.name
    where m.progress <> 0 or s.name is not null
)

select w.member_id, split_part(w.name, '|', 1) as challenge, p.label, split_part(w.name, '|', 2) as "window",
    cast(case when w.is_met then split_part(w.made_by, ' ', 2) end as bigint) as needed, w.progress, coalesce(p.need, 0) as need,
    coalesce(p.money, false) as is_money, coalesce(w.is_met, false) as is_met, case when w.is_met then w.state_since end as met_at,
    coalesce(try_cast(split_part(w.span, '/', 1) as timestamptz), try_cast(p.begins_at as timestamptz)) as begins_at,
    coalesce(try_cast(split_part(w.span, '/', 2) as timestamptz), try_cast(p.ends_at as timestamptz)) as ends_at,
    case when w.is_met then split_part(w.award, ' ', 1) end as entry_id, case when w.is_met then w.redemption_id end as redemption_id,
    case when w.is_met then split_part(w.tier, ' ', 1) end as tier
from windows as w
left join staging.challenge_plans as p on p.id = split_part(w.name, '|', 1);
