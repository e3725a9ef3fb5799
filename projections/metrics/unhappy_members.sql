-- statement: unhappy_members_as_of
-- Signs of the last 180 days that a member has reason to be unhappy. The newest answer and the newest word on a case count.
create or replace macro unhappy_members_as_of(day, known_at := null) as table (
    with told as (
        select a.member_id, a.name, a.attributes, a.occurred_at, cast(a.occurred_at at time zone c.time_zone as date) as told_on
        from main.activities as a
        cross join staging.clock as c
        where cast(a.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and (known_at is null or a.recorded_at <= cast(known_at as timestamptz))
    ),

    answers as (
        select member_id, arg_max(try_cast(attributes ->> '$.score' as double), occurred_at) as score,
            arg_max(coalesce(try_cast(attributes ->> '$.scale' as double), if((attributes ->> '$.kind') = 'nps', 10, 5)), occurred_at) as scale, max(told_on) as told_on
        from told
        where name = 'survey_answered' and (attributes ->> '$.kind') in ('nps', 'csat') and try_cast(attributes ->> '$.score' as double) is not null
        group by member_id, attributes ->> '$.survey'
    ),

    cases as (
        select member_id, arg_max(attributes ->> '$.state', occurred_at) as state,
            min(told_on) filter (where (attributes ->> '$.state') = 'opened') as told_on
        from told
        where name = 'complaint'
        group by member_id, attributes ->> '$.case'
    ),

    signs as (
        select member_id, 'low_score' as sign, told_on
        from answers
        where score <= 0.6 * scale and told_on > cast(day as date) - 180
        union all
        select r.member_id, 'low_rating', cast(r.occurred_at at time zone c.time_zone as date)
        from main.reviews as r
        cross join staging.clock as c
        where r.rating <= 4 and cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and cast(r.occurred_at at time zone c.time_zone as date) > cast(day as date) - 180
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
        union all
        select member_id, 'open_complaint', told_on
        from cases
        where state = 'opened'
        union all
        select member_id, 'late_delivery', told_on
        from told
        where name = 'delivered' and told_on > cast(day as date) - 180
            and coalesce(try_cast(attributes ->> '$.delivered_at' as timestamptz), occurred_at) > try_cast(attributes ->> '$.promised_at' as timestamptz)
        union all
        select r.member_id, 'repeated_returns', max(cast(r.occurred_at at time zone c.time_zone as date))
        from main.refunds as r
        cross join staging.clock as c
        where r.reason is null and r.member_id is not null and cast(r.occurred_at at time zone c.time_zone as date) <= cast(day as date)
            and cast(r.occurred_at at time zone c.time_zone as date) > cast(day as date) - 180
            and (known_at is null or r.recorded_at <= cast(known_at as timestamptz))
        group by r.member_id
        having count(distinct (r.order_source, r.order_id)) >= 2
    )

    select coalesce(w.member_id, s.member_id) as member_id, s.sign, count(*) as times, max(s.told_on) as last_on
    from signs as s
    left join staging.owners as w on w.alias = s.member_id
    group by coalesce(w.member_id, s.member_id), s.sign
);

-- statement: unhappy_members
create or replace view unhappy_members as
from unhappy_members_as_of((select c.as_of from staging.clock as c));
