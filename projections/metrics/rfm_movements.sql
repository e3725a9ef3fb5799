-- statement: rfm_movements_as_of
-- How many members went from which segment to which in the `over_days` days before the end of `day`; from NULL is who was no buyer yet.
create or replace macro rfm_movements_as_of(day, over_days := 30, known_at := null) as table (
    select b.segment as from_segment, a.segment as to_segment, count(*) as members, cast(sum(a.monetary_minor) as bigint) as monetary_minor,
        cast(cast(day as date) - cast(over_days as integer) as date) as from_day, cast(day as date) as as_of
    from rfm_as_of(day, known_at := known_at) as a
    left join rfm_as_of(cast(day as date) - cast(over_days as integer), known_at := known_at) as b using (member_id)
    group by all
);

-- statement: rfm_movements
create or replace view rfm_movements as
from rfm_movements_as_of((select c.as_of from staging.clock as c));
