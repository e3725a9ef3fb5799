create or replace view churn_flags as
select *
from churn_as_of((select c.as_of from staging.clock as c), (select s.churn_horizon_days from staging.settings as s));
