create or replace view purchases as
select p.source, p.fact_id, p.order_source, p.order_id, p.member_id, p.occurred_at, p.recorded_at, p.total_minor, p.currency, p.channel,
    p.store, p.paid_with_points_minor, p.paid_with_voucher_minor, d.reason, d.programme_hash
from staging.purchases as p
inner join staging.decided as d using (partition, position)
where d.reason is distinct from 'order_already_counted';
