-- statement: ratings_as_of
-- How products and places are rated, all time and in the last 90 days.
create or replace macro ratings_as_of(day, known_at := null) as table (
    select if(r.sku is not null, 'product', 'place') as what, coalesce(r.sku, r.place) as name, count(*) as reviews,
        count(distinct r.member_id) as members, round(avg(r.rating), 4) as mean_rating,
        count(*) filter (where coalesce(r.verified, false)) / count(*) as verified_share,
        count(*) filter (where cast(r.occurred_at at time zone c.time_zone as date) > cast(day as date) - 90) as recent_reviews,
        round(avg(r.rating) filter (where cast(r.occurred_at at time zone c.time_zone as date) > cast(day as date) - 90), 4) as recent_mean_rating
    from main.reviews as r
    cross join staging.clock as c
    where cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
        and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
    group by if(r.sku is not null, 'product', 'place'), coalesce(r.sku, r.place)
);

-- statement: ratings
create or replace view ratings as
from ratings_as_of((select c.as_of from staging.clock as c));
