-- Recency, frequency, money of every member as of the end of a programme day, and the segment of the R-F cell.
-- Scores are 1 (poor) to 5 (good): the fifth in which the middle of a value's members lies, so equal values share a score and without
-- ties the fifths are equal. Source: the ridit of Bross (1958). Not ceil(5 * cume_dist()), which scores a tie by its upper end: where
-- half of all members bought once, it calls every one of them a 3 in frequency, and the silent ones "at risk" instead of "hibernating".
-- recency: days since the last purchase; frequency: orders not fully refunded; money: net of refunds, in the programme's currency.
create or replace macro rfm_as_of(day) as table (
    with asked as (
        select cast(day as date) as as_of, time_zone, currency
        from staging.clock
    ),

    returned as (
        select r.order_source, r.order_id, r.member_id, r.currency, sum(r.refunded_minor) as refunded_minor,
            sum(r.quantity) as quantity, sum(coalesce(r.paid_back_minor, r.refunded_minor)) as paid_back_minor
        from refunds as r
        cross join asked as a
        where r.reason is null and cast(r.occurred_at at time zone a.time_zone as date) <= a.as_of
        group by all
    ),

    bought as (
        select p.member_id, a.as_of, cast(p.occurred_at at time zone a.time_zone as date) as bought_on,
            p.total_minor, least(coalesce(r.paid_back_minor, 0), p.total_minor) as paid_back_minor,
            p.currency = coalesce(a.currency, p.currency) as in_currency,
            coalesce(if(p.lines_minor > 0, r.refunded_minor >= p.lines_minor, r.quantity >= p.quantity), false) as fully_refunded
        from staging.orders as p
        cross join asked as a
        left join returned as r
            on r.order_source = p.order_source and r.order_id = p.order_id and r.member_id = p.member_id and r.currency = p.currency
        where p.member_id is not null and cast(p.occurred_at at time zone a.time_zone as date) <= a.as_of
    ),

    measured as (
        select member_id, any_value(as_of) as as_of,
            date_diff('day', max(bought_on), any_value(as_of)) as recency_days,
            count(*) filter (where not fully_refunded) as frequency,
            cast(coalesce(sum(total_minor - paid_back_minor) filter (where in_currency), 0) as bigint) as monetary_minor
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
