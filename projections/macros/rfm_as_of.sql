-- Recency, frequency, money of every member as of the end of a programme day, and the segment of the R-F cell.
-- Scores are 1 (poor) to 5 (good): the fifth in which the middle of a value's members lies, so equal values share a score and without
-- ties the fifths are equal. Source: the ridit of Bross (1958). Not ceil(5 * cume_dist()), which scores a tie by its upper end: where
-- half of all members bought once, it calls every one of them a 3 in frequency, and the silent ones "at risk" instead of "hibernating".
-- `known_at` leaves out what was recorded after that moment.
-- recency: days since the last purchase; frequency: orders not fully refunded; money: net of refunds, in the programme's currency.
create or replace macro rfm_as_of(day, known_at := null) as table (
    with bought as (
        select member_id, as_of, sold_on, net_minor, fully_refunded
        from staging.sales_as_of(day, known_at := known_at)
        where member_id is not null
    ),

    measured as (
        select member_id, any_value(as_of) as as_of,
            date_diff('day', max(sold_on), any_value(as_of)) as recency_days,
            count(*) filter (where not fully_refunded) as frequency,
            cast(sum(net_minor) as bigint) as monetary_minor
        from bought
        group by member_id
    ),

    -- Twice the middle of each member's ties, counted from the poorest; whole numbers, so that no rounding decides a score.
    placed as (
        select *, 2 * count(*) over () as twice_all,
            rank() over (order by recency_days desc) - 1 + count(*) over (order by recency_days desc) as r_twice,
            rank() over (order by frequency) - 1 + count(*) over (order by frequency) as f_twice,
            rank() over (order by monetary_minor) - 1 + count(*) over (order by monetary_minor) as m_twice
        from measured
    ),

    scored as (
        select *,
            cast((5 * r_twice + twice_all - 1) // twice_all as integer) as r,
            cast((5 * f_twice + twice_all - 1) // twice_all as integer) as f,
            cast((5 * m_twice + twice_all - 1) // twice_all as integer) as m
        from placed
    )

    select member_id, recency_days, frequency, monetary_minor, r, f, m, rfm_segment(r, f) as segment, as_of
    from scored
);
