-- What `stammgast verify` asks, of the file or of its server: one SELECT each, over tables that readers may see.
-- Times are microseconds since the epoch, so that nobody has to agree on a time zone. :partition, :after and :upto are whole numbers.

-- statement: identity
select log_id from meta;

-- statement: standing
-- One statement is one moment: how far each log was taken, the newest settled moment, and what every member has then.
-- Lots are told by one number: points left, weighted by the first 60 bits of the lot's id, which is a hash.
with lots_of as (
    select member_id, min(points_left) as least,
        sum(cast(points_left as hugeint) * coalesce(try_cast('0x' || substr(lot_id, 1, 15) as bigint), 0)) as lots
    from lots
    group by member_id
)

select 'position' as what, topic as name, partition, position,
    null as available, null as pending, null as debt, null as earned_ever, null as spent_ever, null as expired_ever, null as clawed_back_ever,
    null as cancelled_ever, null as adjusted_ever, null as transferred_ever,
    null as least, null as lots, null as tier, null as since, null as until, null as projected
from log_positions
union all
select 'settled', null, null, epoch_us(settled_at), null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null
from meta
union all
select 'member', member_id, null, null, b.available, b.pending, b.debt, b.earned_ever, b.spent_ever, b.expired_ever, b.clawed_back_ever,
    b.cancelled_ever, b.adjusted_ever, b.transferred_ever,
    l.least, cast(l.lots as varchar), t.tier, epoch_us(t.since), epoch_us(t.until), t.projected
from balances as b
full join lots_of as l using (member_id)
full join tiers as t using (member_id);

-- statement: facts
select position, source, fact_id, type, member_id, epoch_us(occurred_at) as occurred_at, epoch_us(recorded_at) as recorded_at,
    cast(payload as varchar) as payload
from facts
where partition = :partition and position > :after and position <= :upto
order by position;

-- statement: decisions
select position, fact_position, part, last, source, fact_id, type, member_id, outcome, reason, programme_hash,
    epoch_us(occurred_at) as occurred_at, epoch_us(recorded_at) as recorded_at, cast(to_json(notes) as varchar) as notes
from decisions
where partition = :partition and position > :after and position <= :upto
order by position;

-- statement: points_entries
select position, entry_id, member_id, kind, points, source, fact_id, rule_id, rule_version, epoch_us(occurred_at) as occurred_at,
    epoch_us(recorded_at) as recorded_at, caused_by, epoch_us(active_from) as active_from, epoch_us(expires_at) as expires_at,
    epoch_us(earned_at) as earned_at, waits_for, epoch_us(cancel_at) as cancel_at,
    order_source, order_id, cast(to_json(lines) as varchar) as lines
from points_entries
where partition = :partition and position > :after and position <= :upto
order by position, entry_id;
