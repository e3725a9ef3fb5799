create or replace view purchases as
select p.source, p.fact_id, p.order_source, p.order_id, coalesce(w.member_id, p.member_id) as member_id, p.occurred_at, p.recorded_at, p.total_minor, p.currency, p.channel,
    p.store, p.paid_with_points_minor, p.paid_with_voucher_minor, d.reason, d.programme_hash
from staging.purchases as p
inner join staging.decided as d using (partition, position)
left join staging.owners as w on w.alias = p.member_id
left join staging.owned as c on c.order_source = p.order_source and c.order_id = p.order_id and p.member_id is null
where d.reason is distinct from 'order_already_counted' and c.order_id is null;
