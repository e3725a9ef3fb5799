create or replace view costs as
select c.source, c.fact_id, c.spent_on, c.kind, c.foreseen, c.amount_minor, c.currency, c.rule_id, c.occurred_at, c.recorded_at
from staging.costs as c
inner join staging.decided as d using (partition, position);
