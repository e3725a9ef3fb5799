create or replace view rfm_segments as
select *
from rfm_as_of((select c.as_of from staging.clock as c));
