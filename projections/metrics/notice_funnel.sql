-- statement: notice_funnel_as_of
-- What became of notices: made or suppressed, and of those that were made what whoever sends them told. Moments until the end of `day`;
-- outcomes whenever they came, for they stand on the clock of whoever sends, up to `known_at`.
create or replace macro notice_funnel_as_of(day, known_at := null) as table (
    with said as (
        select n.notice_id, n.rule_id, n.rule_version, coalesce(n.channel, 'none') as channel, n.state, n.reason, c.as_of
        from main.notices as n
        cross join (select cast(day as date) as as_of, time_zone from staging.clock) as c
        where cast(n.occurred_at at time zone c.time_zone as date) <= c.as_of
            and (known_at is null or n.recorded_at <= cast(known_at as timestamptz))
    ),

    told as (
        select notice_id, bool_or(outcome = 'sent') as sent, bool_or(outcome = 'bounced') as bounced, bool_or(outcome = 'failed') as failed,
            bool_or(outcome = 'expired') as expired, bool_or(outcome = 'opened') as opened, bool_or(outcome = 'clicked') as clicked
        from main.notice_outcomes
        where known_at is null or recorded_at <= cast(known_at as timestamptz)
        group by notice_id
    )

    select s.rule_id, s.rule_version, s.channel, count(*) as moments, count(*) filter (where s.state = 'made') as made,
        count(*) filter (where s.reason = 'no_consent') as no_consent, count(*) filter (where s.reason = 'quiet') as quiet,
        count(*) filter (where s.reason = 'held_out') as held_out, count(*) filter (where s.reason = 'capped') as capped,
        count(*) filter (where s.reason = 'expired') as too_late, count(*) filter (where t.sent) as sent,
        count(*) filter (where t.bounced) as bounced, count(*) filter (where t.failed and not t.sent) as failed,
        count(*) filter (where t.expired and not t.sent) as expired, count(*) filter (where t.opened or t.clicked) as opened,
        count(*) filter (where t.clicked) as clicked,
        count(*) filter (where s.state = 'made' and not coalesce(t.sent or t.bounced or t.failed or t.expired or t.opened or t.clicked, false))
            as nothing_told,
        count(*) filter (where t.opened or t.clicked) / nullif(count(*) filter (where t.sent), 0) as open_rate,
        count(*) filter (where t.clicked) / nullif(count(*) filter (where t.sent), 0) as click_rate, any_value(s.as_of) as as_of
    from said as s
    left join told as t on t.notice_id = s.notice_id and s.state = 'made'
    group by s.rule_id, s.rule_version, s.channel
);

-- statement: notice_funnel
create or replace view notice_funnel as
from notice_funnel_as_of((select c.as_of from staging.clock as c));
