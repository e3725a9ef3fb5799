-- Tables filled once per log record, in log order, and never changed: everything analysts see is a view over them.
-- No keys and no indexes: positions make a second delivery impossible, and DuckDB's indexes can corrupt (duckdb/duckdb#23645).
-- Every table takes rows from a connection that says it writes and from no other: quack lets a reader with the token append rows past the
-- authoriser (1.5.5), and a reader cannot set the variable. COALESCE, because a CHECK that is NULL holds.
-- Money is integer minor units, points are integers, times are UTC.

-- statement: schema
create schema if not exists staging;

-- statement: facts
create table staging.facts (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, type varchar not null, member_id varchar,
    occurred_at timestamptz not null, recorded_at timestamptz not null, payload json,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: purchases
create table staging.purchases (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    order_source varchar not null, order_id varchar not null, total_minor bigint not null, currency varchar not null,
    channel varchar, store varchar, paid_with_points_minor bigint, paid_with_voucher_minor bigint,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: purchase_lines
-- What is said of the order as a whole stands in the row of `purchases` at the same position.
create table staging.purchase_lines (
    partition integer not null, position bigint not null,
    line integer not null, sku varchar, category varchar, quantity decimal(18, 3), unit_price decimal(18, 6),
    discount_minor bigint, amount_minor bigint,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: refunds
create table staging.refunds (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    order_source varchar not null, order_id varchar not null, amount_minor bigint, total_minor bigint, currency varchar not null,
    channel varchar, store varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: refund_lines
create table staging.refund_lines (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, order_source varchar not null, order_id varchar not null,
    refund_line integer not null, line integer, sku varchar, quantity decimal(18, 3), amount_minor bigint,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: visits
create table staging.visits (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    store varchar, dwell_seconds bigint, seen_by varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: reviews
create table staging.reviews (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    sku varchar, place varchar, rating integer, verified boolean, link varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: referrals
create table staging.referrals (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    referrer varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: activities
create table staging.activities (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    name varchar, attributes json,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: joins
create table staging.joins (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    via varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: claims
create table staging.claims (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    order_source varchar, order_id varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: claim_answers
create table staging.claim_answers (
    partition integer not null, position bigint not null, member_id varchar, claim_source varchar, claim_id varchar, refused varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: transfers
create table staging.transfers (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    to_member varchar, points bigint,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: transfer_answers
create table staging.transfer_answers (
    partition integer not null, position bigint not null, member_id varchar, occurred_at timestamptz not null,
    transfer_source varchar, transfer_id varchar, refused varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: notice_outcomes
create table staging.notice_outcomes (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    notice_id varchar, outcome varchar, channel varchar, reason varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: costs
create table staging.costs (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, occurred_at timestamptz not null, recorded_at timestamptz not null,
    spent_on date not null, kind varchar not null, foreseen boolean not null, amount_minor bigint not null, currency varchar not null,
    rule_id varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: leaves
create table staging.leaves (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: redemptions
create table staging.redemptions (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, member_id varchar, occurred_at timestamptz not null, recorded_at timestamptz not null,
    reward varchar, points bigint, store varchar, order_source varchar, order_id varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: staff_actions
create table staging.staff_actions (
    partition integer not null, position bigint not null,
    source varchar not null, fact_id varchar not null, action varchar not null, member_id varchar, occurred_at timestamptz not null,
    recorded_at timestamptz not null, operator varchar, reason varchar, details json,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: programmes
create table staging.programmes (
    partition integer not null, position bigint not null,
    programme_hash varchar not null, programme varchar, version bigint, valid_from timestamptz not null,
    time_zone varchar not null, currency varchar not null, base_tier varchar,
    tiers struct("by" varchar, "over" varchar, months integer,
                 levels struct(id varchar, label varchar, "from" bigint, benefits varchar[])[]),
    challenges struct(id varchar, label varchar, need bigint, money boolean, begins_at varchar, ends_at varchar)[],
    badges struct(id varchar, label varchar)[],
    raffles struct(id varchar, label varchar, begins_at varchar, ends_at varchar, winners integer, wins_per_member integer,
                   commitment varchar, "public" varchar)[],
    point_minor bigint,
    margin struct("share" double, categories struct(category varchar, "share" double)[]),
    goals struct(id varchar, metric varchar, baseline double, target double, "by" date, store varchar, channel varchar)[],
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: decisions
create table staging.decisions (
    partition integer not null, position bigint not null, fact_position bigint not null, part integer not null, last boolean not null,
    source varchar not null, fact_id varchar not null, type varchar not null, member_id varchar,
    outcome varchar not null, reason varchar, programme_hash varchar,
    occurred_at timestamptz not null, recorded_at timestamptz not null,
    notes struct(code varchar, rule_id varchar, "text" varchar)[],
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: points_entries
-- source and fact_id only where they are not those of the decision, which is the row of `decisions` at the same position.
create table staging.points_entries (
    partition integer not null, position bigint not null, ordinal integer not null,
    entry_id varchar not null, member_id varchar not null, kind varchar not null, points bigint not null,
    rule_id varchar, rule_version integer, source varchar, fact_id varchar,
    occurred_at timestamptz not null, caused_by varchar,
    active_from timestamptz, expires_at timestamptz, order_source varchar, order_id varchar,
    lines struct(line integer, points bigint)[],
    earned_at timestamptz, waits_for varchar, cancel_at timestamptz,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: lot_burns
create table staging.lot_burns (
    partition integer not null, position bigint not null,
    entry_id varchar not null, lot_id varchar not null, member_id varchar not null, points bigint not null,
    occurred_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: returned_lines
-- What a refund took back of an order's lines, as the ledger counts it: several refunds of one line add up to the line.
create table staging.returned_lines (
    partition integer not null, position bigint not null, fact_position bigint not null,
    line integer not null, quantity decimal(18, 3) not null, amount_minor bigint not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: tier_changes
create table staging.tier_changes (
    partition integer not null, position bigint not null, ordinal integer not null,
    member_id varchar not null, tier varchar not null, previous varchar, since timestamptz not null, until timestamptz, projected varchar,
    source varchar not null, fact_id varchar not null, occurred_at timestamptz not null, recorded_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: tier_progress
-- Progress towards tiers by local day: minor units, points or a count, as the programme qualifies.
create table staging.tier_progress (
    partition integer not null, position bigint not null,
    member_id varchar not null, day date not null, amount bigint not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: state_changes
create table staging.state_changes (
    partition integer not null, position bigint not null, ordinal integer not null,
    member_id varchar not null, what varchar not null, id varchar not null, state varchar not null,
    source varchar not null, fact_id varchar not null, occurred_at timestamptz not null, recorded_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: notices
-- What was to be said to members, and what was not, with the reason.
create table staging.notices (
    partition integer not null, position bigint not null, ordinal integer not null,
    notice_id varchar not null, member_id varchar not null, rule_id varchar not null, rule_version integer not null, programme_hash varchar,
    moment varchar not null, state varchar not null, reason varchar, channel varchar, language varchar, template varchar not null,
    "values" json, text varchar, fields json, not_before timestamptz, expires_at timestamptz, effects json,
    source varchar not null, fact_id varchar not null, occurred_at timestamptz not null, recorded_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: challenge_moves
-- Progress of challenges: facts that count, or minor units; a window is named "<challenge>|<window>".
create table staging.challenge_moves (
    partition integer not null, position bigint not null,
    member_id varchar not null, name varchar not null, amount bigint not null, occurred_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: rejects
create table staging.rejects (
    partition integer not null, position bigint not null,
    reason varchar not null, field varchar, message varchar,
    topic varchar, source_partition integer, source_position bigint, received_at timestamptz,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: log_positions
create table log_positions (topic varchar not null, partition integer not null, position bigint not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: identity
-- One row: the logs this file was built from, and the SQL it was built with.
create table staging.identity (log_id varchar, tables_hash varchar not null, views_hash varchar not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: metric_versions
-- A row per metric: the version that stands beside its definition, written with the views.
create table staging.metric_versions (metric varchar not null, version integer not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: settings
-- One row: the settings that stand in churn_flags.
create table staging.settings (churn_horizon_days integer not null, churn_threshold double not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: model_fits
-- The newest fit of each model: a row per parameter (projections/scoring.py).
create table staging.model_fits (
    model varchar not null, parameter varchar not null, value double not null, log_likelihood double not null, members bigint not null,
    as_of date not null, known_at timestamptz not null, metric_version integer not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: member_values
create table staging.member_values (
    member_id varchar not null, as_of date not null, horizon_days integer not null, p_alive double not null, p_no_purchase double not null,
    expected_purchases double not null, expected_spend_minor double not null, value_minor double not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: month_ends
-- A row per partition and month of which what its members had bought is kept, written once and never changed: the facts up to a place, which is
-- that before the first one of a later month; when the last of them was recorded; in whose time zone the month ended, and in which currency
-- money was counted (NULL: in each sale's own).
create table staging.month_ends (
    partition integer not null, month_end date not null, up_to bigint not null, known_at timestamptz not null, time_zone varchar not null,
    currency varchar,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: member_months
-- A row per member and such a month: the first and the last day with a purchase, how many days, orders that had not come back whole, and
-- what was left of their money.
create table staging.member_months (
    partition integer not null, month_end date not null, member_id varchar not null,
    first_on date not null, last_on date not null, purchase_days integer not null, orders integer not null, net_minor bigint not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: month_turns
-- A row per such a month and day: how many purchase days, not members' first, lie as of that day for the first time in the first half of what
-- then is their member's time: the day itself is as far behind his purchase as that was behind his first.
create table staging.month_turns (
    partition integer not null, month_end date not null, turns_on date not null, purchase_days bigint not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: points_ends
-- A row per partition and month of which what its members had in points is kept, written once and never changed: the decisions up to a place, that
-- before the first of a later month or that moved points after this one had ended; and when it ended.
create table staging.points_ends (
    partition integer not null, month_end date not null, up_to bigint not null, ends_at timestamptz not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: member_points
-- A row per member and such a month: sums of staging.points_moves up to there.
create table staging.member_points (
    partition integer not null, month_end date not null, member_id varchar not null,
    points_left bigint not null, debt bigint not null, earned bigint not null, spent bigint not null, expired bigint not null,
    clawed_back bigint not null, cancelled bigint not null, adjusted bigint not null, transferred bigint not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: waiting_lots
-- A row per such a month and lot that could not be spent when it ended: from when it can, NULL while it waits for a fact.
create table staging.waiting_lots (
    partition integer not null, month_end date not null, lot_id varchar not null, member_id varchar not null,
    points_left bigint not null, active_from timestamptz,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: allowed_functions
-- What remote readers may call and see, filled by the server from the DuckDB that runs (serving/authoriser.sql).
create table staging.allowed_functions (name varchar not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);

-- statement: allowed_tables
create table staging.allowed_tables (name varchar not null,
    check (coalesce(getvariable('stammgast_writes'), false))
);
