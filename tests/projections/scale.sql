-- A shop of :members members and :facts purchases over two years, put straight into the tables: few members buy often, many seldom.
-- What the engine would have decided is a point per euro and one redemption in twenty; enough for every question to have work. One sale to a
-- member in forty comes back.

-- statement: programme
insert into staging.programmes (partition, position, programme_hash, programme, version, valid_from, time_zone, currency, base_tier, tiers)
values (0, 0, 'scale', 'scale', 1, timestamptz '2024-01-01 00:00:00+00', 'Europe/Berlin', 'EUR', null, null);

-- statement: drawn
-- random() is seeded; a member's number is the square of a draw, so that a tenth of the members makes a third of the purchases.
create temp table drawn as
select i, i % 12 as partition, i // 12 as position, 'm' || cast(floor(:members * pow(random(), 2)) as integer) as member_id,
    timestamptz '2024-01-01 08:00:00+00' + to_seconds(cast(random() * 730 * 86400 as bigint)) as occurred_at,
    cast(500 + random() * 9500 as bigint) as total_minor, 's' || cast(floor(random() * 20) as integer) as store,
    if(random() < 0.3, 'web', 'pos') as channel, cast(floor(500 * pow(random(), 2)) as integer) as sku
from range(:facts) as t(i);

-- statement: purchases
insert into staging.purchases
select partition, position, 'urn:till', cast(i as varchar), if(i % 5 = 0, null, member_id), occurred_at, occurred_at, 'urn:till', cast(i as varchar),
    total_minor, 'EUR', channel, store, 0, 0
from drawn;

-- statement: lines
insert into staging.purchase_lines
select partition, position, n, 'sku' || (sku + n * 7) % 500, 'c' || (sku + n) % 12, 1, total_minor / 200.0, 0, total_minor // 2
from drawn, range(1, 3) as t(n);

-- statement: facts
insert into staging.facts
select partition, position, 'urn:till', cast(i as varchar), 'stammgast.purchase.v1', if(i % 5 = 0, null, member_id), occurred_at, occurred_at, null
from drawn;

-- statement: decisions
insert into staging.decisions
select partition, position, position, 0, true, 'urn:till', cast(i as varchar), 'stammgast.purchase.v1', if(i % 5 = 0, null, member_id), 'decided',
    null, 'scale', occurred_at, occurred_at, []
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
-- One sale to a member in forty comes back whole after five days. Its fact stands far behind all purchases of the partition.
insert into staging.refunds
select partition, :facts // 12 + 1 + position, 'urn:till', 'r' || order_id, member_id, occurred_at + interval 5 day, occurred_at + interval 5 day,
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
