-- statement: satisfaction_months_as_of
-- Answers to surveys (activity survey_answered: survey, kind, score, scale) by month. CSAT: share of the two best marks. NPS: share of 9
-- and 10 less share of 0 to 6, times 100. CES and others: the mean alone.
create or replace macro satisfaction_months_as_of(day, known_at := null) as table (
    with answers as (
        select cast(date_trunc('month', a.occurred_at at time zone c.time_zone) as date) as month, coalesce(a.attributes ->> '$.survey', 'unnamed') as survey,
            lower(coalesce(a.attributes ->> '$.kind', 'other')) as kind, try_cast(a.attributes ->> '$.score' as double) as score,
            coalesce(try_cast(a.attributes ->> '$.scale' as double), if(kind = 'nps', 10, if(kind = 'ces', 7, 5))) as scale, a.member_id
        from main.activities as a
        cross join staging.clock as c
        where a.name = 'survey_answered' and cast(a.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or a.recorded_at <= cast(known_at as timestamptz))
    )

    select month, survey, kind, count(*) as answers, count(distinct member_id) as members, round(avg(score), 4) as mean_score,
        if(kind = 'csat', count(*) filter (where score >= scale - 1) / count(*), null) as csat,
        if(kind = 'nps', 100.0 * (count(*) filter (where score >= 9) - count(*) filter (where score <= 6)) / count(*), null) as nps
    from answers
    where score is not null
    group by month, survey, kind
);

-- statement: satisfaction_months
create or replace view satisfaction_months as
from satisfaction_months_as_of((select c.as_of from staging.clock as c));
