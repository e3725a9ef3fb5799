-- Who came back within a week of the first order? By week of the first order
-- chart: bar
with firsts as (
    select member_id, min(occurred_at) as first_at
    from purchases
    where member_id is not null
    group by member_id
),

told as (
    select cast(date_trunc('week', f.first_at) as date) as week, f.member_id,
        exists (
            from purchases as p
            where p.member_id = f.member_id and p.occurred_at > f.first_at + interval 12 hour and p.occurred_at <= f.first_at + interval 7 day
        ) as again
    from firsts as f
    where f.first_at <= (select settled_at from meta) - interval 7 day
)

select week, count(*) as new_buyers, count(*) filter (where again) as came_again
from told
group by week
order by week;
