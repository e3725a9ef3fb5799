-- statement: rule_results
-- What every rule gave, by version, and what it changed: members who got something from it against those whom its hold-out kept from it,
-- each by the money they left from the first time on that it met them. Members are held out by chance, so the two groups differ in nothing
-- else; the interval is Welch's, two standard errors of the difference to either side (95 %).
create or replace view rule_results as
with moved as (
    select e.rule_id, e.rule_version, e.member_id, e.kind, e.points, e.occurred_at
    from staging.points_entries as e
    where e.rule_id is not null and e.kind in ('earn', 'clawback', 'cancel')
),

given_by as (
    select rule_id, rule_version, count(*) filter (where kind = 'earn') as awards, count(distinct member_id) filter (where kind = 'earn') as members,
        cast(coalesce(sum(points) filter (where kind = 'earn'), 0) as bigint) as points,
        cast(coalesce(-sum(points) filter (where kind <> 'earn'), 0) as bigint) as taken_back
    from moved
    group by rule_id, rule_version
),

noted as (
    select member_id, occurred_at, programme_hash, unnest(notes) as note
    from staging.decisions
    where outcome = 'decided' and len(list_filter(notes, lambda note: note.code = 'hold_out')) > 0
),

met as (
    select rule_id, rule_version, member_id, false as held_out, min(occurred_at) as since
    from moved
    where kind = 'earn'
    group by all
    union all
    select n.note.rule_id, cast(p.version as integer), n.member_id, true, min(n.occurred_at)
    from noted as n
    inner join programmes as p using (programme_hash)
    where n.note.code = 'hold_out'
    group by all
),

sold as (
    select member_id, occurred_at, net_minor
    from staging.sales_as_of((select c.as_of from staging.clock as c))
    where member_id is not null
),

spent as (
    select m.rule_id, m.rule_version, m.held_out, m.member_id, coalesce(sum(s.net_minor), 0) as net_minor
    from met as m
    left join sold as s on s.member_id = m.member_id and s.occurred_at >= m.since
    where exists (from met as h where h.held_out and h.rule_id = m.rule_id and h.rule_version = m.rule_version)
    group by all
),

compared as (
    select rule_id, rule_version, count(*) filter (where held_out) as held_out_members,
        avg(net_minor) filter (where not held_out) as net_per_member_minor, avg(net_minor) filter (where held_out) as net_per_held_out_minor,
        sqrt(var_samp(net_minor) filter (where not held_out) / nullif(count(*) filter (where not held_out), 0)
            + var_samp(net_minor) filter (where held_out) / nullif(count(*) filter (where held_out), 0)) as standard_error
    from spent
    group by rule_id, rule_version
)

select g.rule_id, g.rule_version, g.members, g.awards, g.points, g.taken_back, coalesce(c.held_out_members, 0) as held_out_members,
    round(c.net_per_member_minor, 2) as net_per_member_minor, round(c.net_per_held_out_minor, 2) as net_per_held_out_minor,
    round(c.net_per_member_minor - c.net_per_held_out_minor, 2) as lift_minor,
    round(c.net_per_member_minor - c.net_per_held_out_minor - 1.96 * c.standard_error, 2) as lift_low_minor,
    round(c.net_per_member_minor - c.net_per_held_out_minor + 1.96 * c.standard_error, 2) as lift_high_minor
from given_by as g
left join compared as c on c.rule_id = g.rule_id and c.rule_version is not distinct from g.rule_version;
