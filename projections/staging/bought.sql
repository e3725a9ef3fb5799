-- statement: reach_as_of
-- One row per partition: the newest kept month that had ended by `day` and was known by `known_at`, up to where its facts go, and when it
-- ended; without one, from the beginning. And up to where facts are to be asked for: where a month is being kept (`keeping`), up to its place.
create or replace macro staging.reach_as_of(day, known_at := null, keeping := false) as table (
    with kept as (
        select e.*, cast(e.month_end + 1 as timestamp) at time zone e.time_zone as ends_at
        from staging.month_ends as e
        inner join staging.clock as c on c.time_zone = e.time_zone and c.currency is not distinct from e.currency
        where known_at is null or e.known_at <= cast(known_at as timestamptz)
    ),

    newest as (
        select *
        from kept
        where month_end < cast(day as date) or (month_end = cast(day as date) and not keeping)
        qualify row_number() over (partition by partition order by month_end desc) = 1
    )

    select l.partition, coalesce(n.up_to, -1) as up_to, n.month_end, coalesce(n.ends_at, timestamptz '0001-01-01 00:00:00+00') as ends_at,
        coalesce(k.up_to, 9223372036854775807) as told_to
    from main.log_positions as l
    left join newest as n on n.partition = l.partition
    left join kept as k on keeping and k.partition = l.partition and k.month_end = cast(day as date)
    where l.topic = 'facts'
);

-- statement: bought_as_of
-- What churn asks of every member's purchase days until the end of `day`: the first, the last, how many; and how many of them, without the
-- first, lie in the first half of his time. Members whom only a kept month tells have no number of those: their sum is in a row without a
-- member. The same as to count staging.purchase_days_as_of, from the newest kept month (staging.member_months) that had ended by `day` and
-- was known by `known_at`, and from what came after it. Whoever bought before that month's end and was told later is counted anew, and so
-- is who has another key.
create or replace macro staging.bought_as_of(day, known_at := null) as table (
    with until as (
        select cast(day as date) as until_on
    ),

    reach as (
        from staging.reach_as_of(day, known_at := known_at)
    ),

    -- Asked for twice, made once.
    quarters as (
        select q.quarter, q.day
        from staging.counted_quarters as q
        where q.day <= cast(day as date)
    ),

    keys as (
        select w.alias, w.member_id
        from staging.owners as w
    ),

    -- First the few rows, then their days: without statistics of a day that is asked for, DuckDB would give all purchases a day.
    later as materialized (
        select p.partition, p.position, p.member_id, p.occurred_at, r.month_end
        from staging.purchases as p
        inner join reach as r on r.partition = p.partition and p.position > r.up_to
        where p.member_id is not null and p.occurred_at < cast(cast(day as date) as timestamp) at time zone 'UTC' + interval 3 day
            and (known_at is null or p.recorded_at <= cast(known_at as timestamptz))
    ),

    fresh as (
        select p.partition, p.member_id, q.day as sold_on, p.month_end
        from later as p
        inner join quarters as q on q.quarter = staging.quarter(p.occurred_at)
        left join staging.uncounted_facts as u on u.partition = p.partition and u.position = p.position
        where u.position is null
    ),

    touched as (
        select f.member_id
        from fresh as f
        where f.sold_on <= f.month_end
        union
        select w.alias
        from keys as w
        union
        select w.member_id
        from keys as w
    ),

    told_by_them as materialized (
        select p.partition, p.position, p.member_id, p.occurred_at
        from staging.purchases as p
        inner join touched as t on t.member_id = p.member_id
        where known_at is null or p.recorded_at <= cast(known_at as timestamptz)
    ),

    again as (
        select p.member_id as told_as, coalesce(w.member_id, p.member_id) as member_id, q.day as sold_on,
            bool_or(p.position <= r.up_to) as was_kept
        from told_by_them as p
        inner join reach as r on r.partition = p.partition
        inner join quarters as q on q.quarter = staging.quarter(p.occurred_at)
        left join staging.uncounted_facts as u on u.partition = p.partition and u.position = p.position
        left join keys as w on w.alias = p.member_id
        where u.position is null
        group by all
    ),

    -- Days that no kept month tells, and what the kept months tell of those members.
    news as (
        select distinct f.member_id, f.sold_on
        from fresh as f
        left join touched as t on t.member_id = f.member_id
        where t.member_id is null
    ),

    kept as (
        select m.member_id, m.first_on, m.last_on, m.purchase_days
        from staging.member_months as m
        inner join reach as r on r.partition = m.partition and r.month_end = m.month_end
        left join touched as t on t.member_id = m.member_id
        where t.member_id is null
    ),

    counted as (
        select member_id, min(sold_on) as first_on, max(sold_on) as last_on, count(*) as purchase_days, list(sold_on) as days
        from news
        group by member_id
    ),

    together as (
        select coalesce(k.member_id, n.member_id) as member_id, least(k.first_on, n.first_on) as first_on,
            greatest(k.last_on, n.last_on) as last_on, coalesce(k.purchase_days, 0) + coalesce(n.purchase_days, 0) as purchase_days,
            len(list_filter(n.days, lambda bought_on: bought_on > least(k.first_on, n.first_on)
                and 2 * (bought_on - least(k.first_on, n.first_on)) <= a.until_on - least(k.first_on, n.first_on))) as turned
        from kept as k
        full join counted as n on n.member_id = k.member_id
        cross join until as a
    ),

    counted_anew as (
        select member_id, sold_on, min(sold_on) over (partition by member_id) as first_on
        from (select distinct a.member_id, a.sold_on from again as a)
    ),

    taken_back as (
        select told_as, sold_on, min(sold_on) over (partition by told_as) as first_on
        from again
        where was_kept
    )

    select member_id, first_on, last_on, purchase_days, coalesce(turned, 0) as turned
    from together
    union all
    select member_id, any_value(first_on), max(sold_on), count(*),
        count(*) filter (where sold_on > first_on and 2 * (sold_on - first_on) <= cast(day as date) - first_on)
    from counted_anew
    group by member_id
    union all
    select null, null, null, null,
        coalesce((
            select sum(m.purchase_days)
            from staging.month_turns as m
            inner join reach as r on r.partition = m.partition and r.month_end = m.month_end
            where m.turns_on <= cast(day as date)
        ), 0) - (
            select count(*)
            from taken_back as b
            where b.sold_on > b.first_on and 2 * (b.sold_on - b.first_on) <= cast(day as date) - b.first_on
        )
);
