-- statement: cost_days_as_of
-- What was told to have been spent, by day, kind and whether it was foreseen; corrections are taken off.
create or replace macro cost_days_as_of(day, known_at := null) as table (
    select c.spent_on, c.kind, c.foreseen, count(*) as lines, cast(sum(c.amount_minor) as bigint) as amount_minor,
        cast(coalesce(-sum(c.amount_minor) filter (where c.amount_minor < 0), 0) as bigint) as corrected_minor
    from main.costs as c
    cross join staging.clock as k
    where c.spent_on <= cast(day as date) and c.currency = coalesce(k.currency, c.currency)
        and (known_at is null or c.recorded_at <= cast(known_at as timestamptz))
    group by c.spent_on, c.kind, c.foreseen
);

-- statement: cost_days
-- A bookkeeper may be ahead of the tills: the newest day that was told counts, too.
create or replace view cost_days as
from cost_days_as_of((select greatest(k.as_of, max(c.spent_on)) from costs as c cross join staging.clock as k group by k.as_of));
