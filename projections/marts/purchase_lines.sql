create or replace view purchase_lines as
select l.source, l.fact_id, l.order_id, l.line, l.sku, l.category, l.quantity, l.unit_price, l.discount_minor, l.amount_minor
from staging.purchase_lines as l
inner join staging.decided as d using (partition, position)
where d.reason is distinct from 'order_already_counted';
