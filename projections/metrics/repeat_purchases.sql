-- statement: repeat_purchases_as_of
-- Of the buyers whose first purchase lies long enough back, who bought on another day within so many days of it; NULL is ever.
create or replace macro repeat_purchases_as_of(day, known_at := null) as table (
    with bought as (
        select member_id, sold_on, row_number() over (partition by member_id order by sold_on) as nth
        from staging.purchase_days_as_of(day, known_at := known_at)
    ),

    buyers as (
        select member_id, min(sold_on) as first_on, min(sold_on) filter (where nth = 2) as second_on, count(*) as purchase_days
        from bought
        group by member_id
    )

    select w.within_days, count(b.member_id) as buyers,
        count(b.member_id) filter (where b.second_on - b.first_on <= coalesce(w.within_days, 1000000)) as repeaters,
        repeaters / nullif(buyers, 0) as rate, avg(b.purchase_days) as mean_purchase_days, cast(day as date) as as_of
    from (select unnest([30, 60, 90, 180, 365, null]) as within_days) as w
    left join buyers as b on cast(day as date) - b.first_on >= coalesce(w.within_days, 0)
    group by w.within_days
);

-- statement: repeat_purchases
create or replace view repeat_purchases as
from repeat_purchases_as_of((select c.as_of from staging.clock as c));
