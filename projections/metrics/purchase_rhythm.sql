-- statement: purchase_rhythm_as_of
-- Every member's own gaps between days with a purchase. next_on is the last purchase plus the usual gap, the median of his own.
create or replace macro purchase_rhythm_as_of(day, known_at := null) as table (
    with gaps as (
        select member_id, sold_on, sold_on - lag(sold_on) over (partition by member_id order by sold_on) as gap
        from staging.purchase_days_as_of(day, known_at := known_at)
    ),

    asked as (
        select cast(day as date) as as_of
    )

    select member_id, count(*) as purchase_days, min(sold_on) as first_on, max(sold_on) as last_on,
        round(avg(gap), 1) as mean_gap_days, median(gap) as usual_gap_days, cast(min(gap) as integer) as shortest_gap_days,
        cast(max(gap) as integer) as longest_gap_days, round(stddev_samp(gap) / nullif(avg(gap), 0), 3) as gap_variation,
        cast(any_value(a.as_of) - max(sold_on) as integer) as silent_days, round(silent_days / nullif(usual_gap_days, 0), 2) as times_usual,
        cast(max(sold_on) + cast(ceil(median(gap)) as integer) as date) as next_on, any_value(a.as_of) as as_of
    from gaps
    cross join asked as a
    group by member_id
);

-- statement: purchase_rhythm
create or replace view purchase_rhythm as
from purchase_rhythm_as_of((select c.as_of from staging.clock as c));
