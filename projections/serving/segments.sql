-- What `projections/segments.py` asks. :day is a day that is over, :horizon a number of days, :source who tells.

-- statement: standing
-- The newest day that is over, and the microsecond at which a day's facts are told, the midnight after it.
select cast(as_of - 1 as date) as day, time_zone
from meta
where as_of is not null;

-- statement: changes
-- One row per member and segment that he entered or left since it was told last; what was told of this day or a later one stands. Keys that
-- became aliases count as the member they belong to.
with wanted as (
    select member_id, 'rfm-' || replace(segment, '_', '-') as segment
    from rfm_as_of(date ':day')
    union all
    select member_id, 'churn-risk'
    from churn_as_of(date ':day', :horizon)
    where flagged
    union all
    select member_id, 'value-high'
    from customer_values
    where band = 5
),

said as (
    select coalesce(a.member_id, f.member_id) as member_id, f.payload ->> '$.segment' as segment,
        arg_max((f.payload ->> '$.entered') = 'true', f.occurred_at) as entered, max(f.payload ->> '$.as_of') as as_of
    from facts as f
    left join aliases as a on a.alias = f.member_id
    where f.type = 'stammgast.segment.v1' and f.source = ':source'
    group by 1, 2
)

select coalesce(w.member_id, s.member_id) as member_id, coalesce(w.segment, s.segment) as segment, w.member_id is not null as entered,
    epoch_us(cast(date ':day' + 1 as timestamp) at time zone m.time_zone) as at_us
from wanted as w
full join said as s on s.member_id = w.member_id and s.segment = w.segment
cross join meta as m
where (w.member_id is not null) <> coalesce(s.entered, false) and coalesce(s.as_of < ':day', true)
order by 1, 2;
