-- Whose silence is unusual: members with a rhythm, by the chance that they do not buy within the horizon.
with told as (
    select *, count(*) filter (where flagged) over () || ' of ' || count(*) over () || ' members are flagged' as caption
    from churn_flags
)

select member_id as "member", round(p_no_purchase, 2) as "chance to stay away", flagged as "flagged",
    usual_gap_days as "usual gap, days", silent_days as "silent, days", reason as "reason", caption
from told
where usual_gap_days is not null
order by p_no_purchase desc, silent_days desc, member_id
limit 6;
