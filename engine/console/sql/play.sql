-- Challenges and badges: who is under way, who got there.

-- statement: challenges
-- Windows of a member's own begin with him: they are told together. Progress beyond the need is none.
select challenge, coalesce(any_value(label), challenge) as label, if(contains("window", 'T'), null, "window") as span, max(need) as need, is_money,
    count(*) as members, count(*) filter (where is_met) as met, count(*) filter (where not is_met and progress > 0) as under_way,
    count(*) filter (where is_met) / count(*) as met_share,
    avg(if(coalesce(needed, need) > 0, least(progress / coalesce(needed, need), 1), null)) as way, max(met_at) as newest_at
from challenge_progress
group by challenge, if(contains("window", 'T'), null, "window"), is_money
order by coalesce(max(begins_at), max(met_at)) desc nulls last, span desc nulls first, challenge
limit 60;

-- statement: badges
select badge, coalesce(any_value(label), badge) as label, count(*) as members, min(earned_at) as first_at, max(earned_at) as newest_at
from badges
group by badge
order by members desc, badge
limit 60;
