-- Who is slipping away: flagged members, those who spent most first; where nobody is flagged, who comes closest to it.
with told as (
    select c.*, coalesce(r.monetary_minor, 0) as spent_minor,
        count(*) filter (where c.flagged) over () || ' of ' || count(*) over () || ' members are flagged: chance above '
            || any_value(c.threshold) over () as caption
    from churn_flags as c
    left join rfm_segments as r using (member_id)
)

select member_id as "member", round(p_no_purchase, 2) as "chance to stay away", flagged as "flagged",
    format('{:,.2f}', spent_minor / 100) as "spent", silent_days as "silent, days", reason as "reason", caption
from told
order by flagged desc, if(flagged, spent_minor, 0) desc, p_no_purchase desc, spent_minor desc, member_id
limit 8;
