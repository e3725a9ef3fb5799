-- What did each rule give, and what of it was taken back?
select e.rule_id, e.rule_version, sum(e.points) filter (where e.kind = 'earn') as points_given,
    coalesce(-sum(e.points) filter (where e.kind = 'clawback'), 0) as taken_back, count(distinct e.member_id) as members
from points_entries as e
group by e.rule_id, e.rule_version
order by points_given desc, e.rule_id, e.rule_version;
