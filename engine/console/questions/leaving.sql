-- Who is about to leave, why do we think so, and what did they spend?
select c.member_id, round(c.p_no_purchase, 3) as chance_to_stay_away, c.reason, r.monetary_minor / 100 as spent
from churn_flags as c
inner join rfm_segments as r using (member_id)
where c.flagged
order by r.monetary_minor desc, c.member_id
limit 5;
