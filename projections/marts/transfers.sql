create or replace view transfers as
select t.source, t.fact_id, t.member_id as from_member, t.to_member, t.points, t.occurred_at, t.recorded_at,
    case
        when d.reason is not null then 'refused'
        when a.transfer_id is null then 'reserved'
        when a.refused is null then 'confirmed'
        else 'returned'
    end as state,
    coalesce(d.reason, a.refused) as reason
from staging.transfers as t
inner join staging.decided as d using (partition, position)
left join (
    select r.transfer_source, r.transfer_id, any_value(r.refused) as refused
    from staging.transfer_answers as r
    inner join staging.decided as e using (partition, position)
    group by r.transfer_source, r.transfer_id
) as a on a.transfer_source = t.source and a.transfer_id = t.fact_id;
