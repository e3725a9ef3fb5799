-- Whose silence is unusual for them: the chance that they do not buy within the horizon.
select member_id as "member", round(p_no_purchase, 2) as "chance to stay away", flagged as "flagged", horizon_days as "within days",
    round(usual_gap_days, 1) as "usual gap", silent_days as "silent days", reason as "reason"
from churn_flags
order by p_no_purchase desc, silent_days desc, member_id
limit 6;
