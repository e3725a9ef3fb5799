-- Who will probably stay away, and why we think so.

-- statement: list
select c.member_id, c.p_no_purchase, c.flagged, c.usual_gap_days, c.silent_days, c.reason, coalesce(r.monetary_minor, 0)::bigint as money_minor,
    coalesce(r.frequency, 0) as orders, r.segment, t.tier, coalesce(b.available, 0)::bigint as points
from churn_flags as c
left join rfm_segments as r using (member_id)
left join tiers as t using (member_id)
left join balances as b using (member_id)
where c.flagged or not $flagged
order by if($by = 'money', coalesce(r.monetary_minor, 0), 0) desc, c.p_no_purchase desc, coalesce(r.monetary_minor, 0) desc, c.member_id
limit $rows offset $skip;

-- statement: bands
-- How many members stand in each tenth of the chance to stay away.
select cast(least(floor(p_no_purchase * 10), 9) as integer) as band, count(*) as members
from churn_flags
group by band
order by band;

-- statement: told
select count(*) as buyers, count(*) filter (where flagged) as flagged, any_value(threshold) as threshold,
    any_value(horizon_days) as horizon_days
from churn_flags;
