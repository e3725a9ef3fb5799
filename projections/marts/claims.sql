create or replace view claims as
select c.source, c.fact_id, c.member_id, c.order_source, c.order_id, c.occurred_at, c.recorded_at,
    case
        when d.reason is not null or a.refused is not null then 'refused'
        when a.claim_id is not null then 'granted'
        else 'asked'
    end as state,
    coalesce(d.reason, a.refused) as reason
from staging.claims as c
inner join staging.decided as d using (partition, position)
left join (
    select r.claim_source, r.claim_id, any_value(r.refused) as refused
    from staging.claim_answers as r
    inner join staging.decided as e using (partition, position)
    group by r.claim_source, r.claim_id
) as a on a.claim_source = c.source and a.claim_id = c.fact_id;
