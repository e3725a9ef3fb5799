-- Records of the points-log -> staging rows. The batch stands in the Arrow table incoming_decisions(partition, offset, timestamp_ms, value);
-- nothing in it was applied before (`Warehouse.apply` sees to it).
-- recorded_at is the record's own timestamp: the keeper gives a decision the timestamp of its fact.
-- What an entry or a tier change does not say (member, source, fact, time) its decision says.
-- A statement `if` something runs where that is present.;

-- statement: parse
create or replace temp table parsed_decisions as
with fresh as (
    select i.partition, i."offset" as position, make_timestamptz(i.timestamp_ms * 1000) as recorded_at,
        from_json(
            decode(i.value),
            '{"source":"VARCHAR","fact_id":"VARCHAR","type":"VARCHAR","member_id":"VARCHAR","outcome":"VARCHAR","reason":"VARCHAR",
              "programme":"VARCHAR","occurred_at":"VARCHAR","offset":"BIGINT","part":"INTEGER","last":"BOOLEAN",
              "entries":[{"entry_id":"VARCHAR","member_id":"VARCHAR","kind":"VARCHAR","points":"BIGINT","rule_id":"VARCHAR",
                          "rule_version":"INTEGER","source":"VARCHAR","fact_id":"VARCHAR","occurred_at":"VARCHAR","caused_by":"VARCHAR",
                          "active_from":"VARCHAR","expires_at":"VARCHAR","order":"VARCHAR","lines":[["BIGINT"]],"burns":[["VARCHAR"]],
                          "earned_at":"VARCHAR","waits_for":"VARCHAR","cancel_at":"VARCHAR"}],
              "tiers":[{"member_id":"VARCHAR","tier":"VARCHAR","previous":"VARCHAR","since":"VARCHAR","until":"VARCHAR",
                        "projected":"VARCHAR","source":"VARCHAR","fact_id":"VARCHAR","occurred_at":"VARCHAR"}],
              "states":[{"member_id":"VARCHAR","what":"VARCHAR","id":"VARCHAR","state":"VARCHAR","source":"VARCHAR","fact_id":"VARCHAR",
                         "occurred_at":"VARCHAR"}],
              "progress":[["VARCHAR"]],"counters":[["VARCHAR"]],"returned":[["BIGINT"]],
              "notes":[{"code":"VARCHAR","rule_id":"VARCHAR","text":"VARCHAR"}],
              "notices":[{"id":"VARCHAR","member_id":"VARCHAR","rule_id":"VARCHAR","rule_version":"INTEGER","programme":"VARCHAR",
                          "moment":"VARCHAR","state":"VARCHAR","reason":"VARCHAR","template":"VARCHAR","channel":"VARCHAR",
                          "language":"VARCHAR","values":"JSON","because":{"text":"VARCHAR","fields":"JSON"},"not_before":"VARCHAR",
                          "expires_at":"VARCHAR","effects":"JSON","source":"VARCHAR","fact_id":"VARCHAR","occurred_at":"VARCHAR"}]}'
        ) as decision
    from incoming_decisions as i
)

select partition, position, recorded_at, unnest(decision)
from fresh;

-- statement: present
with found as (
    select coalesce(bool_or(len(tiers) > 0), false) as tiers, coalesce(bool_or(len(progress) > 0), false) as progress,
        coalesce(bool_or(len(states) > 0), false) as states, coalesce(bool_or(len(returned) > 0), false) as returned,
        coalesce(bool_or(len(notices) > 0), false) as notices, coalesce(bool_or(len(counters) > 0), false) as counters,
        coalesce(bool_or(list_contains(list_transform(entries, lambda entry: len(entry.burns) > 0), true)), false) as burns
    from parsed_decisions
)

select unnest(list_filter(['tiers', 'progress', 'states', 'returned', 'burns', 'notices', 'counters'],
    lambda name: map {
        'tiers': tiers, 'progress': progress, 'states': states, 'returned': returned, 'burns': burns, 'notices': notices,
        'counters': counters
    }[name]))
from found;

-- statement: decisions
insert into staging.decisions
select partition, position, "offset", part, last, source, fact_id, type, member_id, outcome, reason, programme,
    cast(occurred_at as timestamptz), recorded_at, notes
from parsed_decisions;

-- statement: points_entries
-- An order is written "<order_source>|<order_id>"; a source is a URI and holds no bar.
insert into staging.points_entries
with entries as (
    select partition, position, member_id, cast(occurred_at as timestamptz) as occurred_at, unnest(entries) as entry,
        generate_subscripts(entries, 1) as ordinal
    from parsed_decisions
    where len(entries) > 0
)

select partition, position, ordinal, entry.entry_id, coalesce(entry.member_id, member_id), entry.kind, entry.points, entry.rule_id,
    entry.rule_version, entry.source, entry.fact_id, coalesce(cast(entry.occurred_at as timestamptz), occurred_at), entry.caused_by,
    cast(entry.active_from as timestamptz), cast(entry.expires_at as timestamptz),
    split_part(entry."order", '|', 1), substr(entry."order", strpos(entry."order", '|') + 1),
    list_transform(entry.lines, lambda pair: {'line': cast(pair[1] as integer), 'points': pair[2]}),
    cast(entry.earned_at as timestamptz), entry.waits_for, cast(entry.cancel_at as timestamptz)
from entries;

-- statement: lot_burns if burns
insert into staging.lot_burns
with entries as (
    select partition, position, member_id, occurred_at,
        unnest(list_filter(entries, lambda entry: len(entry.burns) > 0)) as entry
    from parsed_decisions
    where len(entries) > 0
),

burns as (
    select partition, position, entry.entry_id as entry_id, coalesce(entry.member_id, member_id) as member_id,
        cast(coalesce(entry.occurred_at, occurred_at) as timestamptz) as occurred_at, unnest(entry.burns) as burn
    from entries
)

select partition, position, entry_id, burn[1], member_id, cast(burn[2] as bigint), occurred_at
from burns;

-- statement: tier_changes if tiers
insert into staging.tier_changes
with changes as (
    select partition, position, recorded_at, member_id, source, fact_id, occurred_at, unnest(tiers) as tier,
        generate_subscripts(tiers, 1) as ordinal
    from parsed_decisions
    where len(tiers) > 0
)

select partition, position, ordinal, coalesce(tier.member_id, member_id), tier.tier, tier.previous, cast(tier.since as timestamptz),
    cast(tier.until as timestamptz), tier.projected, coalesce(tier.source, source), coalesce(tier.fact_id, fact_id),
    cast(coalesce(tier.occurred_at, occurred_at) as timestamptz), recorded_at
from changes;

-- statement: tier_progress if progress
-- [local day, amount]
insert into staging.tier_progress
with moved as (
    select partition, position, member_id, unnest(progress) as pair
    from parsed_decisions
    where len(progress) > 0 and member_id is not null
)

select partition, position, member_id, cast(pair[1] as date), cast(pair[2] as bigint)
from moved;

-- statement: state_changes if states
insert into staging.state_changes
with changes as (
    select partition, position, recorded_at, member_id, source, fact_id, occurred_at, unnest(states) as change,
        generate_subscripts(states, 1) as ordinal
    from parsed_decisions
    where len(states) > 0
)

select partition, position, ordinal, coalesce(change.member_id, member_id), change.what, change.id, change.state,
    coalesce(change.source, source), coalesce(change.fact_id, fact_id), cast(coalesce(change.occurred_at, occurred_at) as timestamptz),
    recorded_at
from changes;

-- statement: notices if notices
insert into staging.notices
with said as (
    select partition, position, recorded_at, member_id, source, fact_id, occurred_at, programme, unnest(notices) as notice,
        generate_subscripts(notices, 1) as ordinal
    from parsed_decisions
    where len(notices) > 0
)

select partition, position, ordinal, notice.id, coalesce(notice.member_id, member_id), notice.rule_id, notice.rule_version,
    coalesce(notice.programme, programme), notice.moment, notice.state, notice.reason, notice.channel, notice.language, notice.template,
    notice."values", notice.because.text, notice.because.fields, cast(notice.not_before as timestamptz),
    cast(notice.expires_at as timestamptz), notice.effects, coalesce(notice.source, source), coalesce(notice.fact_id, fact_id),
    cast(coalesce(notice.occurred_at, occurred_at) as timestamptz), recorded_at
from said;

-- statement: challenge_moves if counters
-- [counter, by how much, of how many awards it was the moment, order lines]; those of challenges alone.
insert into staging.challenge_moves
with moved as (
    select partition, position, member_id, cast(occurred_at as timestamptz) as occurred_at, unnest(counters) as counter
    from parsed_decisions
    where len(counters) > 0 and member_id is not null and outcome = 'decided'
)

select partition, position, member_id, substr(counter[1], 11), cast(counter[2] as bigint), occurred_at
from moved
where starts_with(counter[1], 'challenge ');

-- statement: returned_lines if returned
-- [order line, thousandths of a piece, minor units]
insert into staging.returned_lines
with returns as (
    select partition, position, "offset" as fact_position, unnest(returned) as line
    from parsed_decisions
    where len(returned) > 0
)

select partition, position, fact_position, line[1], line[2] / 1000::decimal(4, 0), line[3]
from returns;
