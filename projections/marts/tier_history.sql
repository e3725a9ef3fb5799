create or replace view tier_history as
with changed as (
    select member_id, tier, since, position, ordinal,
        lag(tier) over log as tier_before
    from staging.tier_changes
    window log as (partition by member_id order by position, ordinal)
),

-- A late fact can date a change before the one already made: in the history it begins where that one did.
spans as (
    select member_id, tier, position, ordinal,
        max(since) over (partition by member_id order by position, ordinal) as from_at
    from changed
    where tier is distinct from tier_before
),

closed as (
    select s.member_id, s.tier, s.from_at,
        coalesce(lead(s.from_at) over (partition by s.member_id order by s.position, s.ordinal), w.since) as to_at
    from spans as s
    left join staging.owners as w on w.alias = s.member_id
)

select member_id, tier, from_at, to_at
from closed
where to_at is null or to_at > from_at;
