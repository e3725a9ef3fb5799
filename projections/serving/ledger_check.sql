-- What the tables are asked again and again while they are written (projections/ledger_check.py): one row each. `points` tells three sums and
-- by how much they disagree, `settled` how far the tables know what happened; every other statement counts rows that break an invariant.

-- statement: points
select coalesce(sum(available + pending - debt), 0) as entries, coalesce(sum(available + pending), 0) as lots, coalesce(sum(debt), 0) as debt,
    coalesce(sum(greatest(-debt, 0)), 0) + (select coalesce(sum(-points_left), 0) from lots where points_left < 0) as gap
from balances;

-- statement: settled
select coalesce(epoch(settled_at), 0) from staging.clock;

-- statement: lot_below_zero
select count(*) from lots where points_left < 0;

-- statement: debt_below_zero
-- A member with more points in entries than in lots: some lot is missing, or was taken from twice.
select count(*) from balances where debt < 0;

-- statement: fact_without_decision
-- Up to the newest place that both logs were taken to, every fact has one decision; records that are no facts have no row in facts.
with ends as (
    select d.partition, least(d.newest, f.newest) as newest
    from (select partition, max(fact_position) as newest from staging.decisions group by partition) as d
    inner join (select partition, max(position) as newest from staging.facts group by partition) as f using (partition)
)

select
    abs(
        (select count(*) from staging.facts as f inner join ends as e on e.partition = f.partition and f.position <= e.newest)
        - (
            select count(*) from staging.decisions as d inner join ends as e on e.partition = d.partition and d.fact_position <= e.newest
            where d.part = 0 and d.type <> 'stammgast.unreadable'
        )
    );

-- statement: lot_overdue
-- Points that should have expired by the newest tick of their partition, of members to whom nothing happened since.
with ticks as (
    select partition, max(occurred_at) as ticked_at, max(position) as position
    from staging.decisions
    where type = 'stammgast.tick.v1' and outcome = 'decided'
    group by partition
),

quiet as (
    select d.member_id, min(t.ticked_at) as ticked_at
    from staging.decisions as d
    inner join ticks as t using (partition)
    where d.member_id is not null
    group by d.member_id
    having max(d.position) < min(t.position)
)

select count(*)
from lots as l
inner join quiet as q using (member_id)
where l.points_left > 0 and l.expires_at <= q.ticked_at;
