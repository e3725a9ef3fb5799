-- The tier every member held at a moment.
create or replace macro tiers_as_of(ts) as table (
    select h.member_id, h.tier, h.from_at as since
    from tier_history as h
    where h.from_at <= cast(ts as timestamptz) and (h.to_at is null or h.to_at > cast(ts as timestamptz))
);
