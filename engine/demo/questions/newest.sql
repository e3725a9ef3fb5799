-- The newest moment at which something happened, microseconds since the epoch.
select epoch_us(max(occurred_at)) as newest_us
from decisions
where outcome = 'decided' and source not like 'urn:stammgast:%';
