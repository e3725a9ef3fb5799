create or replace view balances as
from balances_as_of((select c.settled_at from staging.clock as c));
