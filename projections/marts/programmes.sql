create or replace view programmes as
select programme_hash, any_value(programme) as programme, any_value(version) as version, any_value(valid_from) as valid_from,
    any_value(time_zone) as time_zone, any_value(currency) as currency, any_value(base_tier) as base_tier
from staging.programmes
group by programme_hash;
