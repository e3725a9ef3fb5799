-- Named steps that several marts share. Analysts do not need them.

-- statement: clock
-- One row: the programme's time zone and currency (those of the version that begins last), the newest settled moment, and its day there.
-- Programme facts, what became of a notice and costs settle nobody; a tick does. The newest is asked for by its place in an order, not as a
-- maximum: DuckDB then looks at the newest rows and passes over the others.
create or replace view staging.clock as
with settled as (
    select (
        select occurred_at
        from staging.decisions
        where outcome = 'decided' and type not in ('stammgast.programme.v1', 'stammgast.notice_outcome.v1', 'stammgast.cost.v1')
        order by occurred_at desc
        limit 1
    ) as settled_at
),

programme as (
    select coalesce(arg_max(time_zone, valid_from), 'UTC') as time_zone, arg_max(currency, valid_from) as currency,
        arg_max(base_tier, valid_from) as base_tier
    from staging.programmes
)

select programme.time_zone, programme.currency, programme.base_tier, settled.settled_at,
    cast(settled.settled_at at time zone programme.time_zone as date) as as_of
from settled
cross join programme;

-- statement: decided
-- One row per fact that was decided: the first part of its decision.
create or replace view staging.decided as
select partition, fact_position as position, member_id, reason, programme_hash
from staging.decisions
where outcome = 'decided' and part = 0;

-- statement: owners
-- One row per key that is an alias: whose it is now, at the end of the chain. A takeover that an alias decides itself ended a circle.
create or replace view staging.owners as
with recursive linked as (
    select s.member_id as alias, coalesce(s.details ->> '$.member', s.details ->> '$.into') as linked_to, s.occurred_at as since, s.action,
        s.operator, s.reason
    from staging.staff_actions as s
    inner join staging.decided as d using (partition, position)
    where s.action in ('link', 'merge') and d.reason is null and not exists (
        from staging.decisions as e
        where e.type = 'stammgast.takeover.v1' and e.outcome = 'decided' and e.member_id = s.member_id and e.partition = s.partition
            and e.fact_position > s.position
    )
),

chain as (
    select alias, linked_to as member_id, 1 as steps
    from linked
    union all
    select c.alias, l.linked_to, c.steps + 1
    from chain as c
    inner join linked as l on l.alias = c.member_id
    where c.steps < 100
),

ends as (
    select alias, arg_max(member_id, steps) as member_id
    from chain
    group by alias
)

select l.alias, e.member_id, l.linked_to, l.since, l.action, l.operator, l.reason
from linked as l
inner join ends as e using (alias);

-- statement: claimed
-- Orders that were sold to nobody and then claimed: the member's purchase is the one that counts.
create or replace view staging.claimed as
select distinct p.order_source, p.order_id
from staging.purchases as p
inner join staging.decided as d using (partition, position)
where p.source = 'urn:stammgast:claim';

-- statement: owned
-- Orders that were told without a member and for one too, claimed or by two tills: the member's purchase is the one that counts.
create or replace view staging.owned as
select distinct p.order_source, p.order_id
from staging.purchases as p
inner join staging.decided as d using (partition, position)
inner join staging.purchases as nobody on nobody.order_source = p.order_source and nobody.order_id = p.order_id and nobody.member_id is null
where p.member_id is not null and d.reason is distinct from 'order_already_counted';

-- statement: answered_facts
-- One row per partition: the newest fact that was answered, which is that of its newest decision. Facts are answered in their order, each
-- exactly once, so every fact up to it was.
create or replace view staging.answered_facts as
select d.partition, max(d.fact_position) as position
from main.log_positions as l
inner join staging.decisions as d on d.partition = l.partition and d.position = l.position
where l.topic = 'points-log'
group by d.partition;

-- statement: unanswered_partitions
-- One row per partition with facts that were not answered yet: up to where they were. While all are, purchases need not be looked at.
create or replace view staging.unanswered_partitions as
select l.partition, coalesce(a.position, -1) as position
from main.log_positions as l
left join staging.answered_facts as a on a.partition = l.partition
where l.topic = 'facts' and l.position > coalesce(a.position, -1);

-- statement: uncounted_facts
-- Purchases that do not count: not yet answered, not decided, or their order had been counted already. They are few, so purchases are held
-- against these, and not against all that count, as many as there are purchases. No ANTI JOIN: a macro over it could not be asked for each
-- row of another question. No OR between columns: DuckDB passes over rows by the least and the greatest of one column.
create or replace view staging.uncounted_facts as
select partition, fact_position as position
from staging.decisions
where part = 0 and outcome <> 'decided'
union all
select partition, fact_position as position
from staging.decisions
where part = 0 and outcome = 'decided' and reason = 'order_already_counted'
union all
select p.partition, p.position
from staging.purchases as p
inner join staging.unanswered_partitions as a on a.partition = p.partition and p.position > a.position;

-- statement: orders
-- One row per counted order. Sales to nobody stand apart: whether they belong to somebody by now is not asked where members alone are.
create or replace view staging.orders as
select p.order_source, p.order_id, coalesce(w.member_id, p.member_id) as member_id, p.occurred_at, p.recorded_at, p.currency,
    p.total_minor, p.channel, p.store, p.partition, p.position
from staging.purchases as p
left join staging.uncounted_facts as u on u.partition = p.partition and u.position = p.position
left join staging.owners as w on w.alias = p.member_id
where p.member_id is not null and u.position is null
union all
select p.order_source, p.order_id, null, p.occurred_at, p.recorded_at, p.currency, p.total_minor, p.channel, p.store, p.partition, p.position
from staging.purchases as p
left join staging.uncounted_facts as u on u.partition = p.partition and u.position = p.position
left join staging.owned as c on c.order_source = p.order_source and c.order_id = p.order_id
where p.member_id is null and u.position is null and c.order_id is null;

-- statement: quarter
-- The quarter of an hour of a moment, counted from the year 1 so that none is negative.
create or replace macro staging.quarter(ts) as ((epoch_us(ts) + 62135596800000000) // 900000000);

-- statement: quarters
-- One row per quarter of an hour between two moments: the programme's day then. Since 1972 all zones keep whole quarters, and to ask the time
-- zone for each of them costs a tenth of asking it for each purchase. A span of more than 50 years is a fact with an odd date: no row then.
create or replace macro staging.quarters(first_at, last_at) as table (
    select s.quarter, cast(make_timestamptz(s.quarter * 900000000 - 62135596800000000) at time zone c.time_zone as date) as day
    from (
        select unnest(range(q.first_quarter, if(q.last_quarter - q.first_quarter < 1753200, q.last_quarter + 1, q.first_quarter))) as quarter
        from (select staging.quarter(first_at) as first_quarter, staging.quarter(last_at) as last_quarter) as q
    ) as s
    cross join staging.clock as c
);

-- statement: sale_quarters
-- One row per quarter of an hour in which something was sold: the programme's day then. Since 1972 all zones keep whole quarters, and to ask the
-- time zone for each of them costs a tenth of asking it for each purchase.
create or replace view staging.sale_quarters as
select s.quarter, cast(make_timestamptz(s.quarter * 900000000 - 62135596800000000) at time zone c.time_zone as date) as day
from (select distinct staging.quarter(occurred_at) as quarter from staging.purchases) as s
cross join staging.clock as c;

-- statement: move_quarters
-- The same for movements of points.
create or replace view staging.move_quarters as
select s.quarter, cast(make_timestamptz(s.quarter * 900000000 - 62135596800000000) at time zone c.time_zone as date) as day
from (select distinct staging.quarter(occurred_at) as quarter from staging.points_entries) as s
cross join staging.clock as c;

-- statement: counted_quarters
-- The same without looking at all purchases, and more between them. For questions that need the days of a few purchases: where it is joined with
-- all of them, DuckDB takes it for a handful of rows and asks in a dearer order (half as much again at 20 million).
create or replace view staging.counted_quarters as
with spans as (
    select min(occurred_at) as first_at, max(occurred_at) as last_at,
        staging.quarter(max(occurred_at)) - staging.quarter(min(occurred_at)) >= 1753200 as odd
    from staging.purchases
)

from staging.quarters((select s.first_at from spans as s), (select s.last_at from spans as s))
union all
select s.quarter, cast(make_timestamptz(s.quarter * 900000000 - 62135596800000000) at time zone c.time_zone as date) as day
from (
    select distinct staging.quarter(p.occurred_at) as quarter
    from staging.purchases as p
    inner join spans as o on o.odd
) as s
cross join staging.clock as c;

-- statement: releases
-- One row per lot that a release made spendable: the newest one counts.
create or replace view staging.releases as
select b.lot_id, arg_max(e.occurred_at, (e.position, e.ordinal)) as occurred_at,
    arg_max(e.active_from, (e.position, e.ordinal)) as active_from, arg_max(e.expires_at, (e.position, e.ordinal)) as expires_at
from staging.points_entries as e
inner join staging.lot_burns as b on b.partition = e.partition and b.position = e.position and b.entry_id = e.entry_id
where e.kind = 'release'
group by b.lot_id;

-- statement: slides
-- One row per member whose points without a date go by inactivity: when.
create or replace view staging.slides as
select member_id, try_cast(arg_max(state, (position, ordinal)) as timestamptz) as expires_at
from staging.state_changes
where what = 'expiry'
group by member_id;

-- statement: accounts
-- One row per member, with the keys that became his: when the account began, as he said first, else with his first fact.
create or replace view staging.accounts as
with first_facts as (
    select coalesce(w.member_id, d.member_id) as member_id, min(d.first_fact_at) as first_fact_at
    from (
        select member_id, arg_min(occurred_at, position) as first_fact_at
        from staging.decisions
        where outcome = 'decided' and member_id is not null and reason is distinct from 'unknown_member'
            and type <> 'stammgast.notice_outcome.v1'
        group by member_id
    ) as d
    left join staging.owners as w on w.alias = d.member_id
    group by all
),

joined as (
    select coalesce(w.member_id, j.member_id) as member_id, min(j.joined_at) as joined_at, arg_min(j.joined_via, j.joined_at) as joined_via
    from (
        select j.member_id, arg_min(j.occurred_at, j.position) as joined_at, arg_min(j.via, j.position) as joined_via
        from staging.joins as j
        inner join staging.decided as d using (partition, position)
        where d.reason is distinct from 'already_joined'
        group by j.member_id
    ) as j
    left join staging.owners as w on w.alias = j.member_id
    group by all
)

select f.member_id, coalesce(j.joined_at, f.first_fact_at) as joined_at, j.joined_via
from first_facts as f
left join joined as j using (member_id);

-- statement: tiers_held
-- One row per member of a programme with tiers: what was last decided.
create or replace view staging.tiers_held as
select member_id, tier, since, until, projected
from staging.tier_changes
where member_id not in (select w.alias from staging.owners as w)
qualify row_number() over (partition by member_id order by position desc, ordinal desc) = 1;

-- statement: tier_plan
-- At most one row: how tiers are reached under the version in force at the newest settled moment.
create or replace view staging.tier_plan as
with versions as (
    select p.tiers, c.as_of, c.time_zone
    from staging.programmes as p
    inner join staging.clock as c on p.valid_from <= c.settled_at
    qualify row_number() over (order by p.valid_from desc) = 1
)

select tiers."over" as over_what, tiers.months as months, tiers.levels as levels, as_of, time_zone
from versions
where tiers is not null;

-- statement: tier_days
-- One row per member and local day with progress towards tiers; points that were cancelled took theirs back (staging.state_changes).
create or replace view staging.tier_days as
with moved as (
    select member_id, day, amount from staging.tier_progress
    union all
    select member_id, cast(id as date), cast(state as bigint) from staging.state_changes where what = 'progress'
)

select member_id, day, cast(sum(amount) as bigint) as amount
from moved
group by member_id, day;

-- statement: standing
-- How far each partition of the decisions was known at a moment; every log is written in order, so one place says it all.
create or replace macro staging.standing(known_at) as table (
    select partition, max(position) as position
    from staging.decisions
    where known_at is not null and recorded_at <= cast(known_at as timestamptz)
    group by partition
);

-- statement: tier_spans
-- One row per member and span of a tier, as the changes known at a moment tell it (NULL: as all tell it).
create or replace macro staging.tier_spans(known_at) as table (
    with changed as (
        select t.member_id, t.tier, t.since, t.position, t.ordinal,
            lag(t.tier) over (partition by t.member_id order by t.position, t.ordinal) as tier_before
        from staging.tier_changes as t
        left join staging.standing(known_at) as k on k.partition = t.partition
        where known_at is null or t.position <= k.position
    ),

    -- A late fact can date a change before the one already made: in the history it begins where that one did.
    spans as (
        select member_id, tier, position, ordinal,
            max(since) over (partition by member_id order by position, ordinal) as from_at
        from changed
        where tier is distinct from tier_before
    ),

    closed as (
        select s.member_id, s.tier, s.from_at,
            coalesce(lead(s.from_at) over (partition by s.member_id order by s.position, s.ordinal), w.since) as to_at
        from spans as s
        left join staging.owners as w on w.alias = s.member_id
    )

    select member_id, tier, from_at, to_at
    from closed
    where to_at is null or to_at > from_at
);

-- statement: challenge_plans
-- One row per challenge, badge and raffle: what the newest version says that has it.
create or replace view staging.challenge_plans as
with said as (
    select unnest(challenges) as plan, valid_from
    from staging.programmes
)

select unnest(arg_max(plan, valid_from))
from said
group by plan.id;

-- statement: badge_plans
create or replace view staging.badge_plans as
with said as (
    select unnest(badges) as plan, valid_from
    from staging.programmes
)

select unnest(arg_max(plan, valid_from))
from said
group by plan.id;

-- statement: raffle_plans
create or replace view staging.raffle_plans as
with said as (
    select unnest(raffles) as plan, valid_from
    from staging.programmes
)

select unnest(arg_max(plan, valid_from))
from said
group by plan.id;
