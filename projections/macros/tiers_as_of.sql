-- The tier every member held at a moment. `known_at` leaves out what was recorded after that moment.
create or replace macro tiers_as_of(ts, known_at := null) as table (
    select h.member_id, h.tier, h.from_at as since
    from staging.tier_spans(known_at) as h
    where h.from_at <= cast(ts as timestamptz) and (h.to_at is null or h.to_at > cast(ts as timestamptz))
);
