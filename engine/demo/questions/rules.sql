-- Which rule gave how many points, before and after the change.
select e.rule_id as "rule", coalesce(sum(e.points) filter (where e.rule_version = 1), 0) as "points, version 1",
    coalesce(sum(e.points) filter (where e.rule_version = 2), 0) as "points, version 2"
from points_entries as e
where e.kind = 'earn'
group by e.rule_id
order by sum(e.points) desc, e.rule_id;
