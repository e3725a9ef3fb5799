create or replace view meta as
select i.log_id, c.time_zone, c.currency, c.base_tier, c.settled_at, c.as_of
from staging.identity as i
cross join staging.clock as c;
