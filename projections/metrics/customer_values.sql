-- statement: customer_values
create or replace view customer_values as
select v.member_id, v.as_of, v.horizon_days, v.p_alive, v.p_no_purchase, v.expected_purchases, v.expected_spend_minor, v.value_minor,
    cast((5 * (rank() over (order by v.value_minor) - 1 + count(*) over (order by v.value_minor)) + 2 * count(*) over () - 1)
        // (2 * count(*) over ()) as integer) as band
from staging.member_values as v;
