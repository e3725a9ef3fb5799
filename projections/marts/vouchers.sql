create or replace view vouchers as
with said as (
    select id, arg_max(state, (position, ordinal)) filter (what = 'redemption_code') as code,
        arg_max(state, (position, ordinal)) filter (what = 'redemption_worth') as worth,
        arg_max(state, (position, ordinal)) filter (what = 'redemption_at_least') as at_least,
        arg_max(state, (position, ordinal)) filter (what = 'redemption_order') as paid
    from staging.state_changes
    where what in ('redemption_code', 'redemption_worth', 'redemption_at_least', 'redemption_order')
    group by id
    having count(*) filter (what = 'redemption_code') > 0
)

select said.code, r.member_id, r.reward, try_cast(split_part(said.worth, ' ', 1) as decimal(18, 4)) as worth,
    split_part(said.worth, ' ', 2) as unit, try_cast(split_part(said.at_least, ' ', 1) as decimal(18, 4)) as at_least, r.state,
    r.state_since, r.valid_until, nullif(split_part(said.paid, '|', 1), '') as order_source,
    nullif(split_part(said.paid, '|', 2), '') as order_id, r.redemption_id, r.points, r.rule_id, r.occurred_at
from said
inner join redemptions as r on r.redemption_id = said.id;
