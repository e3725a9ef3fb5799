-- statement: preferred_products_as_of
-- What every member buys, less what came back; preference 1 is what he spends most on.
create or replace macro preferred_products_as_of(day, known_at := null) as table (
    select member_id, sku, any_value(category order by sold_on desc, category) as category, sum(quantity) as quantity,
        cast(sum(amount_minor) as bigint) as amount_minor, count(distinct (order_source, order_id)) as orders, max(sold_on) as last_on,
        row_number() over (partition by member_id order by sum(amount_minor) desc, sum(quantity) desc, sku) as preference,
        sum(amount_minor) / nullif(sum(sum(amount_minor)) over (partition by member_id), 0) as share
    from staging.sold_lines_as_of(day, known_at := known_at)
    where member_id is not null and sku is not null
    group by member_id, sku
);

-- statement: preferred_products
create or replace view preferred_products as
from preferred_products_as_of((select c.as_of from staging.clock as c));
