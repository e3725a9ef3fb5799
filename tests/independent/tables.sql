-- statement: points_entries
select e.member_id, e.kind, e.points, e.rule_id, e.rule_version, e.source, e.fact_id, epoch_us(e.occurred_at),
    c.fact_id as cause_fact_id, c.rule_id as cause_rule_id,
    list_sort(list_transform(list_filter(e.lines, lambda l: l.points <> 0), lambda l: l.line || ':' || l.points))::varchar
from points_entries as e
left join points_entries as c on c.entry_id = e.caused_by;

-- statement: balances
select member_id, available, pending, debt, earned_ever, spent_ever, expired_ever
from balances;

-- statement: lots
select l.member_id, e.fact_id, e.rule_id, l.points, l.points_left, epoch_us(l.earned_at), epoch_us(l.active_from), epoch_us(l.expires_at)
from lots as l
inner join points_entries as e on e.entry_id = l.lot_id;

-- statement: tiers
select member_id, tier, epoch_us(since), epoch_us(until)
from tiers;
