-- A shop of :members members and :facts purchases over two years, put straight into the tables: few members buy often, many seldom.
-- What the engine would have decided is a point per euro and one redemption in twenty; enough for every question to have work. One sale to a
-- member in forty comes back. Rows come in the order in which they were recorded, as from a log; one in 200 up to three days after it happened.
-- A member's facts stand in one partition, at even places; a refund five days later, between those that were recorded then.

-- statement: programme
insert into staging.programmes (partition, position, programme_hash, programme, version, valid_from, time_zone, currency, base_tier, tiers)
values (0, 0, 'scale', 'scale', 1, timestamptz '2024-01-01 00:00:00+00', 'Europe/Berlin', 'EUR', null, null);

-- statement: drawn
-- random() is seeded; a member's number is the square of a draw, so that a tenth of the members makes a third of the purchases.
create temp table drawn as
select i, 2 * i as position, 'm' || number as member_id, number % 12 as partition,
    timestamptz '2024-01-01 08:00:00+00' + to_milliseconds(cast(i as bigint) * 63072000000 // :facts) as recorded_at,
    recorded_at - to_seconds(cast(if(i % 200 = 7, random() * 259200, random() * 60) as bigint)) as occurred_at,
    cast(500 + random() * 9500 as bigint) as total_minor, 's' || cast(floor(random() * 20) as integer) as store,
    if(random() < 0.3, 'web', 'pos') as channel, cast(floor(500 * pow(random(), 2)) as integer) as sku
from (select i, cast(floor(:members * pow(random(), 2)) as integer) as number from range(:facts) as t(i));

-- statement: purchases
insert into staging.purchases
select partition, position, 'urn:till', cast(i as varchar), if(i % 5 = 0, null, member_id), occurred_at, recorded_at, 'urn:till',
    cast(i as varchar), total_minor, 'EUR', channel, store, 0, 0
from drawn;

-- statement: lines
insert into staging.purchase_lines
select partition, position, n, 'sku' || (sku + n * 7) % 500, 'c' || (sku + n) % 12, 1, total_minor / 200.0, 0, total_minor // 2
from drawn, range(1, 3) as t(n);

-- statement: facts
insert into staging.facts
select partition, position, 'urn:till', cast(i as varchar), 'stammgast.purchase.v1', if(i % 5 = 0, null, member_id), occurred_at, recorded_at, null
from drawn;

-- statement: decisions
insert into staging.decisions
select partition, position, position, 0, true, 'urn:till', cast(i as varchar), 'stammgast.purchase.v1', if(i % 5 = 0, null, member_id), 'decided',
    null, 'scale', occurred_at, recorded_at, []
from drawn;

-- statement: entries
insert into staging.points_entries
select partition, position, 1, 'e' || i, member_id, 'earn', total_minor // 100, 'spend', 1, null, null, occurred_at, null, occurred_at,
    occurred_at + interval 1 year, 'urn:till', cast(i as varchar), null, null, null, null
from drawn
where i % 5 <> 0;

-- statement: spent
insert into staging.points_entries
select partition, position, 2, 's' || i, member_id, 'redeem', -5, null, 1, null, null, occurred_at, null, null, null, null, null, null, null, null, null
from drawn
where i % 20 = 1;

-- statement: burns
insert into staging.lot_burns
select partition, position, 's' || i, 'e' || i, member_id, 5, occurred_at
from drawn
where i % 20 = 1;

-- statement: refunds
-- One sale to a member in forty comes back whole after five days.
insert into staging.refunds
select partition, position + 2 * (:facts // 146) + 1, 'urn:till', 'r' || order_id, member_id, recorded_at + interval 5 day, recorded_at + interval 5 day,
    order_source, order_id, total_minor, total_minor, currency, channel, store
from staging.purchases
where member_id is not null and cast(order_id as bigint) % 40 = 3;

-- statement: refund_facts
insert into staging.facts
select partition, position, source, fact_id, 'stammgast.refund.v1', member_id, occurred_at, recorded_at, null
from staging.refunds;

-- statement: refund_decisions
insert into staging.decisions
select partition, position, position, 0, true, source, fact_id, 'stammgast.refund.v1', member_id, 'decided', null, 'scale', occurred_at,
    recorded_at, []
from staging.refunds;

-- statement: returned
insert into staging.returned_lines
select r.partition, r.position, r.position, n, 1, r.amount_minor // 2
from staging.refunds as r, range(1, 3) as t(n);

-- statement: positions
insert into log_positions
select 'facts', partition, max(position)
from staging.facts
group by partition
union all
select 'points-log', partition, max(position)
from staging.decisions
group by partition;
