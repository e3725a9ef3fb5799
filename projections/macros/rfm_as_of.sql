-- statement: begins_above
-- The least value that scores more than `fifth`. `fifth_ends` are the values of the members who end the fifths, counted from the poorest: who
-- has such a value belongs above, if the middle of its ties lies beyond the end, else the next greater one begins there.
create or replace macro staging.begins_above(measure, fifth_ends, fifth) as
any_value(fifth_ends[fifth]) + if(
    5 * (count(*) filter (where measure < fifth_ends[fifth]) + count(*) filter (where measure <= fifth_ends[fifth])) > 2 * fifth * count(*), 0, 1);

-- statement: begins
-- The least values that score 2, 3, 4 and 5.
create or replace macro staging.begins(measure, fifth_ends) as
[staging.begins_above(measure, fifth_ends, 1), staging.begins_above(measure, fifth_ends, 2), staging.begins_above(measure, fifth_ends, 3),
    staging.begins_above(measure, fifth_ends, 4)];

-- statement: score
create or replace macro staging.score(measure, begins) as
1 + cast(measure >= begins[1] as integer) + cast(measure >= begins[2] as integer) + cast(measure >= begins[3] as integer)
+ cast(measure >= begins[4] as integer);

-- statement: rfm_as_of
-- Recency, frequency, money of every member as of the end of a programme day, and the segment of the R-F cell.
-- Scores are 1 (poor) to 5 (good): the fifth in which the middle of a value's members lies, so equal values share a score and without
-- ties the fifths are equal. Source: the ridit of Bross (1958). Not ceil(5 * cume_dist()), which scores a tie by its upper end: where
-- half of all members bought once, it calls every one of them a 3 in frequency, and the silent ones "at risk" instead of "hibernating".
-- `known_at` leaves out what was recorded after that moment.
-- recency: days since the last purchase; frequency: orders not fully refunded; money: net of refunds, in the programme's currency.
create or replace macro rfm_as_of(day, known_at := null) as table (
    with measured as (
        select member_id, cast(day as date) - last_on as recency_days, orders as frequency, net_minor as monetary_minor
        from staging.spent_as_of(day, known_at := known_at)
    ),

    -- Not a window over all members for each measure: to sort them takes three times as long as to find four of them.
    ends as (
        select quantile_disc(-recency_days, [0.2, 0.4, 0.6, 0.8]) as r, quantile_disc(frequency, [0.2, 0.4, 0.6, 0.8]) as f,
            quantile_disc(monetary_minor, [0.2, 0.4, 0.6, 0.8]) as m
        from measured
    ),

    begins as (
        select staging.begins(-d.recency_days, e.r) as r, staging.begins(d.frequency, e.f) as f, staging.begins(d.monetary_minor, e.m) as m
        from measured as d
        cross join ends as e
    ),

    scored as (
        select d.*, staging.score(-d.recency_days, b.r) as r, staging.score(d.frequency, b.f) as f, staging.score(d.monetary_minor, b.m) as m
        from measured as d
        cross join begins as b
    )

    select member_id, recency_days, frequency, monetary_minor, r, f, m, rfm_segment(r, f) as segment, cast(day as date) as as_of
    from scored
);
