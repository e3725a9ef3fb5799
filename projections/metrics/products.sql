-- statement: products_as_of
-- What is sold: to how many members, how many of them again, and what comes back.
create or replace macro products_as_of(day, known_at := null) as table (
    with bought as (
        select sku, member_id, count(distinct sold_on) as purchase_days, any_value(category order by sold_on desc, category) as category,
            sum(sold_quantity) as sold_quantity, sum(returned_quantity) as returned_quantity, sum(amount_minor) as amount_minor,
            count(distinct (order_source, order_id)) as orders
        from staging.sold_lines_as_of(day, known_at := known_at)
        where sku is not null
        group by sku, member_id
    )

    select sku, min(category) as category, cast(sum(orders) as bigint) as orders, sum(sold_quantity) as sold_quantity,
        sum(returned_quantity) as returned_quantity, sum(returned_quantity) / nullif(sum(sold_quantity), 0) as returned_share,
        cast(sum(amount_minor) as bigint) as amount_minor, count(member_id) as members,
        count(member_id) filter (where purchase_days > 1) as repeat_members, repeat_members / nullif(members, 0) as repeat_rate
    from bought
    group by sku
);

-- statement: products
create or replace view products as
from products_as_of((select c.as_of from staging.clock as c));
