create or replace view refunds as
with returned as (
    select partition, fact_position as position, sum(quantity) as quantity, sum(amount_minor) as amount_minor
    from staging.returned_lines
    group by partition, fact_position
),

said as (
    select partition, position, sum(amount_minor) as amount_minor
    from staging.refund_lines
    group by partition, position
)

-- A refund that counts is worth what the ledger took back; one that moved nothing, what its event says.
select r.source, r.fact_id, r.order_source, r.order_id, coalesce(w.member_id, r.member_id) as member_id, r.occurred_at, r.recorded_at,
    cast(coalesce(if(d.reason is null, coalesce(b.amount_minor, 0), null), r.total_minor, r.amount_minor, s.amount_minor, 0) as bigint)
        as refunded_minor,
    r.currency, r.channel, r.store, d.reason, cast(coalesce(b.quantity, 0) as decimal(18, 3)) as quantity, r.total_minor as paid_back_minor
from staging.refunds as r
inner join staging.decided as d using (partition, position)
left join staging.owners as w on w.alias = r.member_id
left join returned as b using (partition, position)
left join said as s using (partition, position)
left join staging.claimed as c on c.order_source = r.order_source and c.order_id = r.order_id and r.member_id is null
where c.order_id is null;
