create or replace view notices as
-- What came with a notice stands in one list; a rule gives at most one of each kind.
with effects as (
    select n.partition, n.position, n.ordinal, from_json(n.effects, '[{"kind":"VARCHAR","points":"BIGINT","reward":"VARCHAR",
        "redemption":"VARCHAR","tier":"VARCHAR","until":"VARCHAR"}]') as given
    from staging.notices as n
    where n.effects is not null
)

select n.notice_id, coalesce(w.member_id, n.member_id) as member_id, n.rule_id, n.rule_version, n.programme_hash, n.moment, n.state, n.reason,
    n.channel, n.language, n.template, n.text, n.fields, n."values",
    list_filter(e.given, lambda one: one.kind = 'points')[1].points as points,
    list_filter(e.given, lambda one: one.kind = 'reward')[1].reward as reward,
    list_filter(e.given, lambda one: one.kind = 'reward')[1].redemption as redemption_id,
    list_filter(e.given, lambda one: one.kind = 'tier')[1].tier as tier,
    cast(list_filter(e.given, lambda one: one.kind = 'tier')[1].until as date) as tier_until,
    n.not_before, n.expires_at, n.source, n.fact_id, n.occurred_at, n.recorded_at
from staging.notices as n
left join effects as e using (partition, position, ordinal)
left join staging.owners as w on w.alias = n.member_id;
