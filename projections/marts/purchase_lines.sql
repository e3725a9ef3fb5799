create or replace view purchase_lines as
select p.source, p.fact_id, p.order_id, l.line, l.sku, l.category, l.quantity, l.unit_price, l.discount_minor, l.amount_minor
from staging.purchase_lines as l
inner join staging.purchases as p using (partition, position)
inner join staging.decided as d using (partition, position)
where d.reason is distinct from 'order_already_counted';
