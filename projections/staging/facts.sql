-- Records of the facts log -> staging rows. The batch stands in the Arrow table incoming_facts(partition, offset, timestamp_ms, value);
-- nothing in it was applied before (`Warehouse.apply` sees to it). A statement `if` a type runs where such a fact is present.;

-- statement: parse
-- What is no fact (only the engine may write to `facts`, and somebody did) is a row too, named as its quarantined decision is, and no more.
create or replace temp table parsed_facts as
with fresh as materialized (
    select i.partition, i."offset" as position, i.timestamp_ms,
        try(from_json(
            decode(i.value),
            '{"source":"VARCHAR","id":"VARCHAR","type":"VARCHAR","subject":"VARCHAR","time":"VARCHAR","recordedat":"VARCHAR","data":"JSON"}'
        )) as fact
    from incoming_facts as i
),

timed as (
    select *, try_cast(fact.time as timestamptz) as occurred_at, try_cast(fact.recordedat as timestamptz) as recorded_at
    from fresh
),

judged as (
    select *,
        fact.source is not null and fact.id is not null and fact.type is not null
            and occurred_at is not null and recorded_at is not null as is_fact
    from timed
)

select partition, position,
    if(is_fact, fact.source, 'urn:stammgast:unreadable') as source,
    if(is_fact, fact.id, partition || ':' || position) as fact_id,
    if(is_fact, fact.type, 'stammgast.unreadable') as type,
    if(is_fact, fact.subject, null) as member_id,
    if(is_fact, occurred_at, make_timestamptz(0)) as occurred_at,
    if(is_fact, recorded_at, make_timestamptz(timestamp_ms * 1000)) as recorded_at,
    if(is_fact, fact.data, null) as data
from judged;

-- statement: present
select distinct type
from parsed_facts
union all
select 'staff'
where exists (
    from parsed_facts
    where type in ('stammgast.adjustment.v1', 'stammgast.tier_override.v1', 'stammgast.link.v1', 'stammgast.merge.v1')
)
union all
select 'visit'
where exists (
    from parsed_facts
    where type in ('stammgast.visit.v1', 'stammgast.visit.v2')
);

-- statement: facts
insert into staging.facts
-- A profile is not there at all, not even sealed: neither as a fact of its own nor in what an alias handed over.
select partition, position, source, fact_id, type, member_id, occurred_at, recorded_at,
    case type
        when 'stammgast.profile.v1' then null
        when 'stammgast.takeover.v1' then json_merge_patch(data, '{"profile": null}')
        else data
    end as payload
from parsed_facts;

-- statement: parse_purchases if stammgast.purchase.v1
create or replace temp table parsed_purchases as
select * exclude (data),
    from_json(
        data,
        '{"order_source":"VARCHAR","order_id":"VARCHAR","total_minor":"BIGINT","currency":"VARCHAR","channel":"VARCHAR","store":"VARCHAR",
          "paid_with_points_minor":"BIGINT","paid_with_voucher_minor":"BIGINT",
          "lines":[{"sku":"VARCHAR","category":"VARCHAR","quantity":"DECIMAL(18,3)","unit_price":"DECIMAL(18,6)",
                    "discount_minor":"BIGINT","amount_minor":"BIGINT"}]}'
    ) as data
from parsed_facts
where type = 'stammgast.purchase.v1';

-- statement: purchases if stammgast.purchase.v1
-- One with a fact's head and no order was quarantined: it has no row here.
insert into staging.purchases
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data.order_source, data.order_id,
    data.total_minor, data.currency, data.channel, data.store, data.paid_with_points_minor, data.paid_with_voucher_minor
from parsed_purchases
where data.order_source is not null and data.order_id is not null and data.total_minor is not null and data.currency is not null;

-- statement: purchase_lines if stammgast.purchase.v1
insert into staging.purchase_lines
with numbered as (
    select partition, position, unnest(data.lines) as line, generate_subscripts(data.lines, 1) as number
    from parsed_purchases
)

select partition, position, number, line.sku, line.category, line.quantity, line.unit_price,
    line.discount_minor, line.amount_minor
from numbered;

-- statement: parse_refunds if stammgast.refund.v1
create or replace temp table parsed_refunds as
select * exclude (data),
    from_json(
        data,
        '{"order_source":"VARCHAR","order_id":"VARCHAR","amount_minor":"BIGINT","total_minor":"BIGINT","currency":"VARCHAR",
          "channel":"VARCHAR","store":"VARCHAR",
          "lines":[{"line":"INTEGER","sku":"VARCHAR","quantity":"DECIMAL(18,3)","amount_minor":"BIGINT"}]}'
    ) as data
from parsed_facts
where type = 'stammgast.refund.v1';

-- statement: refunds if stammgast.refund.v1
insert into staging.refunds
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data.order_source, data.order_id,
    data.amount_minor, data.total_minor, data.currency, data.channel, data.store
from parsed_refunds
where data.order_source is not null and data.order_id is not null and data.currency is not null;

-- statement: refund_lines if stammgast.refund.v1
insert into staging.refund_lines
with numbered as (
    select partition, position, source, fact_id, data.order_source as order_source, data.order_id as order_id,
        unnest(data.lines) as line, generate_subscripts(data.lines, 1) as number
    from parsed_refunds
    where data.order_source is not null and data.order_id is not null
)

select partition, position, source, fact_id, order_source, order_id, number, line.line, line.sku, line.quantity, line.amount_minor
from numbered;

-- statement: visits if visit
-- Version 2 holds all that version 1 held, under the same names; what version 1 did not say is null.
insert into staging.visits
with parsed as (
    select *, from_json(data, '{"store":"VARCHAR","dwell_seconds":"BIGINT","seen_by":"VARCHAR"}') as visit
    from parsed_facts
    where type in ('stammgast.visit.v1', 'stammgast.visit.v2')
)

select partition, position, source, fact_id, member_id, occurred_at, recorded_at, visit.store, visit.dwell_seconds, visit.seen_by
from parsed;

-- statement: reviews if stammgast.review.v1
insert into staging.reviews
with parsed as (
    select *,
        from_json(data, '{"sku":"VARCHAR","place":"VARCHAR","rating":"INTEGER","verified":"BOOLEAN","link":"VARCHAR"}') as review
    from parsed_facts
    where type = 'stammgast.review.v1'
)

select partition, position, source, fact_id, member_id, occurred_at, recorded_at,
    review.sku, review.place, review.rating, review.verified, review.link
from parsed;

-- statement: referrals if stammgast.referral.v1
insert into staging.referrals
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data ->> '$.referrer'
from parsed_facts
where type = 'stammgast.referral.v1';

-- statement: activities if stammgast.activity.v1
insert into staging.activities
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data ->> '$.name', data -> '$.attributes'
from parsed_facts
where type = 'stammgast.activity.v1';

-- statement: joins if stammgast.joined.v1
insert into staging.joins
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data ->> '$.via'
from parsed_facts
where type = 'stammgast.joined.v1';

-- statement: claims if stammgast.claim.v1
insert into staging.claims
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data ->> '$.order_source', data ->> '$.order_id'
from parsed_facts
where type = 'stammgast.claim.v1';

-- statement: claim_answers if stammgast.claim_answered.v1
insert into staging.claim_answers
select partition, position, member_id, data ->> '$.claim_source', data ->> '$.claim_id', data ->> '$.refused'
from parsed_facts
where type = 'stammgast.claim_answered.v1';

-- statement: transfers if stammgast.transfer.v1
insert into staging.transfers
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data ->> '$.to', cast(data ->> '$.points' as bigint)
from parsed_facts
where type = 'stammgast.transfer.v1';

-- statement: transfer_answers if stammgast.transfer_answer.v1
insert into staging.transfer_answers
select partition, position, member_id, occurred_at, data ->> '$.transfer_source', data ->> '$.transfer_id', data ->> '$.refused'
from parsed_facts
where type = 'stammgast.transfer_answer.v1';

-- statement: notice_outcomes if stammgast.notice_outcome.v1
insert into staging.notice_outcomes
with parsed as (
    select *, from_json(data, '{"notice":"VARCHAR","outcome":"VARCHAR","channel":"VARCHAR","reason":"VARCHAR"}') as said
    from parsed_facts
    where type = 'stammgast.notice_outcome.v1'
)

select partition, position, source, fact_id, member_id, occurred_at, recorded_at, said.notice, said.outcome, said.channel, said.reason
from parsed;

-- statement: costs if stammgast.cost.v1
-- One with a fact's head and no cost was quarantined: it has no row here.
insert into staging.costs
with parsed as (
    select *,
        from_json(
            data,
            '{"day":"VARCHAR","kind":"VARCHAR","foreseen":"BOOLEAN","amount_minor":"BIGINT","currency":"VARCHAR","rule":"VARCHAR"}'
        ) as said
    from parsed_facts
    where type = 'stammgast.cost.v1'
)

select partition, position, source, fact_id, occurred_at, recorded_at, try_cast(said.day as date), said.kind, said.foreseen,
    said.amount_minor, said.currency, said.rule
from parsed
where try_cast(said.day as date) is not null and said.kind is not null and said.foreseen is not null and said.amount_minor is not null
    and said.currency is not null;

-- statement: leaves if stammgast.left.v1
insert into staging.leaves
select partition, position, source, fact_id, member_id, occurred_at, recorded_at
from parsed_facts
where type = 'stammgast.left.v1';

-- statement: redemptions if stammgast.redemption.v1
insert into staging.redemptions
select partition, position, source, fact_id, member_id, occurred_at, recorded_at, data ->> '$.reward', cast(data ->> '$.points' as bigint),
    data ->> '$.store', data ->> '$.order_source', data ->> '$.order_id'
from parsed_facts
where type = 'stammgast.redemption.v1';

-- statement: staff_actions if staff
insert into staging.staff_actions
select partition, position, source, fact_id, split_part(type, '.', 2), member_id, occurred_at, recorded_at,
    data ->> '$.operator', data ->> '$.reason', data
from parsed_facts
where type in ('stammgast.adjustment.v1', 'stammgast.tier_override.v1', 'stammgast.link.v1', 'stammgast.merge.v1');

-- statement: programmes if stammgast.programme.v1
insert into staging.programmes
with parsed as (
    select *,
        from_json(
            data,
            '{"hash":"VARCHAR","programme":"VARCHAR","version":"BIGINT","valid_from":"VARCHAR","time_zone":"VARCHAR",
              "currency":"VARCHAR","base_tier":"VARCHAR",
              "tiers":{"by":"VARCHAR","over":"VARCHAR","months":"INTEGER",
                       "levels":[{"id":"VARCHAR","label":"VARCHAR","from":"BIGINT","benefits":["VARCHAR"]}]},
              "challenges":[{"id":"VARCHAR","label":"VARCHAR","need":"BIGINT","money":"BOOLEAN","begins_at":"VARCHAR","ends_at":"VARCHAR"}],
              "badges":[{"id":"VARCHAR","label":"VARCHAR"}],
              "raffles":[{"id":"VARCHAR","label":"VARCHAR","begins_at":"VARCHAR","ends_at":"VARCHAR","winners":"INTEGER",
                          "wins_per_member":"INTEGER","commitment":"VARCHAR","public":"VARCHAR"}],
              "point_minor":"BIGINT","margin":{"share":"DOUBLE","categories":[{"category":"VARCHAR","share":"DOUBLE"}]},
              "goals":[{"id":"VARCHAR","metric":"VARCHAR","baseline":"DOUBLE","target":"DOUBLE","by":"DATE","store":"VARCHAR",
                        "channel":"VARCHAR"}]}'
        ) as programme_data
    from parsed_facts
    where type = 'stammgast.programme.v1'
)

select partition, position, programme_data.hash, programme_data.programme, programme_data.version,
    try_cast(programme_data.valid_from as timestamptz), programme_data.time_zone, programme_data.currency, programme_data.base_tier,
    programme_data.tiers, programme_data.challenges, programme_data.badges, programme_data.raffles,
    programme_data.point_minor, programme_data.margin, programme_data.goals
from parsed
where programme_data.hash is not null and try_cast(programme_data.valid_from as timestamptz) is not null
    and programme_data.time_zone is not null and programme_data.currency is not null;
