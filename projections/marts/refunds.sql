create or replace view refunds as
with order_lines as (
    select p.partition, p.order_source, p.order_id, coalesce(p.member_id, '') as member_key, l.line, l.sku, l.quantity, l.amount_minor
    from staging.purchases as p
    inner join staging.decided as d using (partition, position)
    inner join staging.purchase_lines as l using (partition, position)
    where d.reason is distinct from 'order_already_counted'
),

asked as (
    select r.partition, r.position, coalesce(r.member_id, '') as member_key, l.order_source, l.order_id,
        l.refund_line, l.line, l.sku, l.quantity, l.amount_minor
    from staging.refunds as r
    inner join staging.refund_lines as l using (partition, position)
),

-- What the order's lines meant by a refund line were worth: the line of that number, else all lines of that SKU. Chosen in the sums and not
-- in the join: an outer join over more than equalities compares every line with every refund.
priced as (
    select a.partition, a.position, a.refund_line, any_value(a.quantity) as quantity, any_value(a.amount_minor) as amount_minor,
        sum(o.quantity) filter (where if(a.line is null, o.sku = a.sku, o.line = a.line)) as bought_quantity,
        sum(o.amount_minor) filter (where if(a.line is null, o.sku = a.sku, o.line = a.line)) as bought_minor
    from asked as a
    left join order_lines as o
        on o.partition = a.partition and o.order_source = a.order_source and o.order_id = a.order_id and o.member_key = a.member_key
    group by a.partition, a.position, a.refund_line
),

-- half_up in whole thousandths of a piece, so that no binary fraction takes part
valued as (
    select partition, position,
        sum(coalesce(amount_minor, case
            when quantity >= bought_quantity then bought_minor
            when bought_quantity > 0 then
                (2 * bought_minor * cast(quantity * 1000 as hugeint) + cast(bought_quantity * 1000 as hugeint))
                // (2 * cast(bought_quantity * 1000 as hugeint))
        end)) as lines_minor
    from priced
    group by partition, position
)

select r.source, r.fact_id, r.order_source, r.order_id, r.member_id, r.occurred_at, r.recorded_at,
    cast(coalesce(r.total_minor, r.amount_minor, v.lines_minor, 0) as bigint) as refunded_minor,
    r.currency, r.channel, r.store, d.reason
from staging.refunds as r
inner join staging.decided as d using (partition, position)
left join valued as v using (partition, position);
