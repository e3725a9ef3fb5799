-- Every byte of every table, read once: DuckDB compares a block with its checksum when it is read, and not before. One statement per
-- table of tables.sql; what they answer is of no interest.

-- statement: facts
select bit_xor(hash(t)) from staging.facts as t;

-- statement: purchases
select bit_xor(hash(t)) from staging.purchases as t;

-- statement: purchase_lines
select bit_xor(hash(t)) from staging.purchase_lines as t;

-- statement: refunds
select bit_xor(hash(t)) from staging.refunds as t;

-- statement: refund_lines
select bit_xor(hash(t)) from staging.refund_lines as t;

-- statement: visits
select bit_xor(hash(t)) from staging.visits as t;

-- statement: reviews
select bit_xor(hash(t)) from staging.reviews as t;

-- statement: referrals
select bit_xor(hash(t)) from staging.referrals as t;

-- statement: activities
select bit_xor(hash(t)) from staging.activities as t;

-- statement: joins
select bit_xor(hash(t)) from staging.joins as t;

-- statement: claims
select bit_xor(hash(t)) from staging.claims as t;

-- statement: claim_answers
select bit_xor(hash(t)) from staging.claim_answers as t;

-- statement: transfers
select bit_xor(hash(t)) from staging.transfers as t;

-- statement: transfer_answers
select bit_xor(hash(t)) from staging.transfer_answers as t;

-- statement: notice_outcomes
select bit_xor(hash(t)) from staging.notice_outcomes as t;

-- statement: costs
select bit_xor(hash(t)) from staging.costs as t;

-- statement: leaves
select bit_xor(hash(t)) from staging.leaves as t;

-- statement: redemptions
select bit_xor(hash(t)) from staging.redemptions as t;

-- statement: staff_actions
select bit_xor(hash(t)) from staging.staff_actions as t;

-- statement: programmes
select bit_xor(hash(t)) from staging.programmes as t;

-- statement: decisions
select bit_xor(hash(t)) from staging.decisions as t;

-- statement: points_entries
select bit_xor(hash(t)) from staging.points_entries as t;

-- statement: lot_burns
select bit_xor(hash(t)) from staging.lot_burns as t;

-- statement: returned_lines
select bit_xor(hash(t)) from staging.returned_lines as t;

-- statement: tier_changes
select bit_xor(hash(t)) from staging.tier_changes as t;

-- statement: tier_progress
select bit_xor(hash(t)) from staging.tier_progress as t;

-- statement: state_changes
select bit_xor(hash(t)) from staging.state_changes as t;

-- statement: notices
select bit_xor(hash(t)) from staging.notices as t;

-- statement: challenge_moves
select bit_xor(hash(t)) from staging.challenge_moves as t;

-- statement: rejects
select bit_xor(hash(t)) from staging.rejects as t;

-- statement: log_positions
select bit_xor(hash(t)) from log_positions as t;

-- statement: identity
select bit_xor(hash(t)) from staging.identity as t;

-- statement: settings
select bit_xor(hash(t)) from staging.settings as t;

-- statement: allowed_functions
select bit_xor(hash(t)) from staging.allowed_functions as t;

-- statement: allowed_tables
select bit_xor(hash(t)) from staging.allowed_tables as t;

-- statement: model_fits
select bit_xor(hash(t)) from staging.model_fits as t;

-- statement: member_values
select bit_xor(hash(t)) from staging.member_values as t;

-- statement: metric_versions
select bit_xor(hash(t)) from staging.metric_versions as t;

-- statement: month_ends
select bit_xor(hash(t)) from staging.month_ends as t;

-- statement: member_months
select bit_xor(hash(t)) from staging.member_months as t;

-- statement: month_turns
select bit_xor(hash(t)) from staging.month_turns as t;

-- statement: points_ends
select bit_xor(hash(t)) from staging.points_ends as t;

-- statement: member_points
select bit_xor(hash(t)) from staging.member_points as t;

-- statement: waiting_lots
select bit_xor(hash(t)) from staging.waiting_lots as t;
